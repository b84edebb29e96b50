"""What a job kind is, and how kinds are found.

A kind is one file in `shared/kinds/` that ends in `KIND = …`: the model of its input, and the
stages that a request goes through. A *stage* becomes one step of the job: it is planned when
the job is submitted, and on the worker it is cut into samples and its results made into
outputs. Kinds and stages are pure: they read no clock, no network and no model.
"""

import importlib
import pkgutil
import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from shared.contracts import Produced, Sample, Step
from shared.languages import FLORES_200, hint
from shared.models import ModelChoice

Size = tuple[int, int]  # of a picture: width and height in pixels

MAX_TEXT = 8_000  # characters of one text field
MAX_SEED = 2**53 - 11  # a JSON number holds it exactly, and the tenth image's seed too


class _ImageMark:
    """Marks the fields of an Input that hold an image reference."""


class _DatasetMark:
    """Marks the fields of an Input that hold a reference to pictures for training."""


_Reference = Annotated[
    str,
    Field(
        min_length=1,
        description="`file_…`, a `data:image/…;base64,…` URI, or `s3://bucket/key` under an "
        "allowed prefix; in a multipart request, the part of the same name.",
    ),
]
ImageRef = Annotated[_Reference, _ImageMark()]
OptionalImageRef = Annotated[_Reference | None, _ImageMark()]
DatasetRef = Annotated[
    str,
    Field(
        min_length=1,
        description="`file_…`, an archive (zip, tar or tar.gz) that was uploaded with the purpose "
        "`dataset`, or `s3://bucket/prefix/` under an allowed prefix; in a multipart request, the "
        "part of the same name.",
    ),
    _DatasetMark(),
]
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
Seed = Annotated[
    int,
    Field(ge=0, le=MAX_SEED, description="Drawn when absent; of n images, the i-th has seed + i."),
]
Count = Annotated[int, Field(ge=1, le=10)]
Side = Annotated[int, Field(ge=8, le=4096)]
Steps = Annotated[int, Field(ge=1, le=1000)]
Guidance = Annotated[float, Field(ge=0, le=50)]
Strength = Annotated[float, Field(gt=0, le=1)]


def _known_language(code: str) -> str:
    if code not in FLORES_200:
        raise ValueError(f"no FLORES-200 code{hint(code, FLORES_200)}")
    return code


Language = Annotated[
    str,
    Field(max_length=64, description="A FLORES-200 code, such as `arb_Arab`."),
    AfterValidator(_known_language),
]
Languages = Annotated[list[Language], Field(max_length=16)]
OcrLanguages = Annotated[
    list[Annotated[str, Field(pattern=r"^[a-z_]{2,16}$")]],
    Field(min_length=1, max_length=8, description="Codes of the OCR model, such as `en`."),
]


class KindInput(BaseModel):
    """Base of every kind's input: unknown fields are refused, types are not coerced."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, serialize_by_alias=True)


class Stage(ABC):
    """One step of a request, from its plan to its outputs."""

    name: str
    resumes: ClassVar[bool] = False  # its family keeps savepoints, and goes on from them

    @abstractmethod
    def plan(self, models: ModelChoice) -> Step:
        """The step. Raises InvalidRequest where the chosen model cannot do what is asked."""

    @abstractmethod
    def samples(self, step: Step, outputs: Mapping[str, Any]) -> Sequence[Sample]:
        """The step's units of work; `outputs` are those of the stages before this one."""

    @abstractmethod
    def produce(self, results: Sequence[Mapping[str, Any]]) -> Produced:
        """The outputs, from one result per sample and in their order."""


@dataclass(frozen=True)
class Preset:
    """Named settings of a kind, under those of the request and over the defaults.

    `fields` are values of the input, `models` are by family, and `options` are further
    parameters of the steps, by family.
    """

    fields: Mapping[str, Any]
    models: Mapping[str, str]
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


InputT = TypeVar("InputT", bound=KindInput)


class Kind(ABC, Generic[InputT]):
    """One kind of job."""

    name: ClassVar[str]
    summary: ClassVar[str]
    Input: type[InputT]
    presets: ClassVar[Mapping[str, Preset]] = {}  # an input of such a kind has a `preset`

    @abstractmethod
    def stages(self, request: InputT) -> list[Stage]:
        """What the request goes through, in order; each stage's name is unique."""

    def plan(self, request: InputT, models: ModelChoice) -> list[Step]:
        """The steps of the job. Raises InvalidRequest."""
        return [stage.plan(models) for stage in self.stages(request)]

    def stage(self, request: InputT, name: str) -> Stage:
        """The stage behind the step of this name."""
        return next(stage for stage in self.stages(request) if stage.name == name)

    def preset(self, request: InputT) -> Preset:
        """The preset that the request names, or one without any settings."""
        return self.presets.get(getattr(request, "preset", None) or "", Preset({}, {}))

    def completed(self, request: InputT) -> InputT:
        """The request with what its preset says of the fields that it leaves open, and with a
        seed drawn where the kind takes one and none was given."""
        update = dict(self.preset(request).fields)
        if "seed" in type(request).model_fields and request.seed is None:  # type: ignore[attr-defined]
            update["seed"] = secrets.randbelow(2**32)
        given = request.model_fields_set - ({"seed"} & update.keys())
        return request.model_copy(
            update={name: value for name, value in update.items() if name not in given}
        )

    def unfit(
        self, request: InputT, models: ModelChoice, sizes: Mapping[str, Size], max_pixels: int
    ) -> Mapping[str, str]:
        """What is wrong, by field, where the request's pictures have these sizes by field; those
        that are not known are left out.

        Nothing that is made may have more than `max_pixels`.
        """
        return {}

    def named_models(self, request: InputT) -> Sequence[tuple[str, str]]:
        """The models that the input itself names, or may not name, as (family, name)."""
        return ()

    def image_fields(self) -> tuple[str, ...]:
        """The names of the input's fields that hold an image reference."""
        return self._marked(_ImageMark)

    def dataset_fields(self) -> tuple[str, ...]:
        """The names of the input's fields that hold a reference to pictures for training."""
        return self._marked(_DatasetMark)

    def file_fields(self) -> tuple[str, ...]:
        """The names of the input's fields that hold a reference to a file of either sort."""
        return (*self.image_fields(), *self.dataset_fields())

    def _marked(self, mark: type) -> tuple[str, ...]:
        return tuple(
            name
            for name, info in self.Input.model_fields.items()
            if any(isinstance(each, mark) for each in info.metadata)
        )


@cache
def kinds() -> Mapping[str, Kind[Any]]:
    """Every kind by name: one per module of `shared.kinds`."""
    import shared.kinds as package

    found: dict[str, Kind[Any]] = {}
    for module in pkgutil.iter_modules(package.__path__):
        kind = importlib.import_module(f"{package.__name__}.{module.name}").KIND
        found[kind.name] = kind
    return found
