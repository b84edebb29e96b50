"""Work that was done before is not done again."""

import pytest

from api.batches.chunks import Chunks, Pace
from api.batches.joining import join
from shared.contracts import CHUNK, WorkerRecord
from shared.layout import fingerprints_key, picture_place

DRAW = {"kind": "generate", "input": {"prompt": "$name"}}
NAMES = [f"thing {n}" for n in range(CHUNK + 6)]


@pytest.fixture
def serve(keeping):
    """Announces a worker of every family with its models' revision."""

    def heartbeat(revision="r1", name="here"):
        for family in ("captioner", "diffuser"):
            keeping.ledger.heartbeat(
                WorkerRecord(
                    name=f"{family}@{name}",
                    host=name,
                    pid=1,
                    family=family,
                    device="cpu",
                    models={"tiny": revision},
                    queues=(),
                    slots=1,
                    busy=0,
                    started_at=0,
                )
            )

    return heartbeat


@pytest.fixture
def reusing(keeping):
    """Brings a batch that reuses to its end: its record, its lines, and how many items ran."""

    def finish(lines, bad=(), **request):
        batch_id = keeping.create(lines, reuse=True, **request)
        chunks, pace, ran = Chunks(keeping.services), Pace(), 0
        while (batch := keeping.ledger.batch(batch_id)).status == "in_progress":
            chunks.advance(batch, pace)
            for job_id in keeping.jobs(batch_id):
                ran += len(keeping.ledger.get(job_id).items)
                keeping.run(job_id, bad=bad, drawn=NAMES)
        batch = join(keeping.services, batch)
        return batch, *keeping.lines(batch), ran

    return finish


@pytest.fixture
def drawn(reusing):
    def finish(names, folder="", **request):
        lines = [{"custom_id": f"{folder}{n}", "variables": {"name": n}} for n in names]
        return reusing(lines, job=DRAW, **request)

    return finish


@pytest.fixture
def photos(keeping):
    """Pictures 0.png and so on in S3, and their lines."""

    def put(contents):
        for n, content in enumerate(contents):
            keeping.store.objects["photos", f"in/{n}.png"] = content
        return keeping.pictures(len(contents))

    return put


def test_all_of_it_is_taken_over(drawn, serve, keeping):
    serve()
    first, made, _, ran = drawn(NAMES)
    assert ran == len(NAMES)
    again, results, errors, ran = drawn(NAMES)
    assert (ran, errors, again.notes["reused"]) == (0, [], len(NAMES))
    assert again.counts == first.counts
    for line, earlier in zip(results, made, strict=True):
        job, before = line["response"]["body"], earlier["response"]["body"]
        assert line["id"] != earlier["id"]
        assert job["reused_from"] == before["id"]
        assert job["urls"]["self"].endswith(job["id"])
        assert all(job["id"] in image["url"] for image in job["outputs"]["images"])
        assert job["outputs"]["caption"] == before["outputs"]["caption"]
    _, key = picture_place(again, "thing 3", "image-0.png")
    assert keeping.store.get(key) == b"thing 3"


def test_taken_over_twice_it_names_the_job_that_ran(drawn, serve, keeping):
    serve()
    first, made, *_ = drawn(NAMES[:2])
    drawn(NAMES[:2])
    keeping.ledger.delete_batch(first.id)
    _, results, _, ran = drawn(NAMES[:2])
    assert ran == 0
    assert results[0]["response"]["body"]["reused_from"] == made[0]["response"]["body"]["id"]


def test_only_the_same_bytes_parameters_and_revisions_are_the_same(reusing, serve, photos):
    serve()
    reusing(photos([b"cat", b"dog", b"emu"]))
    assert reusing(photos([b"cat", b"fox", b"emu"]))[-1] == 1
    # The same bytes under another name.
    assert reusing(photos([b"emu", b"fox", b"cat"]))[-1] == 0
    longer = {"kind": "caption", "input": {"image": "$image", "max_tokens": 9}}
    assert reusing(photos([b"cat", b"dog", b"emu"]), job=longer)[-1] == 3
    serve("r2")
    assert reusing(photos([b"cat"]))[-1] == 1


def test_workers_that_differ_decide_nothing(reusing, serve, photos):
    serve()
    reusing(photos([b"cat"]))
    serve("r2", name="there")
    assert reusing(photos([b"cat"]))[-1] == 1


def test_what_failed_or_was_not_asked_to_be_kept_runs(reusing, serve, photos, keeping):
    serve()
    keeping.finish(keeping.create(photos([b"cat"])))
    _, _, errors, ran = reusing(photos([b"cat", b"dog"]), bad=["s3://photos/in/1.png"])
    assert (len(errors), ran) == (1, 2)
    assert reusing(photos([b"cat", b"dog"]))[-1] == 1


def test_an_open_seed_is_the_same_for_the_same_name(drawn, serve):
    serve()
    drawn(NAMES[:2])
    assert drawn(NAMES[:2], folder="other/")[-1] == 2
    assert drawn(NAMES[:1])[-1] == 0


def test_pictures_that_changed_since_are_made_again(drawn, serve, keeping):
    serve()
    first, *_ = drawn(NAMES[:2])
    _, key = picture_place(first, "thing 0", "image-0.png")
    keeping.store.put(key, b"something else", "image/png")
    _, key = picture_place(first, "thing 1", "image-0.png")
    keeping.store.delete([key])
    assert drawn(NAMES[:2])[-1] == 2


def test_an_opening_that_was_cut_short_goes_on(drawn, serve, keeping, monkeypatch):
    serve()
    drawn(NAMES[:3])
    batch_id = keeping.create(
        [{"custom_id": n, "variables": {"name": n}} for n in NAMES[:4]], job=DRAW, reuse=True
    )
    chunks, pace = Chunks(keeping.services), Pace()
    with monkeypatch.context() as cut:
        cut.setattr(keeping.ledger, "chunk_jobs", lambda *_: (_ for _ in ()).throw(OSError))
        with pytest.raises(OSError):  # noqa: PT011 - as a kill
            chunks.advance(keeping.ledger.batch(batch_id), pace)
    while (batch := keeping.ledger.batch(batch_id)).status == "in_progress":
        chunks.advance(batch, pace)
        for job_id in keeping.jobs(batch_id):
            assert len(keeping.ledger.get(job_id).items) == 1
            keeping.run(job_id, drawn=NAMES)
    done = join(keeping.services, batch)
    results, _ = keeping.lines(done)
    assert [line["custom_id"] for line in results] == NAMES[:4]
    assert len(keeping.store.get(fingerprints_key(batch_id))) == 4 * 36
