"""From the document of one job to its input and its steps."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from api.errors import invalid
from api.schemas import JobEnvelope, job_request
from api.services import Services
from shared.contracts import Step
from shared.errors import InvalidRequest, NotFound
from shared.kind import Kind, Size, kinds
from shared.models import TRAINED, ModelChoice, Registry
from shared.trained_models import TrainedModels


@dataclass(frozen=True)
class Checked:
    """A document that fits its kind, with models that there are; `given` is its input with what
    it left open filled in. Its references to files are not looked at yet."""

    kind: Kind[Any]
    request: JobEnvelope
    given: Any
    choice: ModelChoice

    def references(self) -> dict[str, str]:
        """The references to pictures and data sets, by the input's fields."""
        values = {name: getattr(self.given, name) for name in self.kind.file_fields()}
        return {name: value for name, value in values.items() if value is not None}

    def check_sizes(self, sizes: Mapping[str, Size], max_pixels: int) -> None:
        """Raises InvalidRequest where the pictures, whose sizes these are by the input's fields,
        are too small or too large for what is asked."""
        wrong = self.kind.unfit(self.given, self.choice, sizes, max_pixels)
        if wrong:
            raise InvalidRequest.at_each({f"/input/{name}": text for name, text in wrong.items()})

    def planned(self, files: Mapping[str, str]) -> tuple[dict[str, Any], tuple[Step, ...]]:
        """The input as it is recorded, with these references in place of its own, and the steps.
        Raises InvalidRequest."""
        final = self.given.model_copy(update=files)
        return final.model_dump(mode="json"), tuple(self.kind.plan(final, self.choice))


class Planner:
    """Checks documents. What it looks up of models it keeps, so one is made for few documents."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._registries: dict[frozenset[tuple[str, str]], Registry] = {}

    def check(self, document: Any) -> Checked:
        """Raises InvalidRequest, StorageUnavailable, LedgerUnavailable."""
        try:
            request = job_request().model_validate(document).root
        except ValidationError as error:
            raise invalid(error, document) from None
        kind = kinds()[request.kind]
        given = kind.completed(request.input)
        models = {**kind.preset(given).models, **request.models}
        registry = self._registry(frozenset({*models.items(), *kind.named_models(given)}))
        profile = self._services.settings.profile
        choice = ModelChoice(registry, profile, models, request.priority)
        kind.plan(given, choice)  # wrong models and languages, before any picture is read
        return Checked(kind, request, given, choice)

    def _registry(self, named: frozenset[tuple[str, str]]) -> Registry:
        """The registered models; where others are named, as (family, name), those of them that
        were trained, and those that live workers serve, as well."""
        if named not in self._registries:
            self._registries[named] = self._look_up(named)
        return self._registries[named]

    def _look_up(self, named: frozenset[tuple[str, str]]) -> Registry:
        registry = self._services.registry
        unknown = [pair for pair in named if not registry.choice(*pair)]
        if not unknown:
            return registry
        trained = TrainedModels(self._services.store)
        for family, name in unknown:
            if registry.get(family, TRAINED):
                with contextlib.suppress(NotFound):
                    model = trained.get(family, name)
                    smallest = model.about.get("size", 1)
                    registry = registry.trained(family, name, model.files, smallest)
        workers = self._services.ledger.workers()
        return registry.including((w.family, name) for w in workers for name in w.models)
