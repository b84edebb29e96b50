"""What a client sees of a record, where the views' tests do not show it."""

import pytest

from api import present
from shared.contracts import JobRecord, JobStatus, Priority, Step, StepRecord, StepStatus

NOW = 1_700_000_000_000


def record(progress: float, *statuses: StepStatus) -> JobRecord:
    return JobRecord(
        id="job_1",
        tenant="default",
        kind="blend",
        version=1,
        status=JobStatus.RUNNING,
        priority=Priority.INTERACTIVE,
        input={},
        metadata={},
        created_at=NOW - 9000,
        retention_ms=9000,
        expires_at=NOW + 9000,
        steps=tuple(
            StepRecord(
                step=Step(name=f"s{i}", family="f", model="m"), status=status, started_at=NOW - 3000
            )
            for i, status in enumerate(statuses)
        ),
        current=next(i for i, s in enumerate(statuses) if s is not StepStatus.SUCCEEDED),
        progress=progress,
    )


DONE, RUNNING, WAITING = StepStatus.SUCCEEDED, StepStatus.RUNNING, StepStatus.WAITING


@pytest.mark.parametrize(
    ("job", "eta_s"),
    [
        (record(0.75, DONE, RUNNING), 1.0),
        (record(0.5, RUNNING), 3.0),
        (record(0.0, DONE, RUNNING), None),
        (record(0.75, RUNNING, WAITING), None),
        (record(0.0, DONE, StepStatus.QUEUED), None),
    ],
)
def test_the_time_left_is_told_once_the_last_step_shows_it(
    job: JobRecord, eta_s: float | None
) -> None:
    assert present.job(job, "http://127.0.0.1/", None, NOW).eta_s == eta_s
