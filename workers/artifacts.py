"""The files that a step leaves: its pictures with their recipe, and whatever else it made."""

from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

from shared.contracts import Artifact, ImageOutput, JobRecord, Produced, Step
from shared.images import encode_png


def encoded(
    job: JobRecord, step: Step, revision: str, produced: Produced, folder: str
) -> Iterator[tuple[Artifact, bytes]]:
    """What is to be stored in the folder, one by one; `revision` is that of the step's model."""
    recipe = _recipe(job, step, revision, produced)
    for image in produced.images:
        yield _picture(image, recipe, folder)
    for file in produced.files:
        data = file.data if isinstance(file.data, bytes) else file.data.read_bytes()
        yield _artifact(file.name, data, file.media_type, folder), data


def _recipe(job: JobRecord, step: Step, revision: str, produced: Produced) -> dict[str, Any]:
    models = {
        record.step.family: {"model": record.step.model, "revision": record.output.revision}
        for record in job.steps
        if record.output
    }
    models[step.family] = {"model": step.model, "revision": revision}
    return {
        "kind": job.kind,
        "models": models,
        "prompt": produced.outputs.get("prompt"),
        "negative_prompt": job.input.get("negative_prompt"),
        "parameters": {**step.params, **produced.recipe},
    }


def _picture(image: ImageOutput, recipe: Mapping[str, Any], folder: str) -> tuple[Artifact, bytes]:
    # The job's id is in no recipe: the same request must give the same bytes.
    data = encode_png(image.image, {**recipe, "seed": image.seed})
    plain = _artifact(image.name, data, "image/png", folder)
    about = {"width": image.image.width, "height": image.image.height, "seed": image.seed}
    return plain.model_copy(update=about), data


def _artifact(name: str, data: bytes, media_type: str, folder: str) -> Artifact:
    return Artifact(
        name=name,
        key=f"{folder}{name}",
        media_type=media_type,
        sha256=sha256(data).hexdigest(),
        bytes=len(data),
    )
