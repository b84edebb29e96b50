"""Running a translation model: tokens in, tokens out, by torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from workers.generation import StopWhenCanceled

Report = Callable[[int, int], bool]  # done, total → False: stop


@dataclass(frozen=True)
class Call:
    """Texts, as tokens, that a model computes at once, `size` of them with `width` tokens each.

    `first` is the token that every translation begins with, `most` bounds a translation's length,
    `params` are the step's.
    """

    texts: Sequence[Sequence[int]]
    size: int
    width: int
    first: int | None
    most: int
    params: Mapping[str, Any]

    def padded(self, pad: int, left: bool = False) -> tuple[list[list[int]], list[list[int]]]:
        """(tokens, mask), both of `size` rows of `width`; missing rows are the last one again."""
        missing = self.size - len(self.texts)
        tokens, mask = [], []
        for text in [*self.texts, *[self.texts[-1]] * missing]:
            empty = self.width - len(text)
            tokens.append([pad] * empty + [*text] if left else [*text] + [pad] * empty)
            mask.append([0] * empty + [1] * len(text) if left else [1] * len(text) + [0] * empty)
        return tokens, mask


class Engine(Protocol):
    """Whatever runs a model."""

    def run(self, call: Call, report: Report) -> list[list[int]] | None:
        """One translation per text, as tokens; None when `report` said stop."""


class TorchEngine:
    """A model of transformers; `causal`: one that continues its input, a chat model.

    Always computes the whole shape of a call, so that no text's translation depends on the
    others. Writes the most probable text, even where the checkpoint's settings say to draw lots.
    """

    def __init__(self, model: Any, pad: int, causal: bool) -> None:
        self.model = model
        self._pad = pad
        self._causal = causal

    @torch.inference_mode()
    def run(self, call: Call, report: Report) -> list[list[int]] | None:
        tokens, mask = call.padded(self._pad, left=self._causal)
        read = call.width if self._causal else 0  # tokens of the output that are the input
        stop = StopWhenCanceled(report, call.most)
        first = {} if call.first is None else {"forced_bos_token_id": call.first}
        params = {name: value for name, value in call.params.items() if name != "max_tokens"}
        options = {"do_sample": False, "pad_token_id": self._pad, **first, **params}
        device = self.model.device
        written = self.model.generate(
            input_ids=torch.tensor(tokens, device=device),  # (size, width)
            attention_mask=torch.tensor(mask, device=device),
            max_new_tokens=call.most,
            stopping_criteria=[stop],
            **options,
        )
        if stop.canceled:
            return None
        return [row[read:] for row in written[: len(call.texts)].tolist()]
