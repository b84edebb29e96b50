"""The main job's three families, each in a model process of its own, under batchers."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from tests.waiting import PATIENCE_S
from workers.batcher import MicroBatcher
from workers.model_process import ModelProcess
from workers.predictor import Checkpoint


@dataclass(frozen=True)
class Chain:
    """Caption → translation → picture, by one batcher a family; every model is called `m`."""

    captioner: MicroBatcher
    translator: MicroBatcher
    diffuser: MicroBatcher

    def caption(self, picture: Image.Image, size: int, **params: Any) -> str:
        samples = [{"image": picture, "prompt": None}]
        return str(self._run(self.captioner, params, size, samples)["text"])

    def translate(self, text: str, size: int, **params: Any) -> str:
        samples = [{"text": text, "source": "eng_Latn", "target": "arb_Arab"}]
        return str(self._run(self.translator, params, size, samples)["text"])

    def draw(self, prompt: str, seed: int, size: int, **params: Any) -> Image.Image:
        samples = [{"prompt": prompt, "negative_prompt": None, "seed": seed}]
        picture = self._run(self.diffuser, params, size, samples)["image"]
        assert isinstance(picture, Image.Image)
        return picture

    @staticmethod
    def _run(
        batcher: MicroBatcher,
        params: Mapping[str, Any],
        size: int,
        samples: list[dict[str, Any]],
    ) -> dict[str, Any]:
        result = batcher.submit("m", params, size, samples).result()
        assert result.batch_class == size  # it did not run out of memory
        assert result.revision == "random"
        return result.results[0]


@contextmanager
def chains(folders: Mapping[str, Path], device: str, number: int = 1) -> Iterator[list[Chain]]:
    """`number` chains on one device: as many model processes of every family at once."""
    with ExitStack() as stack:
        processes = []
        for _ in range(number):
            for family, folder in folders.items():
                process = ModelProcess(family, device, [Checkpoint("m", folder, "random")])
                stack.callback(process.close)
                processes.append(process)
        batchers = [MicroBatcher(process) for process in processes]
        for process, batcher in zip(processes, batchers, strict=True):
            stack.callback(batcher.close)
            assert process.wait_ready(PATIENCE_S)
        parts = len(folders)
        yield [
            Chain(**dict(zip(folders, batchers[start : start + parts], strict=True)))
            for start in range(0, len(batchers), parts)
        ]
