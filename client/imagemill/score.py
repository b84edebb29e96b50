"""How close captions come to the references of a COCO captions file: BLEU-4 and chrF.

Both are sacrebleu's, over the whole corpus and from 0 to 100 (BLEU: Papineni et al. 2002; chrF:
Popović 2015), in lower case; BLEU cuts words by the rules of mteval-v13a, with punctuation as
words of their own. COCO's own evaluation drops punctuation, so its BLEU-4 is another number.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import Any

from imagemill.errors import InvalidInput


@dataclass
class References:
    """Captions by picture, and the pictures by file name; None where a name has several."""

    captions: dict[int, list[str]] = field(default_factory=dict)
    names: dict[str, int | None] = field(default_factory=dict)

    def find(self, picture: int | str) -> int:
        """The id of a picture, given by it or by its file's name. Raises InvalidInput."""
        found: int | None = None
        if isinstance(picture, int):
            found = picture
        else:
            names = (picture, PurePosixPath(picture).name)
            name = next((name for name in names if name in self.names), None)
            if name is not None:
                found = self.names[name]
                if found is None:
                    raise InvalidInput(f"several pictures are named {name}: say which by image_id")
            elif picture.isdecimal() and len(picture) < 20:
                found = int(picture)
        if found not in self.captions:
            raise InvalidInput(f"the references know no picture {picture}")
        return found


@dataclass(frozen=True)
class Scores:
    """BLEU-4 and chrF from 0 to 100, what exactly they are in sacrebleu's signatures, and how
    many pictures they are made of."""

    bleu4: float
    chrf: float
    bleu4_signature: str
    chrf_signature: str
    pictures_scored: int
    predictions_without_references: int
    references_without_predictions: int


def read_references(file: Path) -> References:
    """Reads a captions file. Raises InvalidInput."""
    text = _read(file)
    found = References()
    try:
        data = json.loads(text)
        for picture in data.get("images", ()):
            found.captions[picture["id"]] = []
            name = picture["file_name"]
            for each in {name, PurePosixPath(name).name}:
                found.names[each] = None if each in found.names else picture["id"]
        for annotation in data["annotations"]:
            captions = found.captions.setdefault(annotation["image_id"], [])
            if caption := annotation["caption"].strip():
                captions.append(caption)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{file}: not JSON: {error}") from None
    except (KeyError, TypeError, AttributeError):
        raise InvalidInput(
            f"{file}: not a COCO captions file: images with id and file_name, and annotations "
            "with image_id and caption"
        ) from None
    return found


def read_predictions(file: Path, references: References) -> dict[int, str]:
    """Reads one caption a line, by the id of its picture. Raises InvalidInput.

    A line is `{"image_id": 42, "caption": …}`, the same with `file_name` or `image`, or one of a
    batch's output, whose `custom_id` is the picture; the caption of a job without one is empty.
    """
    found: dict[int, str] = {}
    for number, line in _lines(file):
        try:
            name, caption = _prediction(json.loads(line))
            picture = references.find(name)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"{file}, line {number}: not JSON: {error}") from None
        except InvalidInput as error:
            raise InvalidInput(f"{file}, line {number}: {error}") from None
        if picture in found:
            raise InvalidInput(f"{file}, line {number}: a second caption for {name}")
        found[picture] = caption
    return found


def score(predictions: Mapping[int, str], references: Mapping[int, Sequence[str]]) -> Scores:
    """Scores captions by picture, each against any number of references.

    An empty caption counts as a wrong one. Raises InvalidInput where there is nothing to score
    or sacrebleu is not installed.
    """
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError:
        raise InvalidInput("scoring needs sacrebleu: pip install 'imagemill[score]'") from None
    referenced = {picture for picture, captions in references.items() if captions}
    pictures = sorted(referenced & predictions.keys())
    if not pictures:
        raise InvalidInput("no picture has both a caption and a reference")
    captions = [predictions[picture] for picture in pictures]
    # sacrebleu wants the n-th reference of every picture together, None where there is none.
    ragged = list(zip_longest(*(references[picture] for picture in pictures)))
    bleu = BLEU(lowercase=True, force=True)  # captions that end in " ." are no mistake
    chrf = CHRF(lowercase=True)
    return Scores(
        bleu4=bleu.corpus_score(captions, ragged).score,
        chrf=chrf.corpus_score(captions, ragged).score,
        bleu4_signature=str(bleu.get_signature()),
        chrf_signature=str(chrf.get_signature()),
        pictures_scored=len(pictures),
        predictions_without_references=len(predictions.keys() - referenced),
        references_without_predictions=len(referenced - predictions.keys()),
    )


def _prediction(line: Any) -> tuple[int | str, str]:
    """A line's picture and caption. Raises InvalidInput."""
    match line:
        case {"image_id": int() | str() as picture, "caption": str(caption)}:
            return picture, caption
        case {"file_name": str(picture), "caption": str(caption)}:
            return picture, caption
        case {"image": str(picture), "caption": str(caption)}:
            return picture, caption
        case {
            "custom_id": str(picture),
            "response": {"body": {"outputs": {"caption": str(caption)}}},
        }:
            return picture, caption
        case {"custom_id": str(picture), "response": _}:
            return picture, ""
    raise InvalidInput(
        "expected a caption with image_id, file_name or image, or a line of a batch's output"
    )


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    # Not splitlines: it also cuts at characters that a JSON string may hold as they are.
    for number, line in enumerate(_read(file).split("\n"), start=1):
        if line.strip():
            yield number, line


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidInput(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file}: not UTF-8 at byte {error.start}") from None
