"""Panorama trainer: pictures → a model that draws what lies between two of them.

sample  {"pictures": the folder of the data set, "folder": an empty one for what is made,
        "start_from": the folder of a trained model's files or None, "seed": int}
params  stage ("reconstruction" | "finetune"), start_from ({"model": name, …} or absent: new
        weights), held_out (pictures), recompute (bool), for `finetune` pairing ("lpips" |
        "random"); and any field of `workers.training.panorama.stages.Stage` in place of the
        published value
result  {"files": paths in the folder: config.json, model.safetensors, discriminator.safetensors,
        losses.csv, losses.svg, samples-1…8.png; "about": what the training tells in numbers;
        "stopped": why it stopped before its end, or None}

Lu, Chang, Chiu: "Bridging the Visual Gap: Wide-Range Image Blending", CVPR 2021,
https://arxiv.org/abs/2103.15149. A checkpoint's settings name the `config`, and its `networks` have
"vgg16", whose features say which pictures are alike, and perhaps "vgg19" for the texture loss.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from shared import logs
from shared.errors import InvalidRequest, ModelNotAvailable
from shared.models import Registry
from shared.settings import load_settings
from workers import model_files
from workers.nets import weights
from workers.nets.panorama import checkpoint as networks
from workers.nets.panorama.config import FULL, TINY, Config
from workers.nets.panorama.discriminator import Discriminator
from workers.nets.panorama.generator import Generator
from workers.nets.vgg import Vgg
from workers.predictor import Batch, Checkpoint, Predictor, Result, StepMonitor
from workers.training.panorama import savepoint
from workers.training.panorama.mrf import Texture
from workers.training.panorama.pairing import distance, neighbours
from workers.training.panorama.pictures import Folder, Pictures, files_in
from workers.training.panorama.run import Run, split
from workers.training.panorama.samples import Samples
from workers.training.panorama.stages import FINETUNE, RECONSTRUCTION, Stage
from workers.training.panorama.trainer import State, Trainer

CONFIGS: Mapping[str, Config] = {"tiny": TINY, "full": FULL}
STAGES: Mapping[str, Stage] = {each.name: each for each in (RECONSTRUCTION, FINETUNE)}
DISCRIMINATOR = "discriminator.safetensors"

log = logs.get(__name__)


class PanoramaTrainer(Predictor):
    """Trains one model at a time; nothing is held between two of them."""

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self._checkpoints: dict[str, Checkpoint] = {}

    def load(self, checkpoint: Checkpoint) -> None:
        if checkpoint.settings.get("config") not in CONFIGS:
            raise ModelNotAvailable(f"{checkpoint.model} names no config of {', '.join(CONFIGS)}")
        self._checkpoints[checkpoint.model] = checkpoint

    def unload(self, model: str) -> None:
        self._checkpoints.pop(model, None)

    def predict(self, batch: Batch, monitor: StepMonitor) -> Sequence[Result]:
        [sample], params = batch.samples, batch.params
        checkpoint = self._checkpoints[batch.model]
        config, stage = CONFIGS[checkpoint.settings["config"]], stage_of(params)
        if not monitor.step(0, 1, "looking through the pictures"):
            return []
        files, held_out = list(files_in(sample["pictures"])), params["held_out"]
        pictures = Folder(files, config.size, stage.batch + held_out)
        trained, shown = split(pictures, held_out, sample["seed"])
        saved: Path | None = sample.get("savepoint")
        state = restored(saved, sample["folder"]) if saved else None
        if not monitor.step(0, 1, "choosing what goes with what"):
            return []
        pairs = state["pairs"] if state else self._pairs(checkpoint, trained, params.get("pairing"))
        near = pairs["neighbours"].numpy() if "neighbours" in pairs else None
        training = Trainer(
            *start(config, sample, params.get("start_from")),
            Samples(trained, stage, sample["seed"], near),
            self._texture(checkpoint),
            self.device,
            recompute=params["recompute"],
        )
        run = Run(training, shown, sample["folder"])
        if saved and state:
            run.restore(state, saved)
        if not run.go(monitor, {"pairs": pairs}):
            return []
        about = {
            **run.about(),
            "pictures": {"trained": len(trained), "held_out": held_out, **pictures.skipped},
            "pairing": pairs["name"],
            "start_from": (params.get("start_from") or {}).get("model"),
        }
        return [{"files": run.files(), "about": about, "stopped": run.stopped}]

    def _pairs(self, checkpoint: Checkpoint, pictures: Pictures, way: str | None) -> State:
        """Which pictures may be each one's right side, unless it is any, and by what distance."""
        if way != "lpips":
            return {"name": way}
        network = Vgg(16)
        weights.load(network, checkpoint.networks["vgg16"])
        measure = distance(network.to(self.device))
        return {"name": measure.name, "neighbours": neighbours(measure.matrix(pictures))}

    def _texture(self, checkpoint: Checkpoint) -> Texture | None:
        if "vgg19" not in checkpoint.networks:
            return None
        network = Vgg(19, last=max(Texture.VGG19))
        weights.load(network, checkpoint.networks["vgg19"])
        return Texture(network, Texture.VGG19)


def stage_of(params: Mapping[str, Any]) -> Stage:
    """The published stage with what the parameters say otherwise."""
    names = {field.name for field in fields(Stage)} & params.keys()
    return replace(STAGES[params["stage"]], **{name: params[name] for name in names})


def start(
    config: Config, sample: Mapping[str, Any], chosen: Mapping[str, Any] | None
) -> tuple[Generator, Discriminator]:
    """The networks to begin with: those of the chosen model as far as it has them, or new ones.

    Raises InvalidRequest where it is of another size, ModelNotAvailable.
    """
    torch.manual_seed(sample["seed"])
    if not chosen:
        return Generator(config), Discriminator(config)
    folder = sample["start_from"] or registered(chosen["model"])
    generator = networks.load(Generator, folder)
    if generator.config != config:
        raise InvalidRequest(
            f"{chosen['model']} takes pictures of {generator.config.size} pixels, and this trains "
            f"models for {config.size}: name another panorama_trainer"
        )
    if not (folder / DISCRIMINATOR).is_file():
        return generator, Discriminator(config)
    return generator, networks.load_file(Discriminator, folder / DISCRIMINATOR, config)


def registered(name: str) -> Path:
    """The files of a panorama model of the registry. Raises ModelNotAvailable."""
    models_dir = load_settings().models_dir
    model = model_files.resolve_model(Registry.load(models_dir), "panorama", name)
    return model_files.checkpoint(model, models_dir).path


def restored(saved: Path, folder: Path) -> State | None:
    """A savepoint's state; None where it is damaged: then the training begins anew."""
    try:
        return savepoint.restore(saved, folder)
    except (OSError, RuntimeError, UnpicklingError) as error:
        log.warning("the savepoint is damaged", error=str(error))
        return None


PREDICTOR = PanoramaTrainer
