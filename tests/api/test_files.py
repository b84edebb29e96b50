import base64
import gzip
import hashlib
import io
import os
import tarfile
import zipfile

import pytest
from PIL import Image

from shared.errors import StorageCorrupt
from shared.file_metadata import file_record


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def upload(http, data, name="a.png", **fields):
    return http.post("/v1/files", data={"file": (io.BytesIO(data), name), **fields})


def pointers(answer):
    return [error["pointer"] for error in answer.json["errors"]]


def test_upload_tells_what_it_is_and_gives_it_back(http, png, store):
    data = png(size=(40, 30))
    answer = upload(http, data, purpose="image")
    assert answer.status_code == 201
    record = answer.json
    assert record["id"].startswith("file_")
    assert answer.headers["Location"].endswith(f"/v1/files/{record['id']}")
    assert (record["bytes"], record["width"], record["height"]) == (len(data), 40, 30)
    assert record["media_type"] == "image/png"
    assert record["created_at"].endswith("Z")
    assert http.get(f"/v1/files/{record['id']}").json == record
    content = http.get(f"/v1/files/{record['id']}/content")
    assert (content.data, content.mimetype) == (data, "image/png")
    assert len(store.objects) == 1


def test_the_same_bytes_are_the_same_file_stored_once(http, png, store):
    first, second = upload(http, png()), upload(http, png(), name="other.png")
    assert (second.status_code, second.json["id"]) == (201, first.json["id"])
    assert len(store.objects) == 1
    assert upload(http, png("blue")).json["id"] != first.json["id"]
    assert http.get(f"/v1/files/{first.json['id']}/content").data == png()


def test_the_object_alone_tells_the_whole_record(http, png, store, ledger):
    record = ledger.get_file("default", upload(http, png()).json["id"])
    found = file_record(store.head(record.key), record.expires_at)
    assert abs(found.created_at - record.created_at) < 60_000
    assert found == record.model_copy(update={"created_at": found.created_at})


def test_an_object_that_is_no_upload_has_no_record(store):
    store.put("files/a", b"x", "image/png")
    with pytest.raises(ValueError, match="tenant"):
        file_record(store.head("files/a"), 0)


def test_delete(http, png):
    path = f"/v1/files/{upload(http, png()).json['id']}"
    assert http.delete(path).status_code == 204
    for answer in (http.get(path), http.get(f"{path}/content"), http.delete(path)):
        assert (answer.status_code, answer.json["code"]) == (404, "not_found")
    assert upload(http, png()).status_code == 201
    assert http.get(f"{path}/content").data == png()


def test_erasing_an_older_copy_does_not_take_the_new_one(http, png, ledger, store):
    path = f"/v1/files/{upload(http, png()).json['id']}"
    http.delete(path)
    upload(http, png())
    store.delete(ledger.garbage())  # the reaper, late
    assert http.get(f"{path}/content").data == png()


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "empty"), (b"hello", "not an image"), (b"%PDF-1.4", "not an image")],
)
def test_what_is_no_image(http, store, data, words):
    answer = upload(http, data)
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_image")
    assert answer.mimetype == "application/problem+json"
    assert words in answer.json["detail"]
    assert pointers(answer) == ["/file"]
    assert store.objects == {}


def test_a_truncated_picture(http, png):
    data = png("red", (300, 200), "JPEG")
    answer = upload(http, data[: len(data) // 2])
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_image")


def test_a_picture_over_max_pixels(http, monkeypatch):
    buffer = io.BytesIO()
    Image.new("1", (1001, 1000)).save(buffer, "PNG")
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    answer = upload(http, buffer.getvalue())
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_image")
    assert "1000000" in answer.json["detail"]


def test_a_body_over_the_limit(http):
    answer = upload(http, b"x" * (2**20 + 1))
    assert (answer.status_code, answer.json["code"]) == (413, "too_large")
    assert answer.mimetype == "application/problem+json"


@pytest.mark.parametrize(
    ("data", "name", "media_type"),
    [
        (b'{"custom_id": "a"}\n', "a.jsonl", "application/jsonl"),
        (b"no JSON at all", "a.jsonl", "application/jsonl"),
        (b'{"images": []}', "a.json", "application/json"),
        (zipped({"a.png": b"x"}), "a.jsonl", "application/zip"),
        (tarred({"a.png": b"x"}), "a.tar", "application/x-tar"),
        (gzip.compress(b"x", mtime=0), "a.tar.gz", "application/gzip"),
        (b"PAR1" + bytes(8), "a.parquet", "application/vnd.apache.parquet"),
    ],
)
def test_what_a_batch_reads_is_told_by_its_bytes(http, data, name, media_type):
    record = upload(http, data, name, purpose="batch").json
    assert (record["media_type"], record["filename"]) == (media_type, name)


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n", b"\xff\xfe\x00"])
def test_what_no_batch_can_read(http, store, data):
    answer = upload(http, data, purpose="batch")
    assert (answer.status_code, pointers(answer)) == (422, ["/file"])
    assert store.objects == {}


def test_a_large_file_of_a_batch(http, store, ledger):
    """Larger than any other upload may be, and than what is read or written at once."""
    data = os.urandom(2**20 // 2).hex().encode() * 9
    answer = upload(http, data, "عربي.jsonl", purpose="batch")
    assert answer.status_code == 201
    record = answer.json
    assert (record["object"], record["purpose"], record["status"]) == ("file", "batch", "processed")
    assert record["filename"] == "عربي.jsonl"
    assert record["sha256"] == hashlib.sha256(data).hexdigest()
    assert record["expires_at"] - record["created_at"] == 7 * 86_400
    content = http.get(f"/v1/files/{record['id']}/content")
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    assert content.headers["Repr-Digest"] == f"sha-256=:{digest}:"
    assert (content.data, content.content_length) == (data, len(data))
    kept = ledger.get_file("default", record["id"])
    assert file_record(store.head(kept.key), kept.expires_at).filename == "عربي.jsonl"


def test_files_that_need_no_upload(http, png, ledger, store):
    picture = upload(http, png()).json
    wanted = [picture["sha256"], "0" * 64]

    def known(purpose="image"):
        return http.post("/v1/files/known", json={"purpose": purpose, "sha256": wanted}).json

    assert known() == {"known": {picture["sha256"]: picture["id"]}}
    assert known("batch") == {"known": {}}
    later, now = 4 * 86_400_000, store.now  # more than half of its life is over
    ledger.advance(later)
    store.now = lambda: now() + later
    assert known() == {"known": {}}
    upload(http, png())
    assert known()["known"]
    http.delete(f"/v1/files/{picture['id']}")
    assert known() == {"known": {}}
    wanted = [*wanted, "xyz"]
    answer = http.post("/v1/files/known", json={"purpose": "image", "sha256": wanted})
    assert (answer.status_code, pointers(answer)) == (422, ["/sha256/2"])


def test_wrong_forms(http, png):
    assert pointers(upload(http, png(), purpose="fun")) == ["/purpose"]
    assert pointers(upload(http, png(), colour="red")) == ["/colour"]
    assert pointers(http.post("/v1/files", data={"purpose": "image"})) == ["/file"]
    assert pointers(http.post("/v1/files", data={"file": "text, not a file"})) == ["/file"]
    assert pointers(http.post("/v1/files", json={"file": "x"})) == ["/file"]
    twice = {"file": [(io.BytesIO(png()), "a.png"), (io.BytesIO(png()), "b.png")]}
    assert pointers(http.post("/v1/files", data=twice)) == ["/file"]


def test_a_part_that_is_away_gives_503(http, png, store, ledger):
    store.down = True
    answer = upload(http, png())
    assert (answer.status_code, answer.json["code"]) == (503, "storage_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    store.down, ledger.down = False, True
    answer = upload(http, png())
    assert (answer.status_code, answer.json["code"]) == (503, "ledger_unavailable")


def test_damaged_content_is_never_given_out(http, png, store):
    record = upload(http, png()).json
    store.objects = dict.fromkeys(store.objects, b"damaged")
    answer = http.get(f"/v1/files/{record['id']}/content")
    assert (answer.status_code, answer.json["code"]) == (500, "storage_corrupt")


def test_damaged_content_of_several_blocks_breaks_off(http, store):
    data = b"a" * (5 * 2**20)
    record = upload(http, data, purpose="batch").json
    store.objects = dict.fromkeys(store.objects, data[:-1] + b"b")
    answer = http.get(f"/v1/files/{record['id']}/content", buffered=False)
    received = []
    with pytest.raises(StorageCorrupt):
        received.extend(answer.response)
    assert answer.status_code == 200
    assert 0 < sum(map(len, received)) < len(data)
