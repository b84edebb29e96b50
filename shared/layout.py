"""Where things lie in the bucket."""

from shared.contracts import JobRecord

JOBS = "jobs/"
FILES = "files/"
MODELS = "models/"  # what training jobs made: nobody collects it
PREVIEW = "preview.jpg"  # in an attempt's folder: the newest intermediate picture


def job_folder(job_id: str) -> str:
    """Everything that a job leaves."""
    return f"{JOBS}{job_id}/"


def manifest_key(job_id: str) -> str:
    return f"{job_folder(job_id)}manifest.json"


def attempt_folder(job_id: str, step: int, name: str, fence: int) -> str:
    """What one execution of a step makes; by its fence, so that a late one overwrites nothing."""
    return f"{job_folder(job_id)}{step}-{name}/a{fence}/"


def savepoint_folder(job_id: str, step: int, name: str) -> str:
    """What the next execution of a step can go on from."""
    return f"{job_folder(job_id)}{step}-{name}/savepoint/"


def preview_key(job: JobRecord) -> str:
    """The preview of whoever holds the lease of the job's step."""
    return f"{_live_folder(job)}{PREVIEW}"


def in_use(job: JobRecord, key: str) -> bool:
    """Whether the running step needs the object: whoever holds its lease made it, and may yet
    commit it, or whoever comes next goes on from it."""
    folders = _live_folder(job), savepoint_folder(job.id, job.current, _current_name(job))
    return not job.status.terminal and key.startswith(folders)


def _live_folder(job: JobRecord) -> str:
    return attempt_folder(job.id, job.current, _current_name(job), job.fence)


def _current_name(job: JobRecord) -> str:
    return job.steps[job.current].step.name


def trained_folder(family: str, name: str) -> str:
    """Everything of one trained model."""
    return f"{MODELS}{family}/{name}/"


def file_folder(tenant: str, file_id: str) -> str:
    """The uploads of one file; every upload has a key of its own."""
    return f"{FILES}{tenant}/{file_id}/"
