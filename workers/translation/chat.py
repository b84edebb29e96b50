"""Translating with a chat model: what it is asked, and which part of its answer counts.

Any causal model with a chat template will do (Qwen, Llama, Gemma, …). Settings of a checkpoint:

instruction  what it is asked, with the fields of a prefix (`dialects.py`); the text follows after
             an empty line, or stands in place of `{text}`
languages    as for a prefix
template     {name: value} for the chat template, over `enable_thinking = false`
"""

from collections.abc import Mapping, Sequence
from typing import Any

from shared.errors import ModelNotAvailable, PredictionFailed
from workers.translation.dialects import TEXT, Dialect, filled

INSTRUCTION = "Translate from {source} to {target}. Answer with the translation only."
CHAT_PIECE = 256  # tokens, the instruction's among them: these models were trained on long texts


class Chat(Dialect):
    """An instruction in a chat template; the answer without its thinking."""

    piece = CHAT_PIECE

    def __init__(self, name: str, tokenizer: Any, settings: Mapping[str, Any]) -> None:
        super().__init__(name, tokenizer)
        self._instruction = settings.get("instruction", INSTRUCTION)
        self._languages = settings.get("languages", {})
        self._template = {"enable_thinking": False, **settings.get("template", {})}
        self._frames: dict[tuple[str, str], tuple[str, str]] = {}
        self._frame("eng_Latn", "fra_Latn")

    def encode(self, text: str, source: str, target: str) -> list[int]:
        before, after = self._frame(source, target)
        prompt = before + self.plain(text) + after
        return list(self.tokenizer(prompt, add_special_tokens=False).input_ids)

    def read(self, tokens: Sequence[int]) -> str:
        text = self.tokenizer.decode(tokens, skip_special_tokens=False)
        _, thought, answer = text.rpartition("</think>")
        if not thought and "<think>" in text:
            raise PredictionFailed(f"{self.name} was still thinking when it reached max_tokens")
        return self.special.sub("", answer).strip()

    def _frame(self, source: str, target: str) -> tuple[str, str]:
        """The prompt before and after the text."""
        if (source, target) not in self._frames:
            self.check(source, target)
            request = filled(self._instruction, source, target, self._languages)
            if TEXT not in request:
                request += f"\n\n{TEXT}"
            messages = [{"role": "user", "content": request}]
            prompt = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, **self._template
            )
            before, found, after = prompt.partition(TEXT)
            if not found:
                raise ModelNotAvailable(f"{self.name}: its chat template leaves the text out")
            self._frames[source, target] = before, after
        return self._frames[source, target]
