"""Some items of a batch, evenly spread over it, with small copies of their pictures."""

import base64
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any

from api.batches.planning import Refused, look
from api.batches.shards import Line, Shards, source_lines
from api.services import Services
from api.uploads import DECODING, given_picture
from shared.batches import BatchRecord
from shared.contents import Contents
from shared.contracts import CHUNK
from shared.errors import ImagemillError
from shared.images import decode
from shared.kind import Kind
from shared.languages import direction, english_name, web_tag
from shared.layout import picture_place

SIDE = 240  # pixels
PIXELS = 50_000_000  # a larger picture is not decoded for a small copy
LONGEST = 600  # characters of one text
READ = "text", "prompt", "question"  # fields of an input that somebody wrote
WRITTEN = "caption", "answer", "text", "prompt"  # outputs in no stated language


@dataclass(frozen=True)
class Text:
    """Something that was read or written, with HTML's `lang` and `dir`."""

    label: str
    text: str
    lang: str | None = None
    dir: str = "auto"

    @classmethod
    def of(cls, label: str, text: str, flores: str | None) -> "Text":
        """The language may be unknown."""
        if len(text) > LONGEST:
            text = text[:LONGEST] + "…"
        return cls(label, text, web_tag(flores), direction(flores)) if flores else cls(label, text)


@dataclass(frozen=True)
class Picture:
    """A small copy as a `data:` URI; empty where there is none to be had."""

    label: str
    uri: str


@dataclass(frozen=True)
class Sample:
    """An item. `steps` as GET /v1/jobs/{id} shows them, none before they ran."""

    custom_id: str
    status: str
    error: Mapping[str, Any] | None = None
    pictures: list[Picture] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    steps: list[Mapping[str, Any]] = field(default_factory=list)


def samples(services: Services, batch: BatchRecord, count: int) -> Iterator[Sample]:
    """At most so many. Raises StorageUnavailable, LedgerUnavailable, NotFound where the batch
    was erased."""
    total = batch.counts.total or 0
    wanted = [n * total // min(count, total) for n in range(min(count, total))]
    for chunk, numbers in groupby(wanted, key=lambda number: number // CHUNK):
        lines = {line["number"]: line for line in source_lines(services.store, batch.id, chunk)}
        shards = Shards.read(services.store, batch.id, chunk)
        known = shards.results | shards.errors
        for number in numbers:
            yield _sample(services, batch, lines[number], known.get(number))


def _sample(services: Services, batch: BatchRecord, line: Line, ended: Line | None) -> Sample:
    [asked] = look(services, batch, [line])
    response, error = (ended["response"], ended["error"]) if ended else (None, None)
    body = response["body"] if response else {"outputs": {}, "steps": []}
    pictures: list[Picture] = []
    given = None
    if isinstance(asked, Refused):
        error = error or asked.error.model_dump()
    else:
        given = asked.given
        if response:  # before it ran nobody has looked whether its references may be read
            pictures += _inputs(services, asked.kind, given)
    pictures += _outputs(services, batch, line["custom_id"], body["outputs"].get("images", []))
    return Sample(
        custom_id=line["custom_id"] or f"line {line.get('line')}",
        status="waiting" if not ended else "failed" if error else "completed",
        error=error,
        pictures=pictures,
        texts=list(_texts(given, body["outputs"])),
        steps=body["steps"],
    )


def _texts(given: Any, outputs: Mapping[str, Any]) -> Iterator[Text]:
    """What was asked, what came of it, and its translations."""
    for name in READ:
        if isinstance(text := getattr(given, name, None), str):
            yield Text.of(name, text, getattr(given, "source", None) if name == "text" else None)
    for name in WRITTEN:
        if outputs.get(name):
            yield Text.of(name, outputs[name], None)
    translation = outputs.get("translation") or []
    for text in [translation] if isinstance(translation, str) else translation:
        yield Text.of("translation", text, getattr(given, "target", None))
    for language, text in outputs.get("translations", {}).items():
        yield Text.of(english_name(language), text, language)


def _inputs(services: Services, kind: Kind[Any], given: Any) -> Iterator[Picture]:
    contents = Contents(services.ledger, services.store, services.settings.max_upload_mb)
    for name in kind.image_fields():
        if text := getattr(given, name):
            yield Picture(name, _small(partial(given_picture, contents, text)))


def _outputs(
    services: Services, batch: BatchRecord, custom_id: str, images: list[dict[str, Any]]
) -> Iterator[Picture]:
    limit = services.settings.max_upload_mb * 2**20
    for image in images:
        bucket, key = picture_place(batch, custom_id, image["name"])
        read = partial(services.store.read, bucket or services.settings.s3_bucket, key, limit)
        yield Picture(image["name"], _small(read))


def _small(read: Callable[[], bytes]) -> str:
    """Pictures may be gone, or be none at all: that is no reason to show nothing else."""
    buffer = io.BytesIO()
    try:
        data = read()
        with DECODING:
            decode(data, PIXELS, longest=SIDE).save(buffer, "JPEG", quality=80)
    except (ImagemillError, ValueError):
        return ""
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
