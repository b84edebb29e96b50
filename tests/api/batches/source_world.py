"""The sources of batches over a real S3 server, and the twin of the ledger."""

import hashlib
import json
import uuid
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.batches import sources
from api.services import TENANT, Services
from shared.batches import BatchRecord, NewBatch
from shared.contracts import FileRecord, new_id
from shared.layout import chunks_folder
from shared.object_store import S3ObjectStore
from shared.references import Reference
from shared.settings import Settings
from shared.zip_members import zip_content


class SourceWorld:
    """`folder` is a prefix of its own that sources may be read from."""

    def __init__(self, services: Services, store: S3ObjectStore) -> None:
        self.store = store
        self.ledger = services.ledger
        self.services = replace(services, store=store)
        self.folder = f"sources/{uuid.uuid4().hex}/"
        self.url = f"s3://{services.settings.s3_bucket}/{self.folder}"

    def allow(self, settings: Settings) -> None:
        self.services = replace(self.services, settings=settings)

    def put(self, path: str, data: bytes = b"") -> str:
        """Store a user's object; its URL."""
        self.store.put(self.folder + path, data, "application/octet-stream")
        return self.url + path

    def upload(self, data: bytes) -> str:
        """Store a file as if it had been uploaded; its id."""
        sha256 = hashlib.sha256(data).hexdigest()
        record = FileRecord(
            id=f"file_{sha256[:32]}",
            tenant=TENANT,
            purpose="batch",
            key=f"{self.folder}upload-{sha256}",
            bytes=len(data),
            sha256=sha256,
            media_type="application/octet-stream",
            created_at=0,
            expires_at=2**50,
        )
        self.store.put(record.key, data, record.media_type)
        return self.ledger.put_file(record).id

    def batch(self, request: dict[str, Any]) -> BatchRecord:
        new = NewBatch(
            id=new_id("batch"), tenant=TENANT, request=request, base_url="", retention_s=60
        )
        self.ledger.create_batch(new)
        return self.ledger.batch(new.id)

    def lines(self, **source: Any) -> list[sources.Line]:
        batch = self.batch({"source": source, "job": {"kind": "caption"}})
        return list(sources.lines(self.services, batch))

    def requests(self, data: bytes) -> BatchRecord:
        """A batch over a file of requests."""
        return self.batch({"input_file_id": self.upload(data), "endpoint": "/v1/jobs"})

    def content(self, text: str) -> bytes:
        """What a worker gets for an item's reference."""
        reference = Reference.parse(text)
        member, key = reference.member, reference.key
        if reference.file_id:
            key = self.ledger.get_file(TENANT, reference.file_id).key
        read = partial(self.store.read_range, key, bucket=reference.bucket)
        if member is None:
            return read(0, 2**20)
        if member.unpacked is None:
            return read(member.offset, member.size)
        return zip_content(read, member.offset, member.size, member.unpacked)

    def index(self, batch: BatchRecord) -> list[list[dict[str, Any]]]:
        """The entries of the chunks in S3."""
        chunks = [entry.key for entry in self.store.list(chunks_folder(batch.id))]
        return [[json.loads(line) for line in self.store.get(key).splitlines()] for key in chunks]


@pytest.fixture(scope="session")
def source_store(servers) -> S3ObjectStore:
    """One for all tests: its client takes longer to make than most of them run."""
    return S3ObjectStore(servers.settings, retry_s=5)


@pytest.fixture
def source_world(http: FlaskClient, servers, source_store: S3ObjectStore) -> SourceWorld:
    services = http.application.extensions["imagemill"]
    allowed = f"s3://{servers.settings.s3_bucket}/sources/"
    settings = servers.settings.model_copy(update={"s3_input_prefixes": (allowed,)})
    return SourceWorld(replace(services, settings=settings), source_store)
