"""/healthz and /readyz: for supervisors and load balancers."""

from flask import Response
from flask_openapi import APIBlueprint, Tag

from api import schemas
from api.errors import problem
from api.replies import problems, reply
from api.services import services
from shared import logs
from shared.errors import ImagemillError

api = APIBlueprint("health", __name__, abp_tags=[Tag(name="operations")])

log = logs.get(__name__)


@api.get("/healthz", responses={200: schemas.Health, **problems()}, operation_id="healthz")
def healthz() -> Response:
    """This process is alive."""
    return reply(schemas.Health(status="alive"))


@api.get("/readyz", responses={200: schemas.Health, **problems()}, operation_id="readyz")
def readyz() -> Response:
    """Ledger, broker and S3 are reachable."""
    found = services()
    checks = {"ledger": found.ledger.ping, "broker": found.broker.ping, "s3": found.store.check}
    missing = []
    for name, check in checks.items():
        try:
            check()
        except ImagemillError as error:
            log.warning("not ready", missing=name, error=error.message)
            missing.append(name)
    if missing:
        return problem(503, "not_ready", f"away: {', '.join(missing)}", missing=missing)
    return reply(schemas.Health(status="ready"))
