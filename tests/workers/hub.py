"""A model hub on this machine: the part of its wire format that a pull uses."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

Files = dict[str, bytes]


@dataclass
class Hub:
    """Repositories by id and revision; `cut` names a file whose first download breaks off."""

    url: str = ""
    revisions: dict[tuple[str, str], str] = field(default_factory=dict)  # → commit
    commits: dict[str, Files] = field(default_factory=dict)
    conversions: dict[str, int] = field(default_factory=dict)  # repository → pull request
    author: str = "SFconvertbot"
    cut: str = ""
    corrupt: str = ""
    requests: Counter[str] = field(default_factory=Counter)
    ranges: list[str] = field(default_factory=list)

    def publish(self, repo: str, files: Files, revision: str = "main") -> str:
        """A new commit at this revision; returns it."""
        digest = hashlib.sha1(repr((repo, sorted(files.items()))).encode()).hexdigest()
        self.commits[digest] = files
        self.revisions[repo, revision] = self.revisions[repo, digest] = digest
        return digest


def sibling(name: str, data: bytes) -> dict[str, object]:
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    entry: dict[str, object] = {"rfilename": name, "size": len(data), "blobId": blob}
    if name.endswith(".safetensors"):
        sha256 = hashlib.sha256(data).hexdigest()
        entry["lfs"] = {"sha256": sha256, "size": len(data), "pointerSize": 130}
    return entry


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests[f"{self.command} {path.rpartition('/')[2]}"] += 1
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", path):
            self._info(*match.groups())
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/discussions", path):
            self._discussions(match[1])
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([0-9a-f]{40})/(.+)", path):
            self._file(match[2], match[3])
        else:
            self.send_error(404)

    def _info(self, repo: str, revision: str) -> None:
        commit = self.hub.revisions.get((repo, revision))
        if commit is None:
            self.send_error(404)
            return
        files = self.hub.commits[commit]
        siblings = [sibling(name, data) for name, data in files.items()]
        self._json({"id": repo, "modelId": repo, "sha": commit, "siblings": siblings})

    def _discussions(self, repo: str) -> None:
        number = self.hub.conversions.get(repo)
        found = number is not None and {
            "num": number,
            "title": "Adding `safetensors` variant of this model",
            "author": {"name": self.hub.author},
            "status": "open",
            "isPullRequest": True,
            "createdAt": "2024-01-01T00:00:00.000Z",
            "repo": {"name": repo, "type": "model"},
        }
        self._json({"discussions": [found] if found else [], "count": int(bool(found)), "start": 0})

    def _file(self, commit: str, name: str) -> None:
        data = self.hub.commits[commit].get(name)
        if data is None:
            self.send_error(404)
            return
        etag = hashlib.sha256(data).hexdigest()
        start = 0
        if wanted := self.headers.get("Range"):
            self.hub.ranges.append(wanted)
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
        body = data[start:]
        if name == self.hub.corrupt:
            body = bytes(len(body))
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        if name == self.hub.cut:
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        else:
            self.wfile.write(body)

    def _json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve() -> Iterator[Hub]:
    """A hub with nothing in it, on a free port of the loopback."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
