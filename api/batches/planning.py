"""From the lines of a chunk to items that can be run."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from pydantic_core import to_json

from api import uploads
from api.batches import openai_images, template
from api.planning import Checked, Planner
from api.services import TENANT, Services
from shared.batches import BatchRecord
from shared.contracts import FileRecord, Item, JobError, Priority, Step
from shared.errors import ImagemillError, InvalidRequest, LedgerUnavailable, StorageUnavailable
from shared.kind import kinds
from shared.layout import batch_folder
from shared.references import Reference

SEEDS = 2**32

T = TypeVar("T")

ManifestLine = Mapping[str, Any]


@dataclass(frozen=True)
class Planned:
    """An item that can be run. Those of equal `work` can share a job, unless they are `single`:
    long, or with savepoints of their own."""

    item: Item
    kind: str
    priority: Priority
    steps: tuple[Step, ...]
    single: bool

    @cached_property
    def work(self) -> tuple[str, str]:
        """Equal for items that run in the same way."""
        return signature(self.kind, self.steps), self.priority


@dataclass(frozen=True)
class Refused:
    """An item that cannot be run, and why."""

    line: ManifestLine
    error: JobError


def signature(kind: str, steps: Iterable[Step]) -> str:
    """Stands for a kind with its models and parameters: work that takes equally long."""
    plan = [kind, *(step.model_dump() for step in steps)]
    return hashlib.sha256(to_json(plan)).hexdigest()[:32]


def plan(
    services: Services, batch: BatchRecord, lines: Sequence[ManifestLine]
) -> list[Planned | Refused]:
    """What becomes of each line, in their order; pictures that stand in it are stored.

    Of an item that leaves its seed open it is the same every time. Raises StorageUnavailable,
    LedgerUnavailable.
    """
    return _ItemPlanner(services, batch).plan(lines)


def look(
    services: Services, batch: BatchRecord, lines: Sequence[ManifestLine]
) -> list[Checked | Refused]:
    """What each line asks for, in their order, as far as that can be said without looking at its
    pictures. Raises StorageUnavailable, LedgerUnavailable."""
    planner = _ItemPlanner(services, batch)
    return [_tried(planner.check, line) for line in lines]


class _ItemPlanner:
    def __init__(self, services: Services, batch: BatchRecord) -> None:
        self._services = services
        self._batch = batch
        self._planner = Planner(services)
        self._uploads: dict[str, FileRecord] = {}  # those that are there

    def plan(self, lines: Sequence[ManifestLine]) -> list[Planned | Refused]:
        checked = [_tried(self.check, line) for line in lines]
        self._look_up(each for each in checked if isinstance(each, Checked))
        return [
            _tried(self._planned, line, each) if isinstance(each, Checked) else each
            for line, each in zip(lines, checked, strict=True)
        ]

    def check(self, line: ManifestLine) -> Checked:
        document = self._document(line)
        if not isinstance(document, dict):
            raise InvalidRequest("the body is no JSON object")
        if "deadline_s" in document:
            raise InvalidRequest.at("/deadline_s", "a batch has a completion_window instead")
        seeded = self._seeded(document, line)
        return self._planner.check({"priority": Priority.BULK, **seeded})

    def _document(self, line: ManifestLine) -> Any:
        if "variables" in line:
            return template.fill(self._batch.request["job"], line["variables"])
        if self._batch.request["endpoint"] == openai_images.ENDPOINT:
            return openai_images.job_document(line["body"])
        return line["body"]

    def _seeded(self, document: dict[str, Any], line: ManifestLine) -> dict[str, Any]:
        """The document with a seed, where its kind takes one and it has none.

        Where results are to be used again it is the same in every batch, by the item's name.
        """
        name, given = document.get("kind"), document.get("input")
        kind = kinds().get(name) if isinstance(name, str) else None
        if kind is None or "seed" not in kind.Input.model_fields or not isinstance(given, dict):
            return document
        if given.get("seed") is not None:
            return document
        reuse = self._batch.request.get("reuse")
        name = line["custom_id"] if reuse else f"{self._batch.id}|{line['number']}"
        digest = hashlib.sha256(name.encode()).digest()
        seed = int.from_bytes(digest[:8], "big") % SEEDS
        return {**document, "input": {**given, "seed": seed}}

    def _look_up(self, checked: Iterable[Checked]) -> None:
        named = {ref for each in checked for ref in each.references().values()}
        ids = {ref.partition("#")[0] for ref in named if ref.startswith("file_")}
        self._uploads = self._services.ledger.files(TENANT, sorted(ids))

    def _planned(self, line: ManifestLine, checked: Checked) -> Planned:
        kind = checked.kind
        members = "variables" in line
        files = {
            name: uploads.resolve_dataset(self._services, reference, f"/input/{name}")
            if name in kind.dataset_fields()
            else self._picture(reference, f"/input/{name}", members)
            for name, reference in checked.references().items()
        }
        sizes = {
            name: (upload.width, upload.height)
            for name, reference in files.items()
            if (upload := self._uploads.get(reference)) and upload.width and upload.height
        }
        checked.check_sizes(sizes, self._services.settings.max_pixels)
        given, steps = checked.planned(files)
        return Planned(
            item=Item(
                number=line["number"],
                custom_id=line["custom_id"],
                input=given,
                metadata=checked.request.metadata,
            ),
            kind=kind.name,
            priority=checked.request.priority,
            steps=steps,
            single=any(stage.resumes for stage in kind.stages(checked.given))
            or any(self._long(step) for step in steps),
        )

    def _long(self, step: Step) -> bool:
        model = self._services.registry.get(step.family, step.model)
        return model is not None and model.long

    def _picture(self, text: str, pointer: str, members: bool) -> str:
        """The reference that a worker can read. Raises InvalidRequest, InvalidImageField."""
        if not text.startswith(("file_", "s3://")):
            found = uploads.resolve(self._services, text, pointer)
            return uploads.kept(self._services, found)
        try:
            reference = Reference.parse(text)
        except InvalidRequest as error:
            raise InvalidRequest.at(pointer, error.message) from None
        if reference.member and not members:
            raise InvalidRequest.at(pointer, "not an image reference")
        if reference.file_id:
            self._check_file(reference, pointer)
        elif not text.startswith(self._own_folder):
            uploads.place(self._services, text, pointer)
        return text

    @property
    def _own_folder(self) -> str:
        """Where indexing repacks an archive that cannot be read in ranges."""
        return f"s3://{self._services.settings.s3_bucket}/{batch_folder(self._batch.id)}"

    def _check_file(self, reference: Reference, pointer: str) -> None:
        found = self._uploads.get(reference.file_id)
        if found is None and reference.file_id in self._batch.files:
            return  # deleted since, and kept for this batch
        wanted = uploads.BATCH if reference.member else uploads.IMAGE
        if found is None:
            raise InvalidRequest.at(pointer, "no such file")
        if found.purpose != wanted:
            detail = f"the file was uploaded with the purpose {found.purpose}, not {wanted}"
            raise InvalidRequest.at(pointer, detail)


def _tried(do: Callable[..., T], line: ManifestLine, *rest: Any) -> T | Refused:
    """What is made of the line, or why nothing can be. Raises StorageUnavailable,
    LedgerUnavailable."""
    if "error" in line:
        return Refused(line, JobError(**line["error"]))
    try:
        return do(line, *rest)
    except (LedgerUnavailable, StorageUnavailable):
        raise
    except ImagemillError as error:
        return Refused(line, JobError(code=error.code, message=error.message))
