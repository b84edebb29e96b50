"""The embedded stack that the batches run on, and the pictures that they are about."""

import io
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imagemill import Client
from imagemill.batch_records import Batch
from PIL import Image

from bench.bulk.devices import PREDICTOR, SPANS
from deploy.handle import StackHandle
from shared.object_store import S3ObjectStore
from shared.parallel import parallel_map

INPUT = "bench/"
POLL_S = 0.25
SIDE = 256  # pixels
CAPTION = {"kind": "caption", "input": {"image": "$image"}}


class Service:
    """One stack; a model of its own, that no batch here uses, is what it starts with."""

    def __init__(self, stack: StackHandle) -> None:
        self.stack = stack
        self.settings = stack.settings
        self.store = S3ObjectStore(stack.settings)
        self.client = Client(stack.api_url)

    @contextmanager
    def worker(self, family: str, predictor: str, spans: Path) -> Iterator[int]:
        """A worker of the family that runs the predictor and notes when; its pid."""
        env = {PREDICTOR: predictor, SPANS: str(spans)}
        with self.stack.worker(family, "bench.bulk.worker", env) as process:
            until(lambda: self._serves(process.pid), "a worker", 120)
            yield process.pid

    def _serves(self, pid: int) -> bool:
        return any(worker.raw["pid"] == pid for worker in self.client.workers())

    def put_pictures(self, folder: str, count: int, bad: float = 0.0) -> None:
        """Put pictures below INPUT, every `1 / bad`-th of them broken."""

        def put(numbered: tuple[int, str]) -> None:
            number, key = numbered
            broken = bad and number % round(1 / bad) == 0
            data = b"no picture" if broken else picture(number)
            self.store.put(key, data, "image/jpeg")

        for _ in parallel_map(put, enumerate(keys(folder, count))):
            pass

    def captions(self, folder: str) -> Batch:
        """Caption the pictures below INPUT, from the request to the end."""
        url = f"s3://{self.settings.s3_bucket}/{INPUT}{folder}/"
        return self.ended(
            self.client.batches.create(source={"type": "s3_prefix", "url": url}, job=CAPTION)
        )

    def submit_lines(self, path: Path) -> Batch:
        """A batch over a file of request lines."""
        file = self.client.files.upload(path, purpose="batch")
        return self.client.batches.create(
            input_file_id=file.id, endpoint="/v1/jobs", completion_window="24h"
        )

    def ended(self, batch: Batch) -> Batch:
        """The batch at its end."""
        return until(lambda: (now := self.client.batches.get(batch)).done and now, "the end", 7200)

    def texts(self, batch: Batch) -> Mapping[str, str]:
        """The captions by the pictures' names."""
        lines = self.client.batches.results(batch)
        return {
            line.custom_id or "": line.raw["response"]["body"]["outputs"]["caption"]
            for line in lines
        }


@contextmanager
def service(folder: Path) -> Iterator[Service]:
    """A stack with its data in the folder."""
    env = {
        "IMAGEMILL_FAMILIES": "vqa",
        "IMAGEMILL_S3_INPUT_PREFIXES": f"s3://imagemill/{INPUT}",
        "IMAGEMILL_LOG_LEVEL": "warning",
    }
    with StackHandle(folder, env) as stack:
        yield Service(stack)


def keys(folder: str, count: int) -> list[str]:
    """Of the pictures in a folder below INPUT, in order."""
    return [f"{INPUT}{folder}/{number:06}.jpg" for number in range(count)]


def until(condition: Callable[[], Any], what: str, timeout_s: float) -> Any:
    """The condition's value once it is true. Raises TimeoutError."""
    limit = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > limit:
            raise TimeoutError(f"{what} after {timeout_s:g} s")
        time.sleep(POLL_S)
    return value


def picture(seed: int) -> bytes:
    """A JPEG of coloured clouds, of the size of a photograph's thumbnail."""
    noise = Image.frombytes("RGB", (8, 8), random.Random(seed).randbytes(8 * 8 * 3))
    data = io.BytesIO()
    noise.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(data, "JPEG", quality=90)
    return data.getvalue()
