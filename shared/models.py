"""The registry of models: what may be named, its defaults, and where its files are.

`shared/models.toml` ships with the project; a `models.toml` in MODELS_DIR adds entries of the
same form, such as checkpoint folders of one's own.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from shared.contracts import Frozen, Priority, Step, StoredFile
from shared.errors import InvalidRequest, SettingsError
from shared.languages import FLORES_200, hint

REGISTRY_FILE = Path(__file__).with_name("models.toml")
# Sections of the registry that no worker hosts: adapters, and networks that models are made of.
LORA, NETWORK = "lora", "network"
TRAINED = "trained"  # the model that stands for every one of its family that a training job made
LANGUAGE_SETS = {"flores-200": FLORES_200}


class BatchClasses(Frozen):
    """Samples in every batch, by the priority of the job."""

    interactive: int = Field(default=1, ge=1)
    bulk: int = Field(default=1, ge=1)


class Model(Frozen):
    """One entry of the registry: a repository on the model hub, a checkpoint folder, or a file
    that is imported."""

    name: str
    family: str
    repo: str | None = None
    file: str | None = None  # of weights, that a user gets elsewhere and imports
    revision: str = "main"  # what a pull resolves to a commit
    path: str | None = None
    package: str | None = None  # the Python package that brings or runs it
    weights: str | None = None  # the module that fetches the package's weights
    stages: tuple[str, ...] = ()  # of a cascade: what comes after the first, as repo or path
    instead_of: str | None = None  # the family in whose place a job may name it
    networks: tuple[str, ...] = ()  # what it is put together from, of the section `network`
    optional: tuple[str, ...] = ()  # further ones, which it uses where they are
    made_of: tuple["Model", ...] = ()  # the networks themselves: the registry fills them in
    may_use: tuple["Model", ...] = ()  # the optional ones: the same
    files: dict[str, StoredFile] = Field(default_factory=dict)  # of what a training job made
    base: str | None = None  # the architecture of a diffuser or network, or what a LoRA is for
    smallest: int = 1  # pixels of the shorter side of a picture that it takes
    takes: tuple[str, ...] | None = None  # parameters of a step; None: all
    settings: dict[str, Any] = Field(default_factory=dict)  # for the family's loader
    long: bool = False  # its steps take hours, so that none waits behind another one's lease
    licence: str = "unknown"
    download_gb: float = 0.0  # what a pull fetches
    memory_gb: float = 0.0  # an estimate
    batch_class: BatchClasses = BatchClasses()
    defaults: dict[str, Any] = Field(default_factory=dict)
    kinds: dict[str, dict[str, Any]] = Field(default_factory=dict)
    sources: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()  # that an OCR reads, by its own codes

    @property
    def chosen(self) -> dict[str, Any]:
        """What a step's parameters say of a model that it names beside its own."""
        files = {name: file.model_dump() for name, file in self.files.items()}
        return {"model": self.name, "files": files}

    @field_validator("sources", "targets")
    @classmethod
    def _expand(cls, languages: tuple[str, ...]) -> tuple[str, ...]:
        """Language codes; the name of a set stands for all of its codes."""
        return tuple(code for name in languages for code in LANGUAGE_SETS.get(name, (name,)))


class Registry:
    """All models by family and name, and the profiles that choose defaults among them."""

    def __init__(
        self, models: Mapping[tuple[str, str], Model], profiles: Mapping[str, Mapping[str, str]]
    ) -> None:
        self.models = models
        self.profiles = profiles

    @classmethod
    def load(cls, models_dir: Path) -> "Registry":
        """Read the shipped registry and the one in `models_dir`. Raises SettingsError."""
        models: dict[tuple[str, str], Model] = {}
        profiles: dict[str, dict[str, str]] = {}
        for file in (REGISTRY_FILE, models_dir / "models.toml"):
            if not file.is_file():
                continue
            try:
                families = tomllib.loads(file.read_text(encoding="utf-8"))
                profiles |= families.pop("profiles", {})
                for family, entries in families.items():
                    for name, entry in entries.items():
                        models[family, name] = Model(name=name, family=family, **entry)
            except (tomllib.TOMLDecodeError, ValidationError, TypeError, AttributeError) as error:
                raise SettingsError(f"{file}: {error}") from None
        return cls({pair: _put_together(each, models) for pair, each in models.items()}, profiles)

    def including(self, served: Iterable[tuple[str, str]]) -> "Registry":
        """This registry and those of the (family, name) pairs that it does not know.

        So a checkpoint folder that a worker was started with can be named in a job; nothing is
        known of it, so that its own defaults apply and any language may be asked of it.
        """
        unknown = {pair: Model(family=pair[0], name=pair[1]) for pair in served}
        return Registry({**unknown, **self.models}, self.profiles)

    def trained(
        self, family: str, name: str, files: Mapping[str, StoredFile], smallest: int = 1
    ) -> "Registry":
        """This registry and a model that a training job made."""
        known = {"name": name, "files": {**files}, "smallest": smallest}
        model = self.models[family, TRAINED].model_copy(update=known)
        return Registry({**self.models, (family, name): model}, self.profiles)

    def get(self, family: str, name: str) -> Model | None:
        return self.models.get((family, name))

    def profile(self, name: str) -> Mapping[str, str]:
        """The default model of each family. Raises SettingsError."""
        try:
            return self.profiles[name]
        except KeyError:
            known = ", ".join(self.profiles)
            raise SettingsError(f"IMAGEMILL_PROFILE: {name} is none of {known}") from None

    @cached_property
    def families(self) -> frozenset[str]:
        """The families that workers host."""
        return frozenset(family for family, _ in self.models) - {LORA, NETWORK}

    def choice(self, family: str, name: str) -> Model | None:
        """What a job means by this name: a model of the family, or one that stands for it."""
        if name == TRAINED:
            return None
        return self.get(family, name) or next(
            (
                model
                for model in self.models.values()
                if model.instead_of == family and model.name == name
            ),
            None,
        )


def _put_together(model: Model, models: Mapping[tuple[str, str], Model]) -> Model:
    """The model with its networks themselves. Raises SettingsError."""
    try:
        networks = tuple(models[NETWORK, name] for name in model.networks)
        optional = tuple(models[NETWORK, name] for name in model.optional)
    except KeyError as error:
        _, name = error.args[0]
        raise SettingsError(f"{model.family} {model.name}: no network is called {name}") from None
    return model.model_copy(update={"made_of": networks, "may_use": optional})


class ModelChoice:
    """The models of one request: those it names, the profile's for the rest."""

    def __init__(
        self,
        registry: Registry,
        profile: str,
        chosen: Mapping[str, str],
        priority: Priority,
    ) -> None:
        for family, name in chosen.items():
            if family not in registry.families:
                raise InvalidRequest.at(f"/models/{family}", "no such family")
            if registry.choice(family, name) is None:
                raise InvalidRequest.at(f"/models/{family}", f"no such model: {name}")
        self._registry = registry
        self._names = {**registry.profile(profile), **chosen}
        self._priority = priority

    def model(self, family: str) -> Model:
        """The model of a family. Raises InvalidRequest where none is chosen and none default."""
        model = self._registry.choice(family, self._names.get(family, ""))
        if model is None:
            raise InvalidRequest.at(f"/models/{family}", "the profile has no default; name one")
        return model

    def named(self, family: str, name: str, pointer: str) -> Model:
        """A model that the input names. Raises InvalidRequest."""
        model = self._registry.choice(family, name)
        if model is None:
            raise InvalidRequest.at(pointer, f"no such model: {name}")
        return model

    def check_unused(self, family: str, name: str, pointer: str) -> None:
        """Raises InvalidRequest where there is a model of this name."""
        if name == TRAINED or self._registry.choice(family, name):
            raise InvalidRequest.at(pointer, f"there is a model of this name: {name}")

    def step(
        self,
        name: str,
        family: str,
        kind: str = "",
        fallback: Mapping[str, Any] | None = None,
        **params: Any,
    ) -> Step:
        """A step with the given parameters (None = left open), over the model's defaults, over
        the fallback. Raises InvalidRequest for a parameter that the model does not take."""
        model = self.model(family)
        given = {key: value for key, value in params.items() if value is not None}
        defaults = {**(fallback or {}), **model.defaults, **model.kinds.get(kind, {})}
        if model.takes is not None:
            for key in given:
                if key not in model.takes:
                    raise InvalidRequest.at(f"/input/{key}", f"{model.name} takes no {key}")
            defaults = {key: value for key, value in defaults.items() if key in model.takes}
        weights = {"weights": model.chosen} if model.files else {}
        return Step(
            name=name,
            family=model.family,
            model=TRAINED if model.files else model.name,
            params={**defaults, **given, **weights},
            batch_class=getattr(model.batch_class, self._priority),
        )

    def check_source(self, family: str, language: str, pointer: str) -> None:
        """Raises InvalidRequest where the family's model does not read this language."""
        self._check(family, self.model(family).sources, language, pointer)

    def check_target(self, family: str, language: str, pointer: str) -> None:
        """Raises InvalidRequest where the family's model does not write this language."""
        self._check(family, self.model(family).targets, language, pointer)

    def check_language(self, family: str, language: str, pointer: str) -> None:
        """Raises InvalidRequest where the family's model does not know this language."""
        self._check(family, self.model(family).languages, language, pointer)

    def check_loras(self, names: Sequence[str]) -> None:
        """Raises InvalidRequest where one is unknown, or made for another architecture."""
        for index, name in enumerate(names):
            pointer = f"/input/loras/{index}/name"
            lora, diffuser = self._registry.get(LORA, name), self.model("diffuser")
            if lora is None:
                raise InvalidRequest.at(pointer, f"no such LoRA: {name}")
            if lora.base and diffuser.base and lora.base != diffuser.base:
                raise InvalidRequest.at(
                    pointer, f"{name} is made for {lora.base}, and {diffuser.name} is not"
                )

    def _check(self, family: str, known: tuple[str, ...], language: str, pointer: str) -> None:
        if known and language not in known:
            name = self.model(family).name
            raise InvalidRequest.at(
                pointer, f"{name} does not know the language {language}{hint(language, known)}"
            )
