import io
import json
import tarfile

import pytest

from api.batches.joining import join
from api.batches.outputs import webdataset
from shared.errors import StorageUnavailable
from shared.layout import output_place
from tests.api.batches.keeping import FOLDER

DRAW = {"kind": "generate", "input": {"prompt": "$name"}}


def drawings(count):
    return [{"custom_id": f"d/{n}.x", "variables": {"name": f"cat {n}"}} for n in range(count)]


def drawn(count):
    return [f"cat {n}" for n in range(count)]


def shard(keeping, batch, number=0):
    """Its members by name."""
    bucket, key = output_place(batch, f"shards/{number:06}.tar")
    data = keeping.store.read(bucket or keeping.store.bucket, key, 10**9)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def test_every_result_with_what_it_made(keeping, http):
    batch_id = keeping.create(drawings(3), job=DRAW, output_format="webdataset")
    done = keeping.finish(batch_id, bad=["cat 1"], drawn=drawn(3))
    found = shard(keeping, done)
    assert list(found) == [
        *("00000000.json", "00000000.image-0.png"),
        *("00000002.json", "00000002.image-0.png"),
    ]
    results, _ = keeping.lines(done)
    assert [json.loads(found[name]) for name in ("00000000.json", "00000002.json")] == results
    assert found["00000002.image-0.png"] == b"cat 2"
    shown = http.get(f"/v1/batches/{batch_id}").json["outputs"]
    url = f"http://localhost/v1/batches/{batch_id}/outputs/shards/{{000000..000000}}.tar"
    assert (shown["url"], shown["items"], shown["format"]) == (url, 2, "webdataset")
    answer = http.get(url.replace("{000000..000000}", "000000"))
    assert (answer.mimetype, answer.content_length) == ("application/x-tar", shown["bytes"])
    with tarfile.open(fileobj=io.BytesIO(answer.data)) as tar:
        assert len(tar.getnames()) == 4
    for name in ("results.parquet", "shards/000001.tar", "batch.json", "../batch.json"):
        assert http.get(f"/v1/batches/{batch_id}/outputs/{name}").status_code == 404


def test_pictures_as_they_were_given(keeping, store, png):
    """A user's object, a member of an archive, one that is inline, and one that is gone."""
    pictures = {"red": png("red"), "blue": png("blue")}
    store.objects["photos", "in/red.png"] = pictures["red"]
    store.objects["photos", "in/all.tar"] = bytes(512) + pictures["blue"]
    member = f"{FOLDER}all.tar#512+{len(pictures['blue'])}"
    images = [f"{FOLDER}red.png", member, f"{FOLDER}gone.png"]
    lines = [{"custom_id": str(n), "variables": {"image": image}} for n, image in enumerate(images)]
    batch_id = keeping.create(lines, output_format="webdataset")
    found = shard(keeping, keeping.finish(batch_id))
    assert found["00000000.input.png"] == pictures["red"]
    assert found["00000001.input.png"] == pictures["blue"]
    assert [name for name in found if name.startswith("00000002")] == ["00000002.json"]


def test_several_pictures_of_one_item_and_another_place(keeping, store, png):
    store.objects["photos", "in/0.png"] = png()
    given = {"source": "$image", "mask": "$image", "target": "$image"}
    batch_id = keeping.create(
        keeping.pictures(1),
        job={"kind": "composite", "input": given},
        output_format="webdataset",
        output="s3://photos/out/",
    )
    done = keeping.finish(batch_id)
    assert sorted(shard(keeping, done)) == [
        *("00000000.input-mask.png", "00000000.input-source.png", "00000000.input-target.png"),
        "00000000.json",
    ]


@pytest.mark.parametrize(("items", "size"), [(2, 10**9), (100, 6_000)])
def test_shards_are_cut_and_only_what_is_missing_is_written(keeping, monkeypatch, items, size):
    monkeypatch.setattr(webdataset, "ITEMS", items)
    monkeypatch.setattr(webdataset, "BYTES", size)
    batch_id = keeping.create(drawings(5), job=DRAW, output_format="webdataset")
    put, dies = keeping.store.put_stream, ["shards/000001.tar"]

    def killed(key, *rest, **also):
        if any(key.endswith(name) for name in dies):
            raise StorageUnavailable("killed")
        written.append(key.rpartition("/")[2])
        return put(key, *rest, **also)

    written: list[str] = []
    monkeypatch.setattr(keeping.store, "put_stream", killed)
    with pytest.raises(StorageUnavailable):
        keeping.finish(batch_id, drawn=drawn(5), bad=["cat 4"])
    dies.clear()
    written.clear()
    done = join(keeping.services, keeping.ledger.batch(batch_id))
    assert [name for name in written if name.endswith(".tar")] == ["000001.tar"]
    assert [len(shard(keeping, done, number)) for number in range(2)] == [4, 4]

    keeping.ledger.retry_batch(batch_id)
    written.clear()
    done = keeping.finish(batch_id, drawn=drawn(5))
    assert [name for name in written if name.endswith(".tar")] == ["000001.tar", "000002.tar"]
    names = [name for number in range(3) for name in shard(keeping, done, number)]
    assert [name for name in names if "json" in name] == [f"{n:08}.json" for n in range(5)]


def test_a_retry_rewrites_the_shard_that_grows(keeping):
    batch_id = keeping.create(drawings(3), job=DRAW, output_format="webdataset")
    keeping.finish(batch_id, bad=["cat 2"])
    keeping.ledger.retry_batch(batch_id)
    assert list(shard(keeping, keeping.finish(batch_id))) == [f"{n:08}.json" for n in range(3)]


def test_without_results_there_is_no_shard(keeping, http):
    batch_id = keeping.create(drawings(2), job=DRAW, output_format="webdataset")
    keeping.finish(batch_id, bad=drawn(2))
    shown = http.get(f"/v1/batches/{batch_id}").json["outputs"]
    assert (shown["url"], shown["items"], shown["error"]) == (None, 0, None)


def test_a_place_that_may_not_be_written_is_told(keeping, http):
    batch_id = keeping.create(
        drawings(2), job=DRAW, output_format="webdataset", output="s3://nowhere/"
    )
    done = keeping.finish(batch_id)
    assert (done.status, done.counts.completed) == ("completed", 2)
    shown = http.get(f"/v1/batches/{batch_id}").json["outputs"]
    assert (shown["url"], shown["error"]) == (None, "the output prefix may not be written")
