"""Translator: text → text in another language, with an encoder-decoder or a chat model.

sample  {"text": str, "source": FLORES-200 code, "target": FLORES-200 code}
params  max_tokens (of a piece), and whatever `generate` takes (num_beams, …)
result  {"text": str}

A text of any length is cut into pieces that the model takes whole, and put together again. Any
encoder-decoder and any chat model of transformers will do, once it is known how it is told the
languages; the settings that say it stand in `dialects.py`, `chat.py` and `models.py` of
`workers/translation/`.
"""

from typing import Any

from jinja2 import TemplateError
from transformers.utils import logging

from shared.errors import ModelNotAvailable
from workers.predictor import Batch, Checkpoint, Predictor, StepMonitor
from workers.translation.calls import cut, groups, join, rows
from workers.translation.decoding import Call
from workers.translation.models import Loaded, load
from workers.translation.pieces import clean, lines_of


class Translator(Predictor):
    """Translates; one piece's translation never depends on another's."""

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self._models: dict[str, Loaded] = {}
        logging.set_verbosity_error()
        logging.disable_progress_bar()

    def load(self, checkpoint: Checkpoint) -> None:
        try:
            self._models[checkpoint.model] = load(checkpoint, self.device)
        except (OSError, ValueError, KeyError, TemplateError) as error:
            line = next(filter(None, str(error).splitlines()), type(error).__name__)
            raise ModelNotAvailable(f"{checkpoint.path} cannot be loaded: {line}") from error

    def unload(self, model: str) -> None:
        self._models.pop(model, None)

    def predict(self, batch: Batch, monitor: StepMonitor) -> list[dict[str, Any]]:
        loaded = self._models[batch.model]
        texts = [lines_of(clean(sample["text"])) for sample in batch.samples]
        pieces = [
            piece
            for number, (sample, lines) in enumerate(zip(batch.samples, texts, strict=True))
            for piece in cut(
                loaded.dialect, loaded.limit, number, lines, sample["source"], sample["target"]
            )
        ]
        usual = loaded.dialect.piece // 2
        calls = list(groups(pieces, batch.size, usual))
        answers: dict[tuple[int, int], dict[int, str]] = {}
        for number, places in enumerate(calls):

            def report(done: int, total: int, number: int = number) -> bool:
                message = f"part {number + 1} of {len(calls)}"
                return monitor.step(number * total + done, len(calls) * total, message)

            width, first = pieces[places[0]].key
            tokens = [pieces[place].tokens for place in places]
            most = loaded.most(width, batch.params)
            call = Call(tokens, rows(width, batch.size, usual), width, first, most, batch.params)
            written = loaded.engine.run(call, report)
            if written is None:
                return []
            for place, answer in zip(places, written, strict=True):
                piece = pieces[place]
                line = answers.setdefault((piece.sample, piece.line), {})
                line[place] = loaded.dialect.read(answer)
        return [
            {"text": join(number, lines, sample["target"], answers)}
            for number, (sample, lines) in enumerate(zip(batch.samples, texts, strict=True))
        ]


PREDICTOR = Translator
