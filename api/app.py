"""The web application."""

import logging
import time
from typing import Any

from flask import Response, g, request
from flask.json.provider import DefaultJSONProvider
from flask_openapi import Info, OpenAPI

from api import errors, guard, schemas
from api.body import refuse_overlong
from api.services import Broker, connect, services
from api.views import batches, docs, files, health, jobs, models, workers
from shared import logs
from shared.ledger import Ledger
from shared.object_store import ObjectStore
from shared.settings import Settings

MAX_PARTS = 16

log = logs.get(__name__)


def create_app(
    settings: Settings,
    ledger: Ledger | None = None,
    store: ObjectStore | None = None,
    broker: Broker | None = None,
) -> OpenAPI:
    """The application. It connects to nothing before the first request.

    Ledger, object store and broker are those of the settings unless given.
    Raises SettingsError.
    """
    app = OpenAPI(
        "api",
        info=Info(title="imagemill", version="0.1.0", description="A job queue for image models."),
        static_folder=None,
        doc_ui=False,
        validation_error_model=schemas.Problem,
        validation_error_callback=errors.refuse_parameters,
    )
    app.openapi_version = "3.1.0"
    app.extensions["imagemill"] = connect(settings, ledger, store, broker)
    limit = settings.max_upload_mb * 2**20
    app.config.update(
        MAX_CONTENT_LENGTH=limit, MAX_FORM_MEMORY_SIZE=limit, MAX_FORM_PARTS=MAX_PARTS
    )
    _json(app).sort_keys = False
    _json(app).ensure_ascii = False
    errors.register(app)
    guard.register(app)
    for view in (files, jobs, batches, models, workers, health):
        app.register_api(view.api)
    app.register_blueprint(docs.api)
    app.register_blueprint(docs.page, url_prefix="/docs")
    app.before_request(_start)
    app.after_request(_log_request)
    return app


def _json(app: Any) -> DefaultJSONProvider:
    provider: DefaultJSONProvider = app.json
    return provider


def _start() -> None:
    g.started = time.monotonic()
    if request.endpoint == files.UPLOAD:
        request.max_content_length = services().settings.max_batch_mb * 2**20
    refuse_overlong(request)


def _log_request(response: Response) -> Response:
    # Polls would fill the log; they are told with the debug level only.
    poll = request.method == "GET" and response.status_code < 400
    started = g.get("started")
    log.log(
        logging.DEBUG if poll else logging.INFO,
        "request",
        method=request.method,
        path=request.path,
        status=response.status_code,
        ms=None if started is None else round((time.monotonic() - started) * 1000),
        **{k: v for k, v in (request.view_args or {}).items() if k in ("job_id", "batch_id")},
    )
    return response
