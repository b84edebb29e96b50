"""A service that takes uploads and runs batches at once."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.client.conftest import PNG, Request, Service, artifact_of, job_of

BAD = b"no picture"


@dataclass
class Batches:
    """Keeps what is uploaded; every item of a batch over a manifest makes a picture, but for those
    whose custom_id is in `failing`."""

    service: Service
    files: dict[str, bytes] = field(default_factory=dict)  # by id
    uploads: list[bytes] = field(default_factory=list)
    created: dict[str, dict[str, Any]] = field(default_factory=dict)  # by Idempotency-Key
    failing: set[str] = field(default_factory=set)
    states: tuple[str, ...] = ("in_progress", "completed")
    more: dict[str, Any] = field(default_factory=dict)  # in every answer

    def __post_init__(self) -> None:
        self.service.on("POST", "/v1/files/known", self.known)
        self.service.on("POST", "/v1/files", self.upload)
        self.service.on("POST", "/v1/batches", self.create)
        self.service.on("GET", "/v1/batches/batch_1/report", b"<html>")

    def known(self, request: Request) -> Any:
        asked = json.loads(request.body)
        ids = {digest: file_id(asked["purpose"], digest) for digest in asked["sha256"]}
        return {"known": {digest: id_ for digest, id_ in ids.items() if id_ in self.files}}

    def upload(self, request: Request) -> Any:
        content, purpose = request.parts["file"], request.parts["purpose"].decode()
        self.uploads.append(content)
        if content == BAD:
            return 422, {}, {"code": "invalid_image", "detail": "not an image"}
        digest = hashlib.sha256(content).hexdigest()
        self.files[file_id(purpose, digest)] = content
        return 201, {}, {"id": file_id(purpose, digest), "sha256": digest}

    def create(self, request: Request) -> Any:
        body = json.loads(request.body)
        self.created[request.headers["idempotency-key"]] = body
        self.prepare(body)
        return 201, {}, self.batch("validating")

    def prepare(self, body: dict[str, Any]) -> None:
        """Answers to everything that is asked about the batch."""
        items = self.lines(body)
        self.total = len(items)
        bad = [name for name in items if name in self.failing]
        good = [name for name in items if name not in self.failing]
        self.failed = len(bad)
        results = b"".join(line(name, self.job(name)) for name in good)
        errors = b"".join(line(name, None, "invalid_image") for name in bad)
        for which, content in (("results", results), ("errors", errors)):
            self.service.on("GET", f"/v1/batches/batch_1/{which}", content)
            digest = hashlib.sha256(content).hexdigest()
            self.service.on("GET", f"/v1/files/file_{which}", {"id": "f", "sha256": digest})
        self.service.on("GET", "/v1/batches/batch_1", *map(self.batch, self.states))

    def lines(self, body: dict[str, Any]) -> list[str]:
        source = body.get("source") or {}
        source = source.get("first", source)
        if source.get("type") != "manifest" or "file_id" not in source:
            return []
        return [each["custom_id"] for each in self.manifest(source)]

    def job(self, name: str) -> dict[str, Any]:
        number = hashlib.sha256(name.encode()).hexdigest()[:8]
        content = PNG + name.encode()
        path = f"/v1/jobs/job_{number}/artifacts/image-0.png"
        self.service.on("GET", path, content)
        images = [artifact_of("image-0.png", content)]
        return job_of(f"job_{number}", "succeeded", outputs={"artifacts": images})

    def batch(self, status: str) -> dict[str, Any]:
        ended = status == "completed"
        counts = {
            "total": self.total,
            "completed": self.total - self.failed if ended else 0,
            "failed": self.failed if ended else 0,
        }
        return {
            "id": "batch_1",
            "status": status,
            "request_counts": counts,
            "created_at": 1_770_000_000,
            "output_file_id": "file_results" if ended else None,
            "error_file_id": "file_errors" if ended and self.failed else None,
            "rate": 2.5 if status == "in_progress" else None,
            "eta_s": 90.0 if status == "in_progress" else None,
            **self.more,
        }

    @property
    def request(self) -> dict[str, Any]:
        """The body of the only batch."""
        [body] = self.created.values()
        return body

    def manifest(self, source: dict[str, Any]) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.files[source["file_id"]].splitlines()]


def file_id(purpose: str, digest: str) -> str:
    return f"file_{purpose}{digest[:8]}"


def line(name: str, job: dict[str, Any] | None, code: str | None = None) -> bytes:
    response = job and {"status_code": 200, "request_id": job["id"], "body": job}
    error = code and {"code": code, "message": "of no use"}
    told = {"id": f"request_{name}", "custom_id": name, "response": response, "error": error}
    return json.dumps(told).encode() + b"\n"


@pytest.fixture
def batches(service: Service) -> Batches:
    return Batches(service)


@pytest.fixture
def photos(tmp_path) -> Callable[..., None]:
    """Makes files, each of the bytes of its name or of those given."""

    def make(*names: str, **contents: bytes) -> None:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(contents.get(name, name.encode()))

    return make
