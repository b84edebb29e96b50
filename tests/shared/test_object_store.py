"""The object store against a real S3 server, and against one that misbehaves."""

import hashlib
import http.client
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from base64 import b64decode
from collections import deque
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from shared.errors import NotFound, StorageCorrupt, StorageUnavailable, TooLarge
from shared.object_store import S3ObjectStore, disposition
from shared.s3_streams import BLOCK, PART
from shared.settings import Settings
from shared.testing.object_store import MemoryObjectStore
from tests.faults.proxy import FaultProxy
from tests.waiting import PATIENCE_S

DATA = b"picture \x00\xff" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(params=["memory", "server"])
def store(request):
    """The same test against the twin and the real server."""
    if request.param == "memory":
        return MemoryObjectStore()
    return S3ObjectStore(request.getfixturevalue("servers").settings, retry_s=5)


def test_put_and_get(store, prefix):
    store.put(prefix + "a b/ü.png", DATA, "image/png", {"job": "job_1"})
    assert store.get(prefix + "a b/ü.png", sha256=SHA256, size=len(DATA)) == DATA
    store.put(prefix + "a b/ü.png", b"", "image/png")
    assert store.get(prefix + "a b/ü.png") == b""


def test_head(store, prefix):
    before = time.time() * 1000
    store.put(prefix + "a", DATA, "image/webp", {"file-id": "file_1", "width": "40"})
    head = store.head(prefix + "a")
    assert (head.key, head.bytes, head.media_type) == (prefix + "a", len(DATA), "image/webp")
    assert head.metadata == {"sha256": SHA256, "file-id": "file_1", "width": "40"}
    assert abs(head.modified_at - before) < 60_000
    store.put(prefix + "b", DATA[:-1], "image/webp")
    assert store.head(prefix + "b").etag != head.etag == store.head(prefix + "a").etag


def test_what_is_not_there(store, prefix):
    assert not store.exists(prefix + "a")
    with pytest.raises(NotFound):
        store.get(prefix + "a")
    with pytest.raises(NotFound):
        store.head(prefix + "a")
    with pytest.raises(NotFound):
        store.read("imagemill", prefix + "a", 10)
    with pytest.raises(NotFound):
        store.read("no-such-bucket", "a", 10)
    store.delete([prefix + "a"])
    assert list(store.list(prefix)) == []


def test_list_and_delete(store, prefix):
    before = time.time() * 1000
    for name in ("a/1", "a/2", "b/1"):
        store.put(prefix + name, DATA, "image/png")
    found = list(store.list(prefix + "a/"))
    assert [(entry.key, entry.bytes) for entry in found] == [
        (prefix + "a/1", len(DATA)),
        (prefix + "a/2", len(DATA)),
    ]
    assert all(abs(entry.modified_at - before) < 60_000 for entry in found)
    store.delete(entry.key for entry in found)
    assert [entry.key for entry in store.list(prefix)] == [prefix + "b/1"]
    assert store.exists(prefix + "b/1")


def test_a_listing_goes_on_after_a_key_that_is_gone(store, prefix):
    names = ("a/1", "a/2", "a", "b/1", "b-1", "c/d/1", "c/d/2")
    for name in names:
        store.put(prefix + name, b"x", "text/plain")
    whole = [entry.key for entry in store.list(prefix)]
    assert sorted(whole) == sorted(prefix + name for name in names)
    found, after = [], ""
    while page := [entry.key for entry in islice(store.list(prefix, after), 2)]:
        found, after = found + page, page[-1]
        store.delete(page)
    assert found == whole


def test_its_clock_dates_the_objects(store, prefix):
    store.put(prefix + "a", DATA, "image/png")
    assert abs(store.now() - store.head(prefix + "a").modified_at) < 60_000


def test_a_users_object_is_bounded(store, prefix):
    store.put(prefix + "a", DATA, "image/png")
    assert store.read("imagemill", prefix + "a", len(DATA)) == DATA
    with pytest.raises(TooLarge):
        store.read("imagemill", prefix + "a", len(DATA) - 1)


def test_what_a_users_bucket_holds(store, prefix):
    store.put(prefix + "a", DATA, "image/png")
    assert [entry.key for entry in store.list(prefix, bucket="imagemill")] == [prefix + "a"]
    with pytest.raises(NotFound):
        next(store.list(prefix, bucket="no-such-bucket"))


def test_a_range(store, prefix):
    store.put(prefix + "a", b"0123456789", "text/plain")
    assert store.read_range(prefix + "a", 3, 4) == b"3456"
    assert store.read_range(prefix + "a", 8, 100, bucket="imagemill") == b"89"
    assert store.read_range(prefix + "a", 3, 0) == b""
    for key, offset in ((prefix + "a", 10), (prefix + "b", 0)):
        with pytest.raises(NotFound):
            store.read_range(key, offset, 1)


@pytest.mark.parametrize("size", [0, 5, BLOCK, PART, PART + 1, 2 * PART + 5])
def test_a_stream_there_and_back(store, prefix, size):
    data = os.urandom(size)
    pieces = (data[start : start + 700_000] for start in range(0, size, 700_000))
    stored = store.put_stream(prefix + "a", pieces, "text/plain", {"purpose": "batch"})
    assert stored == (hashlib.sha256(data).hexdigest(), size)
    head = store.head(prefix + "a", bucket="imagemill")
    assert (head.bytes, store.head(prefix + "a").metadata["purpose"]) == (size, "batch")
    blocks = list(store.stream(prefix + "a"))
    assert b"".join(blocks) == data
    assert all(len(block) <= BLOCK for block in blocks)
    with pytest.raises(NotFound):
        next(store.stream(prefix + "b"))
    with pytest.raises(NotFound):
        next(store.stream(prefix + "a", bucket="no-such-bucket"))


@pytest.mark.parametrize("size", [5, PART + 5])
def test_a_stream_into_a_users_bucket(store, prefix, size):
    store.put_stream(prefix + "a", [bytes(size)], "text/plain", bucket="imagemill")
    assert store.head(prefix + "a", "imagemill").bytes == size


def test_nothing_is_left_of_a_stream_that_fails(store, prefix):
    def pieces():
        yield bytes(PART)
        yield bytes(PART)
        raise ValueError("the source broke off")

    with pytest.raises(ValueError, match="broke off"):
        store.put_stream(prefix + "a", pieces(), "text/plain")
    assert not store.exists(prefix + "a")
    if isinstance(store, S3ObjectStore):
        uploads = store._client().list_multipart_uploads(Bucket="imagemill", Prefix=prefix)
        assert not uploads.get("Uploads")


def test_a_copy(store, prefix):
    store.put(prefix + "a b", DATA, "image/png", {"job": "job_1"})
    store.copy(prefix + "a b", prefix + "ü")
    store.delete([prefix + "a b"])
    assert store.get(prefix + "ü") == DATA
    head = store.head(prefix + "ü")
    assert (head.media_type, head.metadata) == ("image/png", {"sha256": SHA256, "job": "job_1"})
    store.copy(prefix + "ü", prefix + "d", bucket="imagemill")
    assert store.get(prefix + "d") == DATA
    with pytest.raises(NotFound):
        store.copy(prefix + "a b", prefix + "c")
    if isinstance(store, S3ObjectStore):
        store._retry_s = 0.3  # SeaweedFS calls it an InternalError of its own
    with pytest.raises((NotFound, StorageUnavailable)):
        store.copy(prefix + "ü", "c", "no-such-bucket")


def test_check(store):
    store.check()


def test_bytes_that_differ_from_their_record_are_never_given_out(store, prefix):
    store.put(prefix + "a", DATA, "image/png")
    if isinstance(store, S3ObjectStore):
        store._retry_s = 0.3
    for wanted in ({"sha256": "0" * 64}, {"size": len(DATA) + 1}):
        with pytest.raises(StorageCorrupt):
            store.get(prefix + "a", **wanted)


class TestServer:
    """What only a real server can show."""

    @pytest.fixture
    def settings(self, servers) -> Settings:
        return servers.settings

    @pytest.fixture
    def store(self, settings):
        return S3ObjectStore(settings, retry_s=5)

    def test_a_presigned_address_serves_until_it_expires(self, store, prefix):
        store.put(prefix + "a", DATA, "application/octet-stream")
        url = store.presigned_get(prefix + "a", 2, 'image "0".png', "image/png")
        with urllib.request.urlopen(url) as answer:
            assert answer.read() == DATA
            assert answer.headers["Content-Type"] == "image/png"
            assert answer.headers["Content-Disposition"] == 'inline; filename="image__0_.png"'
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(url.replace("a?", "b?"))
        time.sleep(3)
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(url)

    def test_presigning_uses_the_public_endpoint(self, settings):
        public = settings.model_copy(update={"s3_public_endpoint": "https://s3.example.org"})
        url = S3ObjectStore(public).presigned_get("k", 60, "a.png", "image/png")
        assert url.startswith(f"https://s3.example.org/{settings.s3_bucket}/k?")

    def test_wrong_keys_and_no_bucket(self, settings):
        for change in ({"s3_secret_key": "wrong"}, {"s3_bucket": "nothere"}):
            store = S3ObjectStore(settings.model_copy(update=change), retry_s=0.3)
            with pytest.raises(StorageUnavailable):
                store.check()
        store = S3ObjectStore(settings.model_copy(update={"s3_secret_key": "wrong"}), retry_s=0.3)
        with pytest.raises(StorageUnavailable):
            store.put("a", DATA, "image/png")

    def test_a_stream_goes_on_where_it_broke_off(self, settings, prefix):
        address = urlsplit(settings.s3_endpoint)
        proxy = FaultProxy((address.hostname, address.port))
        try:
            through = {"s3_endpoint": f"http://127.0.0.1:{proxy.port}"}
            store = S3ObjectStore(settings.model_copy(update=through), retry_s=5)
            data = os.urandom(30 * BLOCK)  # more than the sockets on the way hold
            store.put(prefix + "a", data, "image/png")
            stream = store.stream(prefix + "a")
            found = next(stream)
            proxy.cut()
            assert found + b"".join(stream) == data

            stream = store.stream(prefix + "a")
            next(stream)
            proxy.pause()
            S3ObjectStore(settings).put(prefix + "a", bytes(30 * BLOCK), "image/png")
            proxy.cut()
            proxy.heal()
            with pytest.raises(StorageUnavailable, match="PreconditionFailed"):
                list(stream)
        finally:
            proxy.close()

    @pytest.mark.parametrize("size", [3, 20, 60, 90, 120, 180])
    def test_an_answer_that_breaks_off_neither_hangs_nor_confuses_it(self, settings, prefix, size):
        address = urlsplit(settings.s3_endpoint)
        proxy = FaultProxy((address.hostname, address.port))
        try:
            direct = {"s3_endpoint": f"http://127.0.0.1:{proxy.port}"}
            store = S3ObjectStore(settings.model_copy(update=direct), retry_s=0.3)
            proxy.truncate("reply", size)
            with suppress(StorageUnavailable):  # what says 200 is believed
                store.put(prefix + "a", DATA * 1000, "image/png")
            proxy.heal()
            store.put(prefix + "a", DATA * 1000, "image/png")
            assert store.get(prefix + "a") == DATA * 1000
            assert abs(store.now() - time.time() * 1000) < 60_000
        finally:
            proxy.close()

    def test_many_threads_share_it(self, store, prefix):
        failures = []

        def work(number):
            try:
                data = DATA + str(number).encode()
                store.put(f"{prefix}{number}", data, "image/png")
                digest = hashlib.sha256(data).hexdigest()
                assert store.get(f"{prefix}{number}", sha256=digest) == data
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(list(store.list(prefix))) == 16

    def test_listing_goes_on_past_one_page(self, store, prefix, monkeypatch):
        client = store._client()
        listed = client.list_objects_v2
        monkeypatch.setattr(client, "list_objects_v2", lambda **params: listed(**params, MaxKeys=2))
        for number in range(5):
            store.put(f"{prefix}{number}", b"x", "text/plain")
        assert len(list(store.list(prefix))) == 5


FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
WRONG_CLOCK = """
import hashlib, sys, time, urllib.request
from shared.object_store import S3ObjectStore
from shared.settings import Settings

settings, key = Settings.model_validate_json(sys.argv[1]), sys.argv[2]

def store():
    return S3ObjectStore(settings, retry_s=0.0)  # the very first request must do

store().check()
store().put(key, b"x", "text/plain")
assert store().head(key).bytes == 1
assert store().get(key, sha256=hashlib.sha256(b"x").hexdigest()) == b"x"
same = store()
assert [entry.key for entry in same.list(key)] == [key]
assert abs(same.now() - same.head(key).modified_at) < 60_000
url = store().presigned_get(key, 60, "a", "text/plain")
assert urllib.request.urlopen(url).read() == b"x"
same.delete([key])
assert not same.exists(key)
print(int(time.time()))
"""


@pytest.mark.skipif(not FAKETIME.exists(), reason="libfaketime is not installed")
@pytest.mark.parametrize("offset_s", [3600, -3600, -300])
def test_a_machine_whose_clock_is_wrong(servers, prefix, offset_s):
    wrong = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME": f"{offset_s:+d}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", WRONG_CLOCK, servers.settings.model_dump_json(), prefix + "a"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **wrong},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    assert abs(int(done.stdout) - time.time() - offset_s) < 60  # it was wrong indeed


class Faulty(ThreadingHTTPServer):
    """An S3 server that answers from a script: (status, error code) or bytes, perhaps cut."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), FaultyHandler)
        self.script: deque = deque()
        self.requests: list[tuple[str, http.client.HTTPMessage, bytes]] = []
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class FaultyHandler(BaseHTTPRequestHandler):
    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append((self.command, self.headers, body))
        well = DATA if self.command == "GET" else (201, b"")
        step = self.server.script.popleft() if self.server.script else well
        if step == "hang up":
            self.close_connection = True
            return
        status, data = step if isinstance(step, tuple) else (200, step)
        whole = len(DATA) if status == 200 else None
        if isinstance(data, str):
            data = f"<Error><Code>{data}</Code><Message>m</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(whole or len(data)))
        self.send_header("Last-Modified", "Sun, 01 Nov 2026 00:00:00 GMT")
        self.send_header("ETag", '"1"')
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = whole is not None and len(data) != whole

    do_GET = do_PUT = do_HEAD = do_DELETE = answer  # noqa: N815

    def log_message(self, *args):
        pass


class TestMisbehaviour:
    @pytest.fixture
    def server(self):
        server = Faulty()
        yield server
        server.shutdown()
        server.server_close()

    @pytest.fixture
    def store(self, server):
        settings = Settings(
            s3_endpoint=f"http://127.0.0.1:{server.server_port}",
            s3_access_key="a",
            s3_secret_key="b",
        )
        return S3ObjectStore(settings, retry_s=3)

    @pytest.mark.parametrize(
        "fault",
        [
            (503, "SlowDown"),
            (500, "InternalError"),
            (502, ""),
            (429, "TooManyRequests"),
            (404, "NoSuchBucket"),
            "hang up",
            DATA[:100],
        ],
    )
    def test_what_passes_is_waited_for(self, server, store, fault):
        server.script.extend([fault, fault])
        assert store.get("a", sha256=SHA256, size=len(DATA)) == DATA
        assert len(server.requests) == 3

    def test_damaged_bytes_are_fetched_again(self, server, store):
        server.script.append(bytes(len(DATA)))
        assert store.get("a", sha256=SHA256) == DATA

    def test_the_time_for_retries_is_bounded(self, server, store):
        store._retry_s = 0.5
        server.script.extend([(503, "SlowDown")] * 1000)
        started = time.monotonic()
        with pytest.raises(StorageUnavailable) as caught:
            store.get("a")
        assert time.monotonic() - started < 60  # a thousand tries would take minutes
        assert caught.value.retryable
        assert not caught.value.burns_attempt

    @pytest.mark.parametrize("fault", [(403, "AccessDenied"), (400, "InvalidArgument")])
    def test_what_does_not_pass_is_not_repeated(self, server, store, fault):
        server.script.extend([fault] * 5)
        with pytest.raises(StorageUnavailable):
            store.get("a")
        assert len(server.requests) == 2  # the quick one, and the one that tells why

    def test_another_bucket_that_may_not_be_read(self, server, store):
        server.script.extend([(403, "AccessDenied")] * 2)
        with pytest.raises(NotFound):
            store.read("other", "a", 10)
        server.script.append((403, "AccessDenied"))
        with pytest.raises(NotFound):
            next(store.list("a", bucket="other"))
        server.script.extend([(403, "AccessDenied")] * 2)
        with pytest.raises(NotFound):
            store.put_stream("a", [b"x"], "text/plain", bucket="other")

    def test_nobody_listens(self):
        settings = Settings(s3_endpoint="http://127.0.0.1:9", s3_access_key="a", s3_secret_key="b")
        store = S3ObjectStore(settings, retry_s=0.3)
        for call in (store.check, lambda: store.put("a", b"x", "text/plain")):
            with pytest.raises(StorageUnavailable):
                call()

    def test_uploads_carry_their_digests(self, server, store):
        for _ in range(2):  # by boto3, and then by obstore
            store.put("a", DATA, "image/png", {"job": "job_1"})
        first, second = server.requests
        for method, headers, body in (first, second):
            assert (method, body) == ("PUT", DATA)
            assert headers["x-amz-content-sha256"] == SHA256
            assert b64decode(headers["x-amz-checksum-sha256"]).hex() == SHA256
            assert headers["x-amz-meta-sha256"] == SHA256
            assert headers["x-amz-meta-job"] == "job_1"
            assert headers["Content-Type"] == "image/png"
            assert "x-amz-trailer" not in headers
        assert first[1]["Content-MD5"]


def test_dispositions_are_plain():
    assert disposition('a"b\r\nc/é.png') == 'inline; filename="a_b__c__.png"'
