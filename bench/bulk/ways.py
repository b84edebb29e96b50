"""Captions of the same pictures, by the service and by a plain loop."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.bulk.devices import busy_s
from bench.bulk.plain import HOWS, How, loop
from bench.bulk.service import Service, keys
from bench.paired import Seconds
from shared.contracts import Priority
from shared.models import ModelChoice, Registry
from shared.stages import CaptionStage
from workers.model_files import checkpoint, resolve_model
from workers.predictor import load_predictor

BAD = "bad"  # the folder in which every hundredth file is no picture
TRIED = 400  # pictures, in each of the plain ways, to find the fastest
REST_S = 2.0  # for what a service does once a batch has ended

Texts = Mapping[str, str]  # by the pictures' names


class Ways:
    """One predictor: in the service's worker, which notes its `spans`, and in a loop here.

    All captions of a picture must be equal: else `ours` and `plain` raise AssertionError.
    `busy` has the model's share of every batch's time.
    """

    def __init__(
        self, service: Service, predictor: str, spans: Path, folder: str, pictures: int
    ) -> None:
        """The pictures in the folder."""
        settings = service.settings
        registry = Registry.load(settings.models_dir)
        self.busy: list[float] = []
        self._service = service
        self._spans = spans
        self._folder = folder
        self.keys = keys(folder, pictures)
        self._seen: dict[str, str] = {}
        self._step = CaptionStage("").plan(ModelChoice(registry, "tiny", {}, Priority.BULK))
        self._predictor = load_predictor(predictor, "cpu")
        model = resolve_model(registry, self._step.family, self._step.model)
        self._predictor.load(checkpoint(model, settings.models_dir, registry))
        some = self.keys[:TRIED]
        self.how = min(HOWS, key=lambda how: self._loop(some, how))

    def ours(self) -> Seconds:
        return self._batch(self._folder)

    def ours_with_bad(self) -> Seconds:
        """As `ours`, with pictures that are none."""
        return self._batch(BAD)

    def plain(self) -> Seconds:
        return {"whole": self._loop(self.keys, self.how)}

    def _batch(self, folder: str) -> Seconds:
        began = time.monotonic()
        batch = self._service.captions(folder)
        ended = time.monotonic()
        assert batch.counts.ended == len(self.keys), batch
        self.busy.append(busy_s(self._spans, began, ended) / (ended - began))
        self._compare(self._service.texts(batch))
        time.sleep(REST_S)
        return {"whole": ended - began}

    def _loop(self, keys: Sequence[str], how: How) -> float:
        began = time.monotonic()
        texts = loop(self._service.settings, keys, self._predictor, self._step, how)
        seconds = time.monotonic() - began
        self._compare({key.rpartition("/")[2]: text for key, text in texts.items()})
        return seconds

    def _compare(self, texts: Texts) -> None:
        for name, text in texts.items():
            assert self._seen.setdefault(name, text) == text, f"{name}: the captions differ"
