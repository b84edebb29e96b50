"""/healthz and /readyz: for supervisors and load balancers."""

from flask import Response
from flask_openapi import APIBlueprint, Tag

from api import schemas
from api.errors import problem
from api.replies import problems, reply
from api.services import services
from shared import logs
from shared.errors import ImagemillError, SettingsError

api = APIBlueprint("health", __name__, abp_tags=[Tag(name="operations")])

log = logs.get(__name__)


@api.get("/healthz", responses={200: schemas.Health, **problems()}, operation_id="healthz")
def healthz() -> Response:
    """This process is alive."""
    return reply(schemas.Health(status="alive"))


@api.get("/readyz", responses={200: schemas.Health, **problems()}, operation_id="readyz")
def readyz() -> Response:
    """Ledger, broker and S3 are reachable, and none of them would lose what it is given."""
    found = services()
    checks = {"ledger": found.ledger.check, "broker": found.broker.ping, "s3": found.store.check}
    missing = {}
    for name, check in checks.items():
        try:
            check()
        except ImagemillError as error:
            log.warning("not ready", missing=name, error=error.message)
            # What else errors say is for the log: it may name hosts.
            missing[name] = error.message if isinstance(error, SettingsError) else "away"
    if missing:
        detail = "; ".join(f"{name}: {reason}" for name, reason in missing.items())
        return problem(503, "not_ready", detail, missing=list(missing))
    return reply(schemas.Health(status="ready"))
