"""/v1/files: uploads, and the files that batches end in."""

import base64
import dataclasses
from typing import Any

from flask import Response, request
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel, Field, ValidationError
from werkzeug.datastructures import FileStorage

from api import batch_files, batch_schemas, body, present, schemas, uploads
from api.errors import invalid
from api.replies import begun, documented, problems, reply
from api.services import TENANT, services
from shared.errors import InvalidRequest, TooLarge

api = APIBlueprint("files", __name__, url_prefix="/v1/files", abp_tags=[Tag(name="files")])
UPLOAD = "files.upload"  # the endpoint whose body may be a large file


class FilePath(BaseModel):
    file_id: str = Field(description="`file_…`")


LOOK = {uploads.IMAGE: uploads.look_at, uploads.DATASET: uploads.look_into}
PURPOSES = [*LOOK, uploads.BATCH]

_FORM = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {"type": "string", "format": "binary"},
                    "purpose": {"type": "string", "enum": PURPOSES, "default": uploads.IMAGE},
                },
            }
        }
    },
}
_KNOWN, _SCHEMAS = documented(batch_schemas.KnownRequest)
api.components_schemas.update(_SCHEMAS)


@api.post(
    "",
    request_body=_FORM,
    responses={201: schemas.File, **problems(413)},
    operation_id="uploadFile",
)
def upload() -> Response:
    """Upload a picture, an archive of pictures for training (the purpose `dataset`: zip, tar or
    tar.gz), or what a batch reads (the purpose `batch`: JSON lines, zip, tar, …; of any size up to
    MAX_BATCH_MB); the same bytes give the same id."""
    purpose = _only("purpose", request.form.getlist("purpose") or [uploads.IMAGE])
    if purpose not in PURPOSES:
        raise InvalidRequest.at("/purpose", f"no such purpose; it must be {' or '.join(PURPOSES)}")
    for name in [*request.form, *request.files]:
        if name not in ("file", "purpose"):
            raise InvalidRequest.at(f"/{name}", "no such field")
    file = _only("file", request.files.getlist("file"))
    record = uploads.store(services(), _looked_at(file, purpose))
    location = f"{request.url_root}v1/files/{record.id}"
    return reply(present.file(record), 201, {"Location": location})


@api.post(
    "/known",
    request_body=_KNOWN,
    responses={200: batch_schemas.KnownFiles, **problems(400, 415)},
    operation_id="findKnownFiles",
)
def known() -> Response:
    """Which of these bytes are here already, and stay for half of the retention at least."""
    document = body.read_json(request).document
    try:
        asked = batch_schemas.KnownRequest.model_validate(document)
    except ValidationError as error:
        raise invalid(error, document) from None
    ids = {uploads.id_of(asked.purpose, sha256): sha256 for sha256 in asked.sha256}
    found = services().ledger.files(TENANT, list(ids)).values()
    lasting = services().store.now() + services().settings.retention_days * 86_400_000 / 2
    files = {ids[file.id]: file.id for file in found if file.expires_at >= lasting}
    return reply(batch_schemas.KnownFiles(known=files))


@api.get("/<file_id>", responses={200: schemas.File, **problems(404)}, operation_id="getFile")
def show(path: FilePath) -> Response:
    """What is known of a file."""
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
    """The bytes of a file, and their digest (`Repr-Digest`). One that is damaged breaks off."""
    record = services().ledger.get_file(TENANT, path.file_id)
    blocks = batch_files.verified(
        services().store.stream(record.key), record.key, record.sha256, record.bytes
    )
    digest = base64.b64encode(bytes.fromhex(record.sha256)).decode()
    headers = {
        "Content-Length": str(record.bytes),
        "Repr-Digest": f"sha-256=:{digest}:",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(begun(blocks), mimetype=record.media_type, headers=headers)


@api.delete("/<file_id>", responses={204: None, **problems(404)}, operation_id="deleteFile")
def delete(path: FilePath) -> Response:
    """Forget a file; its bytes go once no unfinished job needs them."""
    services().ledger.delete_file(TENANT, path.file_id)
    return Response(status=204)


def _looked_at(file: FileStorage, purpose: str) -> uploads.Upload:
    filename = file.filename or ""
    if purpose == uploads.BATCH:
        return batch_files.look_over(file.stream, filename)
    limit = services().settings.max_upload_mb * 2**20
    data = file.stream.read(limit + 1)
    if len(data) > limit:
        raise TooLarge(f"the file is larger than {limit // 2**20} MB")
    return dataclasses.replace(LOOK[purpose](services(), data, "/file"), filename=filename)


def _only(name: str, values: list[Any]) -> Any:
    if not values:
        raise InvalidRequest.at(f"/{name}", "the part is missing")
    if len(values) > 1:
        raise InvalidRequest.at(f"/{name}", "given twice")
    return values[0]
