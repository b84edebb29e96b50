"""The jobs of a batch: what the ledger calls them, and how their items look as jobs themselves."""

import re
from typing import Any

from shared.contracts import (
    BatchPlace,
    ItemOutput,
    JobRecord,
    JobStatus,
    StepOutput,
    StepRecord,
    StepStatus,
)


def chunk_job_id(place: BatchPlace, index: int) -> str:
    """The ledger's id of the job with this index among those of an opening."""
    return f"job_{place.batch_id.removeprefix('batch_')}-c{place.opening}-{index}"


def is_chunk(job_id: str) -> bool:
    """Whether it is such an id; that of an item split from its chunk is none."""
    return re.fullmatch(r"job_[0-9a-f]+-c[0-9]+-[0-9]+", job_id) is not None


def item_job_id(batch_id: str, number: int) -> str:
    """The id under which its user sees a batch's item as a job."""
    return f"job_{batch_id.removeprefix('batch_')}-{number:08}"


def parse_item_job_id(job_id: str) -> tuple[str, int] | None:
    """(batch id, number of the item) of such an id, None of any other."""
    found = re.fullmatch(r"job_([0-9a-f]+)-([0-9]{8,})", job_id)
    return (f"batch_{found[1]}", int(found[2])) if found else None


def of_item(job: JobRecord, number: int) -> JobRecord:
    """An item of a batch's job, as the job of its own that its user sees.

    Raises KeyError where the item is not of this job.
    """
    place = job.batch
    if place is None or number not in {place.number, *(item.number for item in job.items)}:
        raise KeyError(number)
    own: dict[str, Any] = {
        "id": item_job_id(place.batch_id, number),
        "batch": place.model_copy(update={"number": number}),
    }
    if job.items:
        item = next(item for item in job.items if item.number == number)
        own |= {"input": item.input, "metadata": item.metadata, "items": ()}
        own |= {"progress": 0.0, "progress_message": "", "metrics": {}}
        own |= _course(job, number)
    return job.model_copy(update=own)


def _course(job: JobRecord, number: int) -> dict[str, Any]:
    """The item's own steps, and its end if it failed in one of them and its neighbours went on."""
    steps = [_step(record, number) for record in job.steps]
    for index, record in enumerate(job.steps):
        made = _made(record.output, number)
        if made and made.error:
            later = [_skipped(record) for record in job.steps[index + 1 :]]
            return {
                "status": JobStatus.FAILED,
                "error": made.error.model_copy(update={"step": record.step.name}),
                "current": index,
                "finished_at": record.finished_at,
                "steps": (*steps[: index + 1], *later),
            }
    return {"steps": tuple(steps)}


def _step(record: StepRecord, number: int) -> StepRecord:
    if record.output is None:
        return record
    made = _made(record.output, number)
    if made is None:
        return _skipped(record)
    if made.error:
        own: dict[str, Any] = {"status": StepStatus.FAILED, "output": None}
    else:
        values = {"outputs": made.outputs, "artifacts": made.artifacts, "run_ms": made.run_ms}
        own = {"output": record.output.model_copy(update=values | {"items": ()})}
    return record.model_copy(update={"attempts": made.attempts, **own})


def _skipped(record: StepRecord) -> StepRecord:
    """A step that the item did not reach."""
    return StepRecord(step=record.step, status=StepStatus.CANCELED)


def _made(output: StepOutput | None, number: int) -> ItemOutput | None:
    items = output.items if output else ()
    return next((item for item in items if item.number == number), None)
