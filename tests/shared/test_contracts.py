"""The types that cross process boundaries, and the errors."""

import pickle

import pytest
from pydantic import ValidationError

from shared import errors
from shared.contracts import (
    TERMINAL,
    Artifact,
    JobRecord,
    JobStatus,
    Priority,
    Step,
    StepRecord,
    StepStatus,
    new_id,
    queue_name,
)
from tests.shared.ledger.world import new_job, output


def artifact(name: str) -> Artifact:
    return Artifact(name=name, key=f"k/{name}", media_type="image/png", sha256="d", bytes=1)


def record(*steps: StepRecord) -> JobRecord:
    return JobRecord(
        id="job_1",
        tenant="t",
        kind="blend",
        version=1,
        status=JobStatus.RUNNING,
        priority=Priority.BULK,
        input={},
        metadata={},
        created_at=1,
        retention_ms=9000,
        expires_at=2,
        steps=steps,
        current=0,
    )


def test_terminality_is_defined_once() -> None:
    assert {status for status in JobStatus if status.terminal} == TERMINAL
    assert {status for status in JobStatus if not status.terminal} == {
        JobStatus.QUEUED,
        JobStatus.RUNNING,
        JobStatus.CANCELING,
    }


def test_interactive_queues_sort_before_bulk_ones() -> None:
    interactive = queue_name("translator", "z", Priority.INTERACTIVE)
    bulk = queue_name("captioner", "a", Priority.BULK)
    assert (interactive, bulk) == ("1-interactive.translator.z", "2-bulk.captioner.a")
    assert sorted([bulk, interactive]) == [interactive, bulk]


def test_a_steps_queue_is_its_models() -> None:
    step = Step(name="draw", family="diffuser", model="sd15")
    assert step.queue(Priority.BULK) == "2-bulk.diffuser.sd15"
    assert Step(name="other", family="diffuser", model="sd15").queue(Priority.BULK) == (
        step.queue(Priority.BULK)
    )


def test_a_jobs_outputs_are_those_of_its_committed_steps_in_order() -> None:
    first, second, third = new_job().steps
    job = record(
        StepRecord(
            step=first,
            status=StepStatus.SUCCEEDED,
            output=output(caption="c", prompt="early").model_copy(
                update={"artifacts": (artifact("a"),)}
            ),
        ),
        StepRecord(
            step=second,
            status=StepStatus.SUCCEEDED,
            output=output(prompt="late").model_copy(
                update={"artifacts": (artifact("b"), artifact("c"))}
            ),
        ),
        StepRecord(step=third),
    )
    assert job.outputs == {"caption": "c", "prompt": "late"}
    assert [found.name for found in job.artifacts] == ["a", "b", "c"]
    assert JobRecord.model_validate_json(job.model_dump_json()) == job


def test_records_are_fixed_and_complete() -> None:
    step = Step(name="s", family="f", model="m")
    with pytest.raises(ValidationError):
        step.model = "other"
    with pytest.raises(ValidationError):
        Step(name="s", family="f", model="m", colour="red")
    with pytest.raises(ValidationError):
        Step(name="s", family="f", model="m", batch_class=0)


def test_ids_are_random_and_name_what_they_are_for() -> None:
    ids = {new_id("job") for _ in range(1000)}
    assert len(ids) == 1000
    assert all(name.startswith("job_") and len(name) == 28 for name in ids)


ERRORS = [
    error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, errors.ImagemillError)
]


@pytest.mark.parametrize("error", ERRORS)
def test_errors_cross_process_boundaries(error: type[errors.ImagemillError]) -> None:
    copy = pickle.loads(pickle.dumps(error("what happened")))
    assert (type(copy), copy.message, str(copy)) == (error, "what happened", "what happened")


def test_a_wrong_field_keeps_its_pointer_across_processes() -> None:
    error = pickle.loads(pickle.dumps(errors.InvalidRequest.at("/input/n", "too many")))
    assert error.errors == [{"pointer": "/input/n", "detail": "too many"}]
    assert error.message == "/input/n: too many"


def test_what_costs_no_attempt_is_tried_again() -> None:
    free = {error for error in ERRORS if not error.burns_attempt}
    assert free == {
        errors.StorageUnavailable,
        errors.LedgerUnavailable,
        errors.DiskFull,
        errors.HostUnavailable,
    }
    assert all(error.retryable for error in free)
