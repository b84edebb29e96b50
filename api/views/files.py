"""/v1/files: uploads."""

from typing import Any

from flask import Response, request
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel, Field

from api import present, schemas, uploads
from api.replies import problems, reply
from api.services import TENANT, services
from shared.errors import InvalidRequest

api = APIBlueprint("files", __name__, url_prefix="/v1/files", abp_tags=[Tag(name="files")])


class FilePath(BaseModel):
    file_id: str = Field(description="`file_…`")


LOOK = {uploads.IMAGE: uploads.look_at, uploads.DATASET: uploads.look_into}

_FORM = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {"type": "string", "format": "binary"},
                    "purpose": {"type": "string", "enum": list(LOOK), "default": uploads.IMAGE},
                },
            }
        }
    },
}


@api.post(
    "",
    request_body=_FORM,
    responses={201: schemas.File, **problems(413)},
    operation_id="uploadFile",
)
def upload() -> Response:
    """Upload a picture, or an archive of pictures for training (the purpose `dataset`: zip, tar or
    tar.gz); the same bytes give the same id."""
    purpose = _only("purpose", request.form.getlist("purpose") or [uploads.IMAGE])
    if purpose in uploads.LATER_PURPOSES:
        raise InvalidRequest.at("/purpose", f"the purpose {purpose} is not available yet")
    if purpose not in LOOK:
        raise InvalidRequest.at("/purpose", f"no such purpose; it must be {' or '.join(LOOK)}")
    for name in [*request.form, *request.files]:
        if name not in ("file", "purpose"):
            raise InvalidRequest.at(f"/{name}", "no such field")
    data = _only("file", request.files.getlist("file")).read()
    record = uploads.store(services(), LOOK[purpose](services(), data, "/file"))
    location = f"{request.url_root}v1/files/{record.id}"
    return reply(present.file(record), 201, {"Location": location})


@api.get("/<file_id>", responses={200: schemas.File, **problems(404)}, operation_id="getFile")
def show(path: FilePath) -> Response:
    """What is known of an upload."""
    return reply(present.file(services().ledger.get_file(TENANT, path.file_id)))


@api.get(
    "/<file_id>/content",
    responses={
        200: {"content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}},
        **problems(404),
    },
    operation_id="getFileContent",
)
def content(path: FilePath) -> Response:
    """The bytes of an upload, checked against their digest."""
    record = services().ledger.get_file(TENANT, path.file_id)
    data = services().store.get(record.key, sha256=record.sha256, size=record.bytes)
    return Response(data, mimetype=record.media_type, headers={"X-Content-Type-Options": "nosniff"})


@api.delete("/<file_id>", responses={204: None, **problems(404)}, operation_id="deleteFile")
def delete(path: FilePath) -> Response:
    """Forget an upload; its bytes go once no unfinished job needs them."""
    services().ledger.delete_file(TENANT, path.file_id)
    return Response(status=204)


def _only(name: str, values: list[Any]) -> Any:
    if not values:
        raise InvalidRequest.at(f"/{name}", "the part is missing")
    if len(values) > 1:
        raise InvalidRequest.at(f"/{name}", "given twice")
    return values[0]
