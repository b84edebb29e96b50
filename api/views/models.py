"""/v1/models: what a job may name."""

from flask import Response
from flask_openapi import APIBlueprint, Tag

from api import schemas
from api.replies import problems, reply
from api.services import services
from shared.models import Model

api = APIBlueprint("models", __name__, url_prefix="/v1/models", abp_tags=[Tag(name="operations")])


@api.get("", responses={200: schemas.ModelList, **problems()}, operation_id="listModels")
def listing() -> Response:
    """Every model that is registered or served, and whether a live worker serves it."""
    settings = services().settings
    served = {(w.family, name) for w in services().ledger.workers() for name in w.models}
    registry = services().registry.including(served)
    defaults = registry.profile(settings.profile)
    return reply(
        schemas.ModelList(
            data=[
                _present(model, defaults.get(family) == name, (family, name) in served)
                for (family, name), model in sorted(registry.models.items())
            ]
        )
    )


def _present(model: Model, default: bool, available: bool) -> schemas.ModelView:
    languages = schemas.Languages(sources=list(model.sources), targets=list(model.targets))
    return schemas.ModelView(
        id=f"{model.family}/{model.name}",
        name=model.name,
        family=model.family,
        default=default,
        available=available,
        licence=model.licence,
        memory_gb=model.memory_gb,
        defaults=model.defaults,
        languages=languages if model.targets else None,
    )
