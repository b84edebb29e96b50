"""What is waited for, and how long."""

from shared.errors import DiskFull, StorageUnavailable, UnexpectedError
from workers.patience import retry_delay_s


def test_the_pause_before_a_retry_grows_with_the_attempts_that_count() -> None:
    assert [retry_delay_s(UnexpectedError(""), attempt) for attempt in (1, 2, 3)] == [1, 2, 4]
    assert retry_delay_s(DiskFull(""), 1) == retry_delay_s(StorageUnavailable(""), 1) == 5
