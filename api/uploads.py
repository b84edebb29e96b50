"""Files on their way in: looked at, stored, recorded; and the references that name them."""

import base64
import binascii
import hashlib
import re
import secrets
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import IO

from api.errors import InvalidArchiveField, InvalidImageField
from api.services import TENANT, Services
from shared import archives, images, logs
from shared.contents import Contents
from shared.contracts import FileRecord
from shared.errors import (
    InvalidArchive,
    InvalidImage,
    InvalidRequest,
    NotFound,
    StorageUnavailable,
    TooLarge,
)
from shared.file_metadata import object_metadata
from shared.layout import file_folder
from shared.references import Reference
from shared.s3_streams import BLOCK

IMAGE, DATASET, BATCH = "image", "dataset", "batch"
MAX_FILENAME = 128  # characters: metadata of an object have 2 KB, and every byte may take three
FILE_ID = re.compile(r"file_[0-9a-f]{32}")
DATA_URI = re.compile(r"data:image/[\w.+-]+;base64,", re.ASCII)

# A picture of MAX_PIXELS takes hundreds of megabytes while it is decoded.
DECODING = threading.BoundedSemaphore(2)

log = logs.get(__name__)


@dataclass(frozen=True)
class Upload:
    """A file that was looked at and found good, not yet stored. A large one is an open file."""

    data: bytes | IO[bytes]
    sha256: str
    media_type: str
    size: int
    purpose: str = IMAGE
    filename: str = ""
    width: int | None = None
    height: int | None = None

    @property
    def id(self) -> str:
        return id_of(self.purpose, self.sha256)


def id_of(purpose: str, sha256: str) -> str:
    """The same for the same bytes, tenant and purpose."""
    name = f"{TENANT}|{purpose}|{sha256}"
    return f"file_{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def look_at(services: Services, data: bytes, pointer: str) -> Upload:
    """Decode the picture once. Raises InvalidImageField."""
    try:
        with DECODING:
            info = images.probe(data, services.settings.max_pixels)
    except InvalidImage as error:
        raise InvalidImageField(pointer, error.message) from error
    digest = hashlib.sha256(data).hexdigest()
    return Upload(data, digest, info.media_type, len(data), width=info.width, height=info.height)


def look_into(services: Services, data: bytes, pointer: str) -> Upload:
    """Read an archive of pictures from its beginning to its end. Raises InvalidArchiveField."""
    some = False
    try:
        for _, content in archives.members(data):
            some = some or _is_image(services, content)
    except InvalidArchive as error:
        raise InvalidArchiveField(pointer, error.message) from error
    if not some:
        raise InvalidArchiveField(pointer, f"no image is in it: {images.SUPPORTED}")
    digest = hashlib.sha256(data).hexdigest()
    return Upload(data, digest, archives.media_type(data), len(data), DATASET)


def _is_image(services: Services, data: bytes) -> bool:
    try:
        look_at(services, data, "")
    except InvalidImage:
        return False
    return True


def store(services: Services, upload: Upload) -> FileRecord:
    """Put the bytes into S3, then record them; a repeat keeps the first one's bytes.

    Every upload has a key of its own, so that erasing an older one of the same bytes cannot
    take it away. Raises StorageUnavailable, LedgerUnavailable.
    """
    now = int(time.time() * 1000)
    retention_ms = int(services.settings.retention_days * 86_400_000)
    key = file_folder(TENANT, upload.id) + secrets.token_hex(6)
    described = FileRecord(
        id=upload.id,
        tenant=TENANT,
        purpose=upload.purpose,
        key=key,
        bytes=upload.size,
        sha256=upload.sha256,
        media_type=upload.media_type,
        filename=upload.filename[-MAX_FILENAME:],
        width=upload.width,
        height=upload.height,
        created_at=now,
        expires_at=now + retention_ms,
    )
    metadata = object_metadata(described)
    if isinstance(upload.data, bytes):
        services.store.put(key, upload.data, described.media_type, metadata)
    else:
        blocks = iter(partial(upload.data.read, BLOCK), b"")
        whole = {**metadata, "sha256": upload.sha256}
        services.store.put_stream(key, blocks, described.media_type, whole)
    record = services.ledger.put_file(described)
    if record.key != key:
        try:
            services.store.delete([key])
        except StorageUnavailable as error:
            log.warning("a second copy was left behind", key=key, error=error.message)
    return record


def kept(services: Services, found: FileRecord | Upload) -> str:
    """The id of what was found, which is stored where it is not yet. Raises as `store` does."""
    return (store(services, found) if isinstance(found, Upload) else found).id


def resolve(services: Services, reference: str, pointer: str) -> FileRecord | Upload:
    """The upload that is there, or the picture that the reference stands for.

    Raises InvalidRequest, InvalidImageField, StorageUnavailable, LedgerUnavailable.
    """
    if reference.startswith("file_"):
        return existing(services, reference, pointer, IMAGE)
    if reference.startswith("data:"):
        return look_at(services, _inline(reference, pointer), pointer)
    if reference.startswith("s3://"):
        return look_at(services, _object(services, reference, pointer), pointer)
    if reference.startswith(("https://", "http://")):
        raise InvalidRequest.at(pointer, "URL inputs are off; upload the picture instead")
    raise InvalidRequest.at(
        pointer, "not an image reference: file_…, data:image/…;base64,… or s3://bucket/key"
    )


def resolve_dataset(services: Services, reference: str, pointer: str) -> str:
    """The reference, where it names pictures for training that are there.

    Raises InvalidRequest, StorageUnavailable, LedgerUnavailable.
    """
    if reference.startswith("file_"):
        return existing(services, reference, pointer, DATASET).id
    if not reference.startswith("s3://"):
        raise InvalidRequest.at(pointer, "neither file_… nor s3://bucket/prefix/")
    bucket, prefix = place(services, reference, pointer)
    try:
        found = next(services.store.list(prefix, bucket=bucket), None)
    except NotFound:
        found = None
    if not found or not reference.endswith("/"):
        raise InvalidRequest.at(pointer, "there is nothing below it, or it does not end in /")
    return reference


def given_picture(contents: Contents, reference: str) -> bytes:
    """The bytes of a picture that a job was given, in any of these ways. Raises what the contents
    raise."""
    if head := DATA_URI.match(reference):
        return base64.b64decode(reference[head.end() :])
    return contents.of(Reference.parse(reference))


def existing(services: Services, file_id: str, pointer: str, purpose: str) -> FileRecord:
    """The upload of this id and purpose. Raises InvalidRequest."""
    try:
        if not FILE_ID.fullmatch(file_id):
            raise NotFound(file_id)
        found = services.ledger.get_file(TENANT, file_id)
    except NotFound:
        raise InvalidRequest.at(pointer, "no such file") from None
    if found.purpose != purpose:
        detail = f"the file was uploaded with the purpose {found.purpose}, not {purpose}"
        raise InvalidRequest.at(pointer, detail)
    return found


def _inline(reference: str, pointer: str) -> bytes:
    head = DATA_URI.match(reference)
    if head is None:
        raise InvalidRequest.at(pointer, "a data URI must begin with data:image/…;base64,")
    try:
        return base64.b64decode(reference[head.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest.at(pointer, "the data URI is not valid base64") from None


def _object(services: Services, reference: str, pointer: str) -> bytes:
    bucket, key = place(services, reference, pointer)
    try:
        return services.store.read(bucket, key, services.settings.max_upload_mb * 2**20)
    except NotFound:
        raise InvalidRequest.at(pointer, "no such object") from None
    except TooLarge:
        limit = services.settings.max_upload_mb
        raise InvalidRequest.at(pointer, f"the object is larger than {limit} MB") from None


def place(services: Services, reference: str, pointer: str) -> tuple[str, str]:
    """Bucket and key of an S3 reference that is allowed. Raises InvalidRequest."""
    if not allowed(reference, services.settings.s3_input_prefixes):
        raise InvalidRequest.at(pointer, "not under a prefix that this service allows")
    bucket, _, key = reference.removeprefix("s3://").partition("/")
    if not bucket or not key:
        raise InvalidRequest.at(pointer, "an S3 reference is s3://bucket/key")
    return bucket, key


def allowed(reference: str, prefixes: Iterable[str]) -> bool:
    """Whether an S3 reference lies below one of these prefixes."""
    return any(_under(reference, prefix) for prefix in prefixes)


def _under(reference: str, prefix: str) -> bool:
    """Whether the reference lies in the folder `prefix`; `s3://a/b` does not allow `s3://a/bc`."""
    folder = prefix if prefix.endswith("/") else f"{prefix}/"
    return ".." not in reference.split("/") and reference.startswith(folder)
