"""`make run`: the main job from beginning to end, on a stack of its own.

Blends the two shipped pictures (the first is captioned, the caption translated, and the second
redrawn after it) and leaves the pictures and the job's record in out/.
"""

import json
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from imagemill import Client, ImagemillError, Job, JobFailed

from deploy.handle import StackHandle
from deploy.supervisor import StackError

EXAMPLES = Path(__file__).with_name("examples")
FIRST, SECOND = EXAMPLES / "red-circle.png", EXAMPLES / "blue-square.png"
LANGUAGE = "arb_Arab"
SEED = 7  # so that every run draws the picture that the README shows
OUT = Path("out")
TIMEOUT_S = 300.0


def show_progress(job: Job) -> None:
    """One line: how far the job is and what it does."""
    done = sum(step.status == "succeeded" for step in job.steps)
    step = job.steps[min(done, len(job.steps) - 1)].name if job.steps else ""
    words = [f"{job.progress.value:4.0%}", job.status, step, job.progress.message or ""]
    print("  " + "  ".join(word for word in words if word), flush=True)


def blend(url: str) -> Job:
    """Submit the job, wait for its end and save what it made. Raises JobFailed."""
    with Client(url) as client:
        accepted = client.jobs.create(
            kind="blend", first=FIRST, second=SECOND, translate_to=[LANGUAGE], seed=SEED
        )
        print(f"submitted {accepted.id}", flush=True)
        try:
            job = client.wait(accepted, on_progress=show_progress, timeout=TIMEOUT_S)
        except JobFailed as failure:
            save_record(failure.job)
            raise
        client.download(job, OUT)
        save_record(job)
        return job


def save_record(job: Job) -> None:
    """Write the job as the API tells it to out/job.json."""
    OUT.mkdir(exist_ok=True)
    text = json.dumps(dict(job.raw), indent=2, ensure_ascii=False)
    (OUT / "job.json").write_text(text + "\n", encoding="utf-8")


def main() -> None:
    # Ended by a signal, this process still stops the stack on its way out.
    signal.signal(signal.SIGTERM, _leave)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="imagemill-") as folder:
        print("starting the stack (a few seconds) …", flush=True)
        stack = StackHandle(Path(folder) / "data")
        try:
            with stack:
                print(f"ready {stack.api_url} after {time.monotonic() - started:.1f} s", flush=True)
                job = blend(stack.api_url)
        except (StackError, ImagemillError) as error:
            print(stack.log_tails(), file=sys.stderr)  # the folder is about to go
            sys.exit(f"failed: {error}")
        except KeyboardInterrupt:
            sys.exit(130)
    print(f"caption:      {job.outputs['caption']}")
    print(f"translation:  {job.outputs['translations'][LANGUAGE]}")
    for path in (*(OUT / picture["name"] for picture in job.outputs["images"]), OUT / "job.json"):
        print(path)


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
