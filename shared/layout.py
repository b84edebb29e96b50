"""Where things lie in the bucket."""

from shared.contracts import JobRecord

JOBS = "jobs/"
FILES = "files/"


def job_folder(job_id: str) -> str:
    """Everything that a job leaves."""
    return f"{JOBS}{job_id}/"


def manifest_key(job_id: str) -> str:
    return f"{job_folder(job_id)}manifest.json"


def attempt_folder(job_id: str, step: int, name: str, fence: int) -> str:
    """What one execution of a step makes; by its fence, so that a late one overwrites nothing."""
    return f"{job_folder(job_id)}{step}-{name}/a{fence}/"


def live_folder(job: JobRecord) -> str:
    """What whoever holds the lease of the job's step makes, and may yet commit."""
    return attempt_folder(job.id, job.current, job.steps[job.current].step.name, job.fence)


def file_folder(tenant: str, file_id: str) -> str:
    """The uploads of one file; every upload has a key of its own."""
    return f"{FILES}{tenant}/{file_id}/"
