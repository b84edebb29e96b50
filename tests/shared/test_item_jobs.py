"""The items of a chunk job, seen as jobs of their own."""

import pytest

from shared.contracts import (
    Artifact,
    BatchPlace,
    Item,
    ItemOutput,
    JobError,
    JobRecord,
    JobStatus,
    Priority,
    Step,
    StepOutput,
    StepRecord,
    StepStatus,
)
from shared.item_jobs import chunk_job_id, item_job_id, of_item, parse_item_job_id

PLACE = BatchPlace(batch_id="batch_0a1b", chunk=1, opening=7)
PICTURE = Artifact(name="image-0.png", key="k", media_type="image/png", sha256="0", bytes=1)


def step(name: str, status: StepStatus, *items: ItemOutput, attempts: int = 1) -> StepRecord:
    output = StepOutput(items=items, revision="r1", batch_class=4, run_ms=900) if items else None
    return StepRecord(
        step=Step(name=name, family="captioner", model="tiny"),
        status=status,
        attempts=attempts,
        finished_at=200 if output else None,
        output=output,
    )


def chunk_job(*steps: StepRecord, **fields: object) -> JobRecord:
    defaults: dict[str, object] = {
        "id": chunk_job_id(PLACE, 0),
        "tenant": "t",
        "kind": "blend",
        "version": 1,
        "status": JobStatus.RUNNING,
        "priority": Priority.BULK,
        "input": {},
        "metadata": {},
        "created_at": 1,
        "retention_ms": 1,
        "expires_at": 2,
        "progress": 0.5,
        "progress_message": "1 of 2 items",
        "batch": PLACE,
        "items": tuple(
            Item(number=n, custom_id=f"c{n}", input={"n": n}, metadata={"m": n}) for n in (64, 65)
        ),
        "steps": steps,
        "current": 1,
    }
    return JobRecord.model_validate({**defaults, **fields})


GOOD = ItemOutput(number=64, outputs={"caption": "a"}, artifacts=(PICTURE,), attempts=2, run_ms=5)
BAD = ItemOutput(number=65, error=JobError(code="invalid_image", message="cut"), attempts=3)


def test_ids_tell_the_batch_and_the_number() -> None:
    assert item_job_id("batch_0a1b", 65) == "job_0a1b-00000065"
    assert parse_item_job_id("job_0a1b-00000065") == ("batch_0a1b", 65)
    assert parse_item_job_id(item_job_id("batch_0a1b", 10**9)) == ("batch_0a1b", 10**9)
    for other in (chunk_job_id(PLACE, 0), "job_0a1b", "job_0a1b-0065", "job_0a1b-00000065\n"):
        assert parse_item_job_id(other) is None


def test_an_item_that_goes_on_stands_where_its_chunk_stands() -> None:
    job = chunk_job(
        step("caption", StepStatus.SUCCEEDED, GOOD, BAD), step("draw", StepStatus.RUNNING)
    )
    item = of_item(job, 64)
    assert (item.id, item.status, item.items) == ("job_0a1b-00000064", JobStatus.RUNNING, ())
    assert (item.input, item.metadata) == ({"n": 64}, {"m": 64})
    assert (item.progress, item.progress_message) == (0.0, "")
    assert (item.outputs, item.artifacts) == ({"caption": "a"}, (PICTURE,))
    assert [(s.status, s.attempts) for s in item.steps] == [("succeeded", 2), ("running", 1)]
    assert item.steps[0].output == StepOutput(
        outputs={"caption": "a"}, artifacts=(PICTURE,), revision="r1", batch_class=4, run_ms=5
    )
    assert item.batch == PLACE.model_copy(update={"number": 64})


@pytest.mark.parametrize("later", [StepStatus.RUNNING, StepStatus.SUCCEEDED])
def test_an_item_that_failed_has_ended_whatever_its_neighbours_do(later: StepStatus) -> None:
    drawn = (GOOD,) if later is StepStatus.SUCCEEDED else ()
    job = chunk_job(step("caption", StepStatus.SUCCEEDED, GOOD, BAD), step("draw", later, *drawn))
    item = of_item(job, 65)
    assert (item.status, item.current, item.finished_at) == (JobStatus.FAILED, 0, 200)
    assert item.error == JobError(code="invalid_image", message="cut", step="caption")
    assert [(s.status, s.attempts) for s in item.steps] == [("failed", 3), ("canceled", 0)]
    assert (item.outputs, item.artifacts) == ({}, ())


def test_an_item_ends_with_its_chunk() -> None:
    lost = JobError(code="worker_lost", message="gone", step="draw")
    job = chunk_job(
        step("caption", StepStatus.SUCCEEDED, GOOD, BAD),
        step("draw", StepStatus.FAILED, attempts=3),
        status=JobStatus.FAILED,
        error=lost,
    )
    item = of_item(job, 64)
    assert (item.status, item.error, item.outputs) == (JobStatus.FAILED, lost, {"caption": "a"})
    assert of_item(job, 65).error != lost


def test_a_job_that_is_one_item_is_that_item() -> None:
    alone = chunk_job(
        step("caption", StepStatus.RUNNING),
        batch=PLACE.model_copy(update={"number": 65}),
        items=(),
        input={"n": 65},
    )
    assert of_item(alone, 65) == alone.model_copy(update={"id": "job_0a1b-00000065"})


def test_an_item_of_another_job_is_not_found() -> None:
    job = chunk_job(step("caption", StepStatus.RUNNING))
    for stranger in (job, job.model_copy(update={"batch": None, "items": ()})):
        with pytest.raises(KeyError):
            of_item(stranger, 66)


def test_the_artifacts_of_a_chunk_are_those_of_its_items() -> None:
    assert chunk_job(step("draw", StepStatus.SUCCEEDED, GOOD, BAD)).artifacts == (PICTURE,)
