"""Where things lie in the bucket."""

from typing import Literal

from shared.batches import BatchRecord
from shared.contracts import JobRecord

JOBS = "jobs/"
FILES = "files/"
BATCHES = "batches/"
MODELS = "models/"  # what training jobs made: nobody collects it
PREVIEW = "preview.jpg"  # in an attempt's folder: the newest intermediate picture


def job_folder(job_id: str) -> str:
    """Everything that a job leaves."""
    return f"{JOBS}{job_id}/"


def manifest_key(job_id: str) -> str:
    return f"{job_folder(job_id)}manifest.json"


def step_folder(job_id: str, step: int, name: str) -> str:
    """Everything that the executions of a step leave."""
    return f"{job_folder(job_id)}{step}-{name}/"


def record_key(folder: str) -> str:
    """Of everything in a job's or batch's folder, that from which a rebuild would restore it."""
    return f"{folder}{'batch' if folder.startswith(BATCHES) else 'manifest'}.json"


def attempt_folder(job_id: str, step: int, name: str, fence: int) -> str:
    """What one execution of a step makes; by its fence, so that a late one overwrites nothing."""
    return f"{step_folder(job_id, step, name)}a{fence}/"


def savepoint_folder(job_id: str, step: int, name: str) -> str:
    """What the next execution of a step can go on from."""
    return f"{step_folder(job_id, step, name)}savepoint/"


def preview_key(job: JobRecord) -> str:
    """The preview of whoever holds the lease of the job's step."""
    return f"{_live_folder(job)}{PREVIEW}"


def in_use(job: JobRecord, key: str) -> bool:
    """Whether the running step needs the object: whoever holds its lease made it, and may yet
    commit it, or whoever comes next goes on from it. Of a chunk that may be whatever an earlier
    execution made: its ended items stay."""
    place = job.id, job.current, _current_name(job)
    folders = (step_folder(*place),) if job.items else (_live_folder(job), savepoint_folder(*place))
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


def batch_folder(batch_id: str) -> str:
    """Everything of one batch, but for pictures that its user wants elsewhere."""
    return f"{BATCHES}{batch_id}/"


def batch_manifest_key(batch_id: str) -> str:
    return f"{batch_folder(batch_id)}batch.json"


def chunks_folder(batch_id: str) -> str:
    return f"{batch_folder(batch_id)}chunks/"


def chunk_key(batch_id: str, chunk: int) -> str:
    """The lines of a chunk, as the source had them."""
    return f"{chunks_folder(batch_id)}{chunk:08}.jsonl"


def results_folder(batch_id: str) -> str:
    return f"{batch_folder(batch_id)}results/"


def results_key(batch_id: str, chunk: int, opening: int) -> str:
    """What became of a chunk's good items, by the opening under which it was closed; there, if
    empty, of every closing."""
    return f"{results_folder(batch_id)}{_shard(chunk, opening)}"


def shard_place(key: str) -> tuple[int, int]:
    """Chunk and opening of a results or errors key."""
    chunk, opening = key.rpartition("/")[2].removesuffix(".jsonl").split("-")
    return int(chunk), int(opening)


def errors_folder(batch_id: str) -> str:
    return f"{batch_folder(batch_id)}errors/"


def errors_key(batch_id: str, chunk: int, opening: int) -> str:
    """What became of a chunk's bad items; absent where there are none."""
    return f"{errors_folder(batch_id)}{_shard(chunk, opening)}"


def refused_key(batch_id: str, chunk: int, opening: int) -> str:
    """The errors of items that could not be run, as they were found when the chunk was opened."""
    return f"{batch_folder(batch_id)}refused/{_shard(chunk, opening)}"


def _shard(chunk: int, opening: int) -> str:
    return f"{chunk:08}-{opening:013}.jsonl"


def reuse_key(batch_id: str, chunk: int) -> str:
    """Fingerprints of a chunk's items, and the lines that it took over from earlier batches."""
    return f"{batch_folder(batch_id)}reuse/{chunk:08}.json"


def fingerprints_key(batch_id: str) -> str:
    """The fingerprints of all results, each with its item's number."""
    return f"{batch_folder(batch_id)}fingerprints"


def joined_key(batch_id: str, which: Literal["results", "errors"]) -> str:
    """The lines of all chunks, in input order."""
    return f"{batch_folder(batch_id)}{which}.jsonl"


def batch_images_folder(batch_id: str) -> str:
    """The items' pictures, where the batch names no other place; below it by `custom_id`."""
    return f"{batch_folder(batch_id)}images/"


def picture_place(batch: BatchRecord, custom_id: str, name: str) -> tuple[str, str]:
    """Bucket (empty: the service's own) and key of something that an item made, by `name`."""
    path = "/".join(_segment(each) for each in custom_id.split("/"))
    return _output_place(batch, batch_images_folder(batch.id), f"{path}/{name}")


def output_place(batch: BatchRecord, name: str) -> tuple[str, str]:
    """Bucket (empty: the service's own) and key of a file over all items, by `name`."""
    return _output_place(batch, batch_folder(batch.id), name)


def shard_index_key(batch_id: str, number: int) -> str:
    """What a tar shard of the results holds; there once the shard is whole."""
    return f"{batch_folder(batch_id)}shards/{number:06}.json"


def _output_place(batch: BatchRecord, own_folder: str, path: str) -> tuple[str, str]:
    output = batch.request.get("output") or ""
    bucket, _, folder = output.removeprefix("s3://").partition("/")
    return bucket, f"{folder if output else own_folder}{path}"


def _segment(text: str) -> str:
    """A segment of a key that no server takes for a way up, or leaves out."""
    return f"%{text}" if text.lstrip("%") in ("", ".", "..") else text
