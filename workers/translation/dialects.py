"""How a translation model is told what to translate, and how its answer is read.

Models differ in how a language is marked: by a token before the text and another one before the
translation (NLLB, M2M100, mBART-50), by words before the text (T5, MADLAD-400, Marian), or by an
instruction (`workers/translation/chat.py`). What follows from a checkpoint needs no setting; the
settings are

languages  {FLORES-200 code: the model's own name}, where it goes by none of the usual names
prefix     what stands before a text, such as `<2{target_iso}> ` or `translate {source} to
           {target}: `; `{source}` and `{target}` are English names, `…_iso` ISO 639 codes (two
           letters where there are two) or the model's own names, `…_code` FLORES-200 codes
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from shared.errors import ModelNotAvailable, PredictionFailed
from shared.languages import FLORES_200, english_name, hint, names
from workers.translation.pieces import PIECE

TEXT = "\ue000"  # stands for the text while a prompt is put together


class Dialect(ABC):
    """Text to tokens and back, for one model. `piece`: tokens that it translates well at once."""

    piece = PIECE

    def __init__(self, name: str, tokenizer: Any) -> None:
        self.name = name
        self.tokenizer = tokenizer
        special = {str(each) for each in tokenizer.added_tokens_decoder.values() if each.special}
        special |= set(tokenizer.all_special_tokens)
        longest_first = sorted(filter(None, special), reverse=True)
        self.special = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")

    @abstractmethod
    def encode(self, text: str, source: str, target: str) -> list[int]:
        """All tokens that the model reads. Raises PredictionFailed for an unknown language."""

    def first(self, target: str) -> int | None:
        """The token that every translation into this language begins with, if there is one."""
        return None

    def read(self, tokens: Sequence[int]) -> str:
        """The translation that the model wrote."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True)).strip()

    def plain(self, text: str) -> str:
        """The text with its special tokens (`</s>`) broken, so that they are read as text."""
        return self.special.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)

    def check(self, *codes: str) -> None:
        """Raises PredictionFailed where one is no FLORES-200 code."""
        for code in codes:
            if code not in FLORES_200:
                raise self.unknown(code, FLORES_200)

    def unknown(self, code: str, known: Iterable[str]) -> PredictionFailed:
        """What to raise for a language that is none of those known."""
        return PredictionFailed(f"{self.name} does not know the language {code}{hint(code, known)}")


class Marked(Dialect):
    """Tokens for the languages; those of source and target stand apart."""

    def __init__(self, name: str, tokenizer: Any, marks: Mapping[str, str]) -> None:
        super().__init__(name, tokenizer)
        self._marks = marks
        self._numbers = set(tokenizer.convert_tokens_to_ids(list(marks.values())))

    def encode(self, text: str, source: str, target: str) -> list[int]:
        self.tokenizer.src_lang = self._mark(source).strip("_")  # of M2M100: __ar__ → ar
        return list(self.tokenizer(self.plain(text)).input_ids)

    def first(self, target: str) -> int:
        return int(self.tokenizer.convert_tokens_to_ids(self._mark(target)))

    def read(self, tokens: Sequence[int]) -> str:  # not every tokenizer knows its marks as special
        return super().read([token for token in tokens if token not in self._numbers])

    def _mark(self, code: str) -> str:
        if code not in self._marks:
            raise self.unknown(code, self._marks)
        return self._marks[code]


class Prefixed(Dialect):
    """Words before the text; `marks` are the target's tokens, of a model that has some."""

    def __init__(
        self,
        name: str,
        tokenizer: Any,
        prefix: str,
        languages: Mapping[str, str],
        marks: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name, tokenizer)
        self._prefix = prefix
        self._languages = languages
        self._marks = marks
        filled(prefix, "eng_Latn", "fra_Latn", languages)

    def encode(self, text: str, source: str, target: str) -> list[int]:
        return list(self.tokenizer(self._before(source, target) + self.plain(text)).input_ids)

    def _before(self, source: str, target: str) -> str:
        if self._marks is not None:
            if target not in self._marks:
                raise self.unknown(target, self._marks)
            return f"{self._marks[target]} "
        if "{" in self._prefix:
            self.check(source, target)
            return filled(self._prefix, source, target, self._languages)
        return self._prefix


def seq2seq_dialect(
    name: str, kind: str | None, tokenizer: Any, settings: Mapping[str, Any]
) -> Dialect:
    """The dialect of an encoder-decoder; `kind` is its `model_type`, where that is known.

    Raises ModelNotAvailable where nothing tells how the model knows its languages.
    """
    languages = settings.get("languages", {})
    if "prefix" in settings:
        return Prefixed(name, tokenizer, settings["prefix"], languages)
    marks = language_marks(tokenizer, languages)
    if marks:
        before = next(iter(marks.values())).startswith((">>", "<2"))
        if before:
            return Prefixed(name, tokenizer, "", languages, marks)
        return Marked(name, tokenizer, marks)
    if type(tokenizer).__name__ == "MarianTokenizer":  # of one pair of languages
        return Prefixed(name, tokenizer, "", languages)
    if kind == "t5":
        return Prefixed(name, tokenizer, "translate {source} to {target}: ", languages)
    raise ModelNotAvailable(
        f"{name}: {kind or 'this model'} is not known to translate: its tokenizer marks no "
        "languages; where a text needs words before it, or none, say so by the setting prefix"
    )


def language_marks(tokenizer: Any, languages: Mapping[str, str]) -> dict[str, str]:
    """FLORES-200 code → the tokenizer's token for the language, of those that it has."""
    regional = {
        token[:2]: token
        for token in tokenizer.get_vocab()
        if re.fullmatch("[a-z]{2}_[A-Z]{2}", token)
    }
    if len(regional) < 20:  # mBART has 25 or 52; less than that are words of the vocabulary
        regional = {}

    def known(token: str) -> bool:
        number = tokenizer.convert_tokens_to_ids(token)
        return number is not None and number != tokenizer.unk_token_id

    def mark(code: str) -> str | None:
        own = languages.get(code)
        called = (own,) if own else names(code)
        tokens = [form for name in called for form in _forms(name, regional)]
        return next(filter(known, [*tokens, own or code]), None)

    found = {code: mark(code) for code in dict.fromkeys((*FLORES_200, *languages))}
    return {code: token for code, token in found.items() if token}


def _forms(name: str, regional: Mapping[str, str]) -> list[str]:
    """What a language's token may look like: M2M100, Marian, MADLAD-400, mBART."""
    return [f"__{name}__", f">>{name}<<", f"<2{name}>", *filter(None, [regional.get(name)])]


def filled(form: str, source: str, target: str, languages: Mapping[str, str]) -> str:
    """A prefix or an instruction for two languages, `{text}` left open.

    Raises ModelNotAvailable where it has other fields than those told above.
    """
    fields = {"text": TEXT}
    for role, code in (("source", source), ("target", target)):
        called = names(code)
        short = next((name for name in called if len(name) == 2), code.partition("_")[0])
        fields[role] = english_name(code)
        fields[f"{role}_iso"] = languages.get(code, short)
        fields[f"{role}_code"] = code
    try:
        return form.format(**fields)
    except (KeyError, IndexError, ValueError) as error:
        known = ", ".join(fields)
        raise ModelNotAvailable(f"{form!r}: {error} is no field; there are {known}") from None
