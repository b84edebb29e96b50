"""The plain way: a DataLoader over pictures in S3, a model, results to S3."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import boto3
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from bench.composite import threads
from shared.contracts import CHUNK, Step
from shared.settings import Settings
from workers.predictor import Batch, Predictor, Unwatched

OUTPUT = "bench/plain/"

Sample = dict[str, Any]


@dataclass(frozen=True)
class How:
    """What may make a loop faster or slower."""

    workers: int
    threads: int  # of torch, for the model


HOWS = [How(workers, threads) for workers in (0, 1, 2) for threads in (1, 2)]


class Pictures(Dataset[Sample]):
    """The pictures under some keys."""

    def __init__(self, settings: Settings, keys: Sequence[str]) -> None:
        self._settings = settings
        self._keys = keys
        self._s3: Any = None  # a connection of each process's own

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> Sample:
        self._s3 = self._s3 or connect(self._settings)
        found = self._s3.get_object(Bucket=self._settings.s3_bucket, Key=self._keys[index])
        picture = Image.open(io.BytesIO(found["Body"].read())).convert("RGB")
        return {"key": self._keys[index], "image": picture, "prompt": None}


def connect(settings: Settings) -> Any:
    """boto3's client, as its manual has it."""
    return boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key,
        aws_secret_access_key=settings.s3_secret_key,
    )


def loop(
    settings: Settings,
    keys: Sequence[str],
    predictor: Predictor,
    step: Step,
    how: How,
) -> Mapping[str, str]:
    """Run the step's model over all pictures; its texts by their keys, which also go to S3."""
    s3, texts, lines = connect(settings), dict[str, str](), list[str]()
    loader = DataLoader(
        Pictures(settings, keys), step.batch_class, num_workers=how.workers, collate_fn=list
    )
    with threads(how.threads):
        for samples in loader:
            batch = Batch(step.model, step.params, step.batch_class, samples)
            for sample, result in zip(samples, predictor.predict(batch, Unwatched()), strict=True):
                assert isinstance(result, dict), result
                texts[sample["key"]] = result["text"]
                lines.append(json.dumps({"key": sample["key"], "caption": result["text"]}))
            if len(lines) >= CHUNK or len(texts) == len(keys):
                key = f"{OUTPUT}{len(texts):08}.jsonl"
                s3.put_object(Bucket=settings.s3_bucket, Key=key, Body="\n".join(lines).encode())
                lines.clear()
    return texts
