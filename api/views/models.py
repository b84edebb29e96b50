"""/v1/models: what a job may name."""

from flask import Response
from flask_openapi import APIBlueprint, Tag

from api import schemas
from api.replies import problems, reply
from api.services import services
from shared.model_store import Lock, ModelState, state
from shared.models import Model

api = APIBlueprint("models", __name__, url_prefix="/v1/models", abp_tags=[Tag(name="operations")])


@api.get("", responses={200: schemas.ModelList, **problems()}, operation_id="listModels")
def listing() -> Response:
    """Every model that is registered or served, where its files are, and who serves it."""
    settings = services().settings
    lock = Lock.read(settings.models_dir)
    served = {(w.family, name) for w in services().ledger.workers() for name in w.models}
    registry = services().registry.including(served)
    defaults = registry.profile(settings.profile)
    return reply(
        schemas.ModelList(
            data=[
                _present(
                    model,
                    state(model, settings.models_dir, lock),
                    default=defaults.get(family) == name,
                    available=(family, name) in served,
                )
                for (family, name), model in sorted(registry.models.items())
            ]
        )
    )


def _present(
    model: Model, state: ModelState, *, default: bool, available: bool
) -> schemas.ModelView:
    if available and state is ModelState.MISSING:
        state = ModelState.PULLED  # on the machine of the worker that serves it
    languages = schemas.Languages(
        sources=list(model.sources or model.languages), targets=list(model.targets)
    )
    return schemas.ModelView(
        id=f"{model.family}/{model.name}",
        name=model.name,
        family=model.family,
        default=default,
        available=available,
        state=state,
        licence=model.licence,
        download_gb=model.download_gb,
        memory_gb=model.memory_gb,
        defaults=model.defaults,
        languages=languages if languages.sources else None,
    )
