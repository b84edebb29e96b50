"""/v1/workers: who serves."""

from flask import Response
from flask_openapi import APIBlueprint, Tag

from api import present, schemas
from api.replies import problems, reply
from api.services import services

api = APIBlueprint("workers", __name__, url_prefix="/v1/workers", abp_tags=[Tag(name="operations")])


@api.get("", responses={200: schemas.WorkerList, **problems()}, operation_id="listWorkers")
def listing() -> Response:
    """The live workers."""
    workers = services().ledger.workers()
    return reply(schemas.WorkerList(data=[present.worker(worker) for worker in workers]))
