"""An upload's record as metadata of its object, so that it can be found with the ledger gone."""

from urllib.parse import quote, unquote

from shared.contracts import FileRecord
from shared.object_store import ObjectHead


def object_metadata(record: FileRecord) -> dict[str, str]:
    """What the object does not tell by itself; its SHA-256 is put beside it by the store."""
    facts = {
        "file-id": record.id,
        "tenant": record.tenant,
        "purpose": record.purpose,
        "filename": quote(record.filename) or None,  # metadata are ASCII
        "width": record.width,
        "height": record.height,
    }
    return {name: str(value) for name, value in facts.items() if value is not None}


def file_record(head: ObjectHead, expires_at: int) -> FileRecord:
    """The record of a stored upload. Raises ValueError where the object is not one."""
    return FileRecord.model_validate(
        {
            "id": head.metadata.get("file-id"),
            "tenant": head.metadata.get("tenant"),
            "purpose": head.metadata.get("purpose"),
            "key": head.key,
            "bytes": head.bytes,
            "sha256": head.metadata.get("sha256"),
            "media_type": head.media_type,
            "filename": unquote(head.metadata.get("filename", "")),
            "width": head.metadata.get("width"),
            "height": head.metadata.get("height"),
            "created_at": head.modified_at,
            "expires_at": expires_at,
        }
    )
