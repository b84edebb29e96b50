"""Readers that are told in words what to write: chat models, and Florence-2."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers import Idefics3Processor, ProcessorMixin
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from shared.errors import ModelNotAvailable
from workers.vision.text import Reader

QUESTION = "{question}"
# SmolVLM's processor wants num2words, for videos. It lays a picture out as Idefics3's does.
PROCESSORS: Mapping[str, type[ProcessorMixin]] = {"smolvlm": Idefics3Processor}


@dataclass(frozen=True)
class Told(Reader):
    """`instruction` says what to write.

    One that holds `{question}` puts the sample's text there; otherwise what is written begins
    with the sample's text.
    """

    processor: Any
    instruction: str

    def told(self, text: str | None) -> str:
        return self.instruction.replace(QUESTION, self.plain(text))

    def beginning(self, text: str | None) -> str:
        return "" if QUESTION in self.instruction else self.plain(text)

    def plain(self, text: str | None) -> str:
        """A user's text without the marks that end a turn or stand for a picture."""
        text, before = text or "", None
        while text != before:  # what is left may be another mark
            text, before = self._marks.sub("", text), text
        return text.strip()

    @cached_property
    def _marks(self) -> re.Pattern[str]:
        tokens = self.tokenizer.added_tokens_decoder.values()
        return re.compile("|".join(re.escape(each.content) for each in tokens if each.special))


def processor_of(folder: Path, config: Any, tokenizer: Any, pictures: Any) -> Any:
    """The checkpoint's processor, for pictures and text alone.

    A processor that also takes videos or sound wants parts for these that need other packages.
    """
    kind: Any = PROCESSORS.get(config.model_type) or PROCESSOR_MAPPING.get(type(config), None)
    if kind is None:
        raise ModelNotAvailable(f"{folder}: {config.model_type} has no processor")

    class Pictures(kind):
        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if argument is None:
                return None
            return super().check_argument_for_proper_class(argument_name, argument)

    have = {"tokenizer": tokenizer, "image_processor": pictures}
    settings, _ = kind.get_processor_dict(folder)
    settings.setdefault("chat_template", tokenizer.chat_template)
    return Pictures.from_args_and_dict([have.get(name) for name in kind.get_attributes()], settings)
