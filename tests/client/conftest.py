"""The other end of the wire: an HTTP server that plays the service, and one for its storage."""

import email
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from imagemill import Client
from imagemill.cli import main

PNG = b"\x89PNG picture"
DROP = "drop the connection"


def job_of(job_id: str, status: str, **more: Any) -> dict[str, Any]:
    """A job as the service tells it."""
    return {
        "id": job_id,
        "kind": "generate",
        "status": status,
        "created_at": "2026-01-01T00:00:00Z",
        "steps": [],
        "progress": {"value": float(status == "succeeded"), "message": ""},
        "outputs": {},
        "error": None,
        "metadata": {},
        **more,
    }


def artifact_of(name: str, content: bytes) -> dict[str, Any]:
    """An artifact as a job lists it."""
    digest = hashlib.sha256(content).hexdigest()
    return {"name": name, "url": f"/{name}", "media_type": "image/png", "sha256": digest}


@dataclass
class Request:
    """What came in."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def parts(self) -> dict[str, bytes]:
        """The parts of a multipart body, by name."""
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        message = email.message_from_bytes(head + self.body)
        return {
            str(part.get_param("name", header="content-disposition")): part.get_payload(decode=True)
            for part in message.get_payload()
        }


@dataclass
class Service:
    """Answers by (method, path): a list is used up down to its last, which then stays."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    answers: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    faults: list[Any] = field(default_factory=list)  # come before any answer, once each

    def on(self, method: str, path: str, *answers: Any) -> None:
        """An answer is a JSON value, bytes, (status, headers, JSON or bytes), DROP, or what makes
        one of these from the request."""
        self.answers[method, path] = list(answers)

    def on_job(self, *states: dict[str, Any]) -> str:
        """Submitting gives the first state, every look at the job the next one."""
        job_id = str(states[0]["id"])
        self.on("POST", "/v1/jobs", (202, {}, states[0]))
        self.on("GET", f"/v1/jobs/{job_id}", *states)
        return job_id

    def answer(self, request: Request) -> Any:
        self.requests.append(request)
        if self.faults:
            return self.faults.pop(0)
        answers = self.answers.get((request.method, request.path))
        if not answers:
            return 404, {}, {"code": "not_found", "detail": f"there is no {request.path}"}
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return answer(request) if callable(answer) else answer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: Service

    def handle_any(self) -> None:
        url = urlsplit(self.path)
        body = self.body()
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, url.path, parse_qs(url.query), headers, body)
        answer = self.service.answer(request)
        if answer == DROP:
            self.close_connection = True
            return
        status, more, content = answer if isinstance(answer, tuple) else (200, {}, answer)
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **more}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        if int(more.get("Content-Length", 0)) > len(data):
            self.close_connection = True

    do_GET = do_POST = do_DELETE = handle_any  # noqa: N815

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def log_message(self, *_: object) -> None:
        pass


def serve() -> Iterator[Service]:
    service = Service()
    handler = type("Bound", (Handler,), {"service": service})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    service.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield service
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(name="service")
def _service() -> Iterator[Service]:
    yield from serve()


@pytest.fixture(name="storage")
def _storage() -> Iterator[Service]:
    yield from serve()


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url, "the-key") as client:
        yield client


@pytest.fixture
def cli(service, capsys, monkeypatch, tmp_path):
    """Runs the command line in a folder of its own; returns (status, stdout, stderr)."""
    monkeypatch.setenv("IMAGEMILL_URL", service.url)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        status = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture(autouse=True)
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses before further tries, which are not slept."""
    taken: list[float] = []
    monkeypatch.setattr("imagemill.transport.time", SimpleNamespace(sleep=taken.append))
    monkeypatch.delenv("IMAGEMILL_URL", raising=False)
    monkeypatch.delenv("IMAGEMILL_API_KEY", raising=False)
    return taken


@pytest.fixture
def make() -> SimpleNamespace:
    """The shapes of the wire, for tests to fill in."""
    return SimpleNamespace(job=job_of, artifact=artifact_of, png=PNG, drop=DROP)
