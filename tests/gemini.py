"""A local server that speaks as generativelanguage.googleapis.com does, by a script.

It answers `POST /v1beta/models/{model}:generateContent`; the wire format:
https://ai.google.dev/api/generate-content.
"""

import base64
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.waiting import until

KEY = "test-key-0123456789"
DELAY_S = 0.05


@dataclass(frozen=True)
class Answer:
    """What the server does with a request; `cut` ends the connection after half of the body."""

    status: int = 200
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = ()
    cut: bool = False
    after_s: float = 0.0


@dataclass(frozen=True)
class Request:
    """What the server was sent."""

    model: str
    key: str
    body: dict[str, Any]

    @property
    def texts(self) -> list[str]:
        return [part["text"] for part in self.parts if "text" in part]

    @property
    def parts(self) -> list[dict[str, Any]]:
        (content,) = self.body["contents"]
        assert content["role"] == "user"
        return content["parts"]


@dataclass
class Gemini:
    """The script and the record of a running server. Once the script is over, `usual` answers."""

    url: str
    usual: Callable[[Request], Answer]
    script: list[Answer] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)  # time.monotonic()
    busy: int = 0
    most_busy: int = 0
    broken: int = 0  # answers that nobody took
    lock: threading.Lock = field(default_factory=threading.Lock)

    def play(self, *answers: Answer) -> None:
        """Answer the next requests so; forget what was before."""
        with self.lock:
            self.script[:] = answers
            self.requests.clear()
            self.arrivals.clear()
            self.most_busy = self.broken = 0

    def wait_until_idle(self) -> None:
        """Until no request is being answered."""
        until(lambda: not self.busy)

    def answer(self, request: Request) -> Answer:
        with self.lock:
            self.requests.append(request)
            self.arrivals.append(time.monotonic())
            return self.script.pop(0) if self.script else self.usual(request)


@contextmanager
def serve(usual: Callable[[Request], Answer]) -> Iterator[Gemini]:
    """A server on a free port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    gemini = Gemini(f"http://127.0.0.1:{server.server_port}", usual)
    server.gemini = gemini  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield gemini
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        gemini: Gemini = self.server.gemini  # type: ignore[attr-defined]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = re.fullmatch(r"/v1beta/models/([^/:]+):generateContent", self.path)
        if path is None:
            return self._send(refused(404, "NOT_FOUND", f"no such method: {self.path}"))
        key = self.headers.get("x-goog-api-key", "")
        with gemini.lock:
            gemini.busy += 1
            gemini.most_busy = max(gemini.most_busy, gemini.busy)
        answer = gemini.answer(Request(path[1], key, body))
        try:
            ready = time.monotonic() + answer.after_s
            while not (away := self._away()) and time.monotonic() < ready:
                time.sleep(0.01)
            if away:
                gemini.broken += 1
            else:
                self._send(answer)
        finally:
            with gemini.lock:
                gemini.busy -= 1
        return None

    def _away(self) -> bool:
        """Whether the client has ended the connection."""
        self.connection.setblocking(False)
        try:
            return self.connection.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            self.connection.setblocking(True)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers:
            self.send_header(name, value)
        self.end_headers()
        if not answer.cut:
            self.wfile.write(answer.body)
            return
        self.wfile.write(answer.body[: len(answer.body) // 2])
        self.wfile.flush()
        reset = struct.pack("ii", 1, 0)  # linger for 0 seconds: the connection is reset
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        self.close_connection = True
        self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def drawn(data: bytes, media_type: str = "image/png", **answer: Any) -> Answer:
    """An answer with a picture, and with the words that some models put before it."""
    blob = {"mimeType": media_type, "data": base64.b64encode(data).decode()}
    parts = [{"text": "Here it is."}, {"inlineData": blob}]
    return said(parts, **answer)


def said(parts: Sequence[dict[str, Any]], finish: str = "STOP", **answer: Any) -> Answer:
    """One candidate with these parts."""
    candidate: dict[str, Any] = {"finishReason": finish, "index": 0}
    if parts:
        candidate["content"] = {"role": "model", "parts": list(parts)}
    return Answer(body=json.dumps({"candidates": [candidate]}).encode(), **answer)


def blocked(reason: str = "PROHIBITED_CONTENT") -> Answer:
    """The prompt was not even tried."""
    return Answer(body=json.dumps({"promptFeedback": {"blockReason": reason}}).encode())


def refused(
    status: int, name: str, message: str, retry_delay: str | None = None, **answer: Any
) -> Answer:
    """An error as Google's APIs tell it: google.rpc.Status as JSON."""
    error: dict[str, Any] = {"code": status, "message": message, "status": name}
    if retry_delay is not None:
        info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": retry_delay}
        help_ = {"@type": "type.googleapis.com/google.rpc.Help", "links": []}
        error["details"] = [help_, info]
    return Answer(status, json.dumps({"error": error}).encode(), **answer)
