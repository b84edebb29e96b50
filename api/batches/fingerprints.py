"""What tells that two items are the same work on the same bytes, whatever they are called."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from api.batches.planning import Planned
from api.services import Services
from shared.errors import NotFound
from shared.kind import kinds
from shared.parallel import parallel_map
from shared.references import Reference

AT_ONCE = 8  # objects that are asked for

SIZE = hashlib.sha256().digest_size


def fingerprints(services: Services, planned: Sequence[Planned]) -> dict[int, bytes]:
    """SHA-256 of kind, input and steps, by the items' numbers. Revisions are not among them: they
    are known only once a step ran.

    A picture counts as its bytes: an upload's id stands for them, an object's as its tag and size.
    An item whose object is not there has none, nor has a training.
    Raises StorageUnavailable.
    """
    known = {each.item.number: each for each in planned if not kinds()[each.kind].dataset_fields()}
    objects = {_object(text) for each in known.values() for text in _references(each).values()}
    wanted = sorted(objects - {""})
    tags = parallel_map(lambda url: _tag(services, url), wanted, AT_ONCE)
    identities = {"": "", **dict(zip(wanted, tags, strict=True))}
    return {
        number: _digest(each, identities)
        for number, each in known.items()
        if None not in {identities[_object(text)] for text in _references(each).values()}
    }


def _references(planned: Planned) -> dict[str, str]:
    given = planned.item.input
    fields = kinds()[planned.kind].image_fields()
    return {name: given[name] for name in fields if given[name] is not None}


def _object(text: str) -> str:
    """The object in S3 that the reference is, or a member of; empty for an upload."""
    reference = Reference.parse(text)
    return f"s3://{reference.bucket}/{reference.key}" if reference.bucket else ""


def _tag(services: Services, url: str) -> str | None:
    reference = Reference.parse(url)
    try:
        head = services.store.head(reference.key, reference.bucket)
    except NotFound:
        return None
    return f"{head.etag}+{head.bytes}"


def _digest(planned: Planned, identities: dict[str, Any]) -> bytes:
    pictures = {
        name: identities[url] + text.removeprefix(url)  # of a member: where it lies
        for name, text in _references(planned).items()
        if (url := _object(text))
    }
    work = [planned.kind, {**planned.item.input, **pictures}]
    work += [step.model_dump() for step in planned.steps]
    return hashlib.sha256(json.dumps(work, sort_keys=True).encode()).digest()
