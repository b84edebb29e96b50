import base64
import io

import pytest

from api.batches.chunks import LEAST, PER_WORKER, Chunks, Pace
from api.batches.shards import Shards
from shared.contracts import Priority, WorkerRecord
from shared.errors import LedgerUnavailable
from tests.api.batches.keeping import FOLDER

JOBS = "/v1/jobs"
TRANSLATE = {"kind": "translate", "input": {"text": "$text", "target": "$target"}}


def text(custom_id: str, target: str, **also) -> dict:
    return {"custom_id": custom_id, "variables": {"text": custom_id, "target": target}, **also}


def drawing(number: int, **given) -> dict:
    body = {"kind": "generate", "input": {"prompt": "a cat", **given}}
    return {"custom_id": str(number), "body": body}


def opened(keeping, batch_id):
    """The jobs of the batch's first chunk, once they are submitted."""
    keeping.advance(batch_id)
    return [keeping.ledger.get(job_id) for job_id in keeping.jobs(batch_id)]


def refused(keeping, batch_id):
    """The lines of what could not be run of the first chunk, by number."""
    opening = keeping.ledger.batch(batch_id).open[0].opening
    return Shards.read(keeping.store, batch_id, 0, opening).errors


def test_items_of_one_plan_share_a_job(keeping):
    batch_id = keeping.create(keeping.pictures(100))
    first, second = opened(keeping, batch_id)
    assert [item.number for item in first.items] == list(range(64))
    assert [item.number for item in second.items] == list(range(64, 100))
    assert first.items[5].custom_id == "5.png"
    assert first.items[5].input["image"] == f"{FOLDER}5.png"
    assert first.priority is Priority.BULK
    assert first.steps[0].step.batch_class > 1


def test_items_of_another_plan_have_another_job(keeping):
    batch_id = keeping.create([drawing(n, width=32 * (1 + n % 2)) for n in range(6)], endpoint=JOBS)
    jobs = opened(keeping, batch_id)
    assert sorted([item.number for item in job.items] for job in jobs) == [[0, 2, 4], [1, 3, 5]]


def test_what_cannot_run_has_its_line_at_once(keeping):
    lines = [
        text("good", "arb_Arab"),
        text("bad", "klingon", line=2),
        {"custom_id": None, "line": 3, "error": {"code": "invalid_json", "message": "no JSON"}},
    ]
    batch_id = keeping.create(lines, job=TRANSLATE)
    [job] = opened(keeping, batch_id)
    assert [item.custom_id for item in job.items] == ["good"]
    errors = refused(keeping, batch_id)
    assert sorted(errors) == [1, 2]
    assert errors[1]["error"]["code"] == "invalid_request"
    assert errors[1]["error"]["line"] == 2
    assert "/input/target" in errors[1]["error"]["message"]
    assert errors[2]["error"] == {"code": "invalid_json", "message": "no JSON", "line": 3}
    assert errors[2]["custom_id"] is None


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("s3://elsewhere/x.png", "not under a prefix"),
        ("file_" + "0" * 32, "no such file"),
        ("https://example.org/x.png", "URL inputs are off"),
        ("s3://photos/in/x.tar#0+10", "not an image reference"),
        ("data:image/png;base64,AAAA", "image"),
    ],
)
def test_pictures_that_cannot_be_read(keeping, image, reason):
    body = {"kind": "caption", "input": {"image": image}}
    batch_id = keeping.create([{"custom_id": "a", "body": body}], endpoint=JOBS)
    assert opened(keeping, batch_id) == []
    [line] = refused(keeping, batch_id).values()
    assert reason in line["error"]["message"]


def test_pictures_of_every_sort(keeping, http, png):
    upload = http.post("/v1/files", data={"file": (io.BytesIO(png()), "a.png"), "purpose": "image"})
    inline = f"data:image/png;base64,{base64.b64encode(png('blue')).decode()}"
    images = [upload.json["id"], inline, f"{FOLDER}x.png", f"{FOLDER}x.tar#512+1000"]
    lines = [{"custom_id": str(n), "variables": {"image": image}} for n, image in enumerate(images)]
    [job] = opened(keeping, keeping.create(lines))
    found = [item.input["image"] for item in job.items]
    assert found[0] == images[0]
    assert keeping.ledger.get_file("default", found[1]).purpose == "image"
    assert found[2:] == images[2:]


def test_items_of_a_long_kind_have_a_job_each(keeping):
    given = {"source": "$image", "mask": "$image", "target": "$image"}
    batch_id = keeping.create(keeping.pictures(3), job={"kind": "composite", "input": given})
    jobs = opened(keeping, batch_id)
    assert [job.batch.number for job in jobs] == [0, 1, 2]
    assert [job.input["source"] for job in jobs] == [f"{FOLDER}{n}.png" for n in range(3)]
    assert not any(job.items for job in jobs)


def test_a_seed_that_is_left_open_is_the_same_every_time(keeping):
    draw = {"kind": "generate", "input": {"prompt": "$prompt"}}
    lines = [{"custom_id": str(n), "variables": {"prompt": "a cat"}} for n in range(3)]
    batch_id = keeping.create(lines, job=draw)
    [job] = opened(keeping, batch_id)
    seeds = [item.input["seed"] for item in job.items]
    assert len(set(seeds)) == 3
    keeping.finish(batch_id, bad=["a cat"])
    keeping.ledger.retry_batch(batch_id)
    [again] = opened(keeping, batch_id)
    assert [item.input["seed"] for item in again.items] == seeds


def test_whoever_goes_on_after_a_kill_submits_the_rest(keeping, monkeypatch):
    batch_id = keeping.create([drawing(n, width=8 * (1 + n % 4)) for n in range(8)], endpoint=JOBS)
    submit, left = keeping.ledger.submit, [2]

    def dies(job, idempotency=None):
        if not left[0]:
            raise LedgerUnavailable("killed")
        left[0] -= 1
        return submit(job, idempotency)

    monkeypatch.setattr(keeping.ledger, "submit", dies)
    with pytest.raises(LedgerUnavailable):
        keeping.advance(batch_id)
    assert keeping.ledger.batch(batch_id).open[0].jobs is None
    monkeypatch.undo()
    Chunks(keeping.services).advance(keeping.ledger.batch(batch_id), Pace())
    jobs = [keeping.ledger.get(job_id) for job_id in keeping.jobs(batch_id)]
    numbers = [item.number for job in jobs for item in job.items]
    assert sorted(numbers) == list(range(8))
    assert len(jobs) == 4


def test_as_many_chunks_are_open_as_the_workers_need(keeping):
    chunks, pace = Chunks(keeping.services), Pace()
    batch_id = keeping.create(keeping.pictures(64 * 10))
    chunks.advance(keeping.ledger.batch(batch_id), pace)
    assert len(keeping.ledger.batch(batch_id).open) == LEAST
    for name in ("here", "there"):
        keeping.ledger.heartbeat(captioner(name))
    chunks.advance(keeping.ledger.batch(batch_id), pace)
    assert len(keeping.ledger.batch(batch_id).open) == 2 * PER_WORKER


def captioner(name: str) -> WorkerRecord:
    return WorkerRecord(
        name=name,
        host=name,
        pid=1,
        family="captioner",
        device="cpu",
        models={"tiny": "r1"},
        queues=("1-interactive.captioner.tiny", "2-bulk.captioner.tiny"),
        slots=3,
        busy=0,
        started_at=0,
    )
