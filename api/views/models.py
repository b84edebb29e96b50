"""/v1/models: what a job may name."""

from flask import Response
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel, Field

from api import present, schemas
from api.replies import problems, reply
from api.services import services
from shared.model_store import Lock, ModelState, state
from shared.models import TRAINED, Model
from shared.trained_models import TrainedModel, TrainedModels

api = APIBlueprint("models", __name__, url_prefix="/v1/models", abp_tags=[Tag(name="operations")])


class ModelPath(BaseModel):
    family: str = Field(description="Such as `panorama`.")
    name: str


@api.get("", responses={200: schemas.ModelList, **problems()}, operation_id="listModels")
def listing() -> Response:
    """Every model that is registered, trained or served, where its files are, and who serves it."""
    settings = services().settings
    lock = Lock.read(settings.models_dir)
    served = {(w.family, name) for w in services().ledger.workers() for name in w.models}
    registry = services().registry.including(served)
    defaults = registry.profile(settings.profile)
    known = [
        _present(
            model,
            state(model, settings.models_dir, lock),
            default=defaults.get(family) == name,
            available=(family, name) in served,
        )
        for (family, name), model in sorted(registry.models.items())
        if name != TRAINED
    ]
    trained = [
        _present(
            Model(family=each.family, name=each.name),
            ModelState.TRAINED,
            default=False,
            available=(each.family, TRAINED) in served,
        )
        for each in TrainedModels(services().store).all()
    ]
    return reply(schemas.ModelList(data=sorted(known + trained, key=lambda model: model.id)))


@api.get(
    "/<family>/<name>",
    responses={200: schemas.TrainedModelView, **problems(404)},
    operation_id="getTrainedModel",
)
def show(path: ModelPath) -> Response:
    """A model that a training job made."""
    return reply(_trained(TrainedModels(services().store).get(path.family, path.name)))


@api.delete(
    "/<family>/<name>",
    responses={204: None, **problems(404)},
    operation_id="deleteTrainedModel",
)
def delete(path: ModelPath) -> Response:
    """Remove a model that a training job made; what is planned with it fails."""
    TrainedModels(services().store).delete(path.family, path.name)
    return Response(status=204)


def _trained(model: TrainedModel) -> schemas.TrainedModelView:
    return schemas.TrainedModelView(
        id=f"{model.family}/{model.name}",
        name=model.name,
        family=model.family,
        job=model.job,
        created_at=present.time(model.created_at),
        files={
            name: schemas.StoredFileView(sha256=file.sha256, bytes=file.bytes)
            for name, file in model.files.items()
        },
        about=model.about,
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
