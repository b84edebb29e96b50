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

or, to say how good a model is:

sample  {"pictures": as above, "generator": the folder of a trained model's files or None,
        "seed": int}
params  stage ("evaluation"), generator ({"model": name, …}), both_orders (bool), pairing as above
result  {"image": RGB PIL.Image, some of the panoramas; "about": what was found, in numbers}

Lu, Chang, Chiu: "Bridging the Visual Gap: Wide-Range Image Blending", CVPR 2021,
https://arxiv.org/abs/2103.15149. A checkpoint's settings name the `config`, and its `networks` have
"vgg16", whose features say which pictures are alike, and perhaps "lpips" with the published weights
of these, "vgg19" for the texture loss and "inception" for FID. Of several devices each makes its
part of every training batch; an evaluation takes the first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from shared import logs
from shared.errors import ModelNotAvailable
from shared.models import Registry
from shared.settings import load_settings
from workers import model_files
from workers.nets import weights
from workers.nets.panorama import checkpoint as networks
from workers.nets.panorama.config import FULL, TINY, Config
from workers.nets.panorama.generator import Generator
from workers.nets.vgg import Vgg
from workers.predictor import Batch, Checkpoint, Predictor, Result, StepMonitor
from workers.training.panorama import savepoint
from workers.training.panorama.evaluation import AT_LEAST, Evaluation
from workers.training.panorama.features import features
from workers.training.panorama.pairing import distance, neighbours
from workers.training.panorama.pictures import Folder, Pictures, files_in
from workers.training.panorama.processes import together
from workers.training.panorama.run import Run, split
from workers.training.panorama.samples import Samples
from workers.training.panorama.stages import FINETUNE, RECONSTRUCTION, Stage
from workers.training.panorama.task import Task
from workers.training.panorama.trainer import State

CONFIGS: Mapping[str, Config] = {"tiny": TINY, "full": FULL}
STAGES: Mapping[str, Stage] = {each.name: each for each in (RECONSTRUCTION, FINETUNE)}
EVALUATION = "evaluation"  # in place of a stage

log = logs.get(__name__)


class PanoramaTrainer(Predictor):
    """Trains one model at a time; nothing is held between two of them."""

    several_devices = True

    def __init__(self, device: str) -> None:
        self._devices = device.split(",")
        super().__init__(self._devices[0])
        self._checkpoints: dict[str, Checkpoint] = {}

    def load(self, checkpoint: Checkpoint) -> None:
        if checkpoint.settings.get("config") not in CONFIGS:
            raise ModelNotAvailable(f"{checkpoint.model} names no config of {', '.join(CONFIGS)}")
        self._checkpoints[checkpoint.model] = checkpoint

    def unload(self, model: str) -> None:
        self._checkpoints.pop(model, None)

    def predict(self, batch: Batch, monitor: StepMonitor) -> Sequence[Result]:
        if batch.params["stage"] == EVALUATION:
            return self._evaluate(batch, monitor)
        return self._train(batch, monitor)

    def _train(self, batch: Batch, monitor: StepMonitor) -> Sequence[Result]:
        [sample], params = batch.samples, batch.params
        checkpoint = self._checkpoints[batch.model]
        config, stage = CONFIGS[checkpoint.settings["config"]], stage_of(params)
        if not monitor.step(0, 1, "looking through the pictures"):
            return []
        files, held_out = list(files_in(sample["pictures"])), params["held_out"]
        pictures = Folder(files, config.size, stage.batch + held_out)
        trained, shown = split(pictures, held_out, sample["seed"])
        samples = Samples(trained, stage, sample["seed"], world=len(self._devices))
        saved: Path | None = sample.get("savepoint")
        state = restored(saved, sample["folder"]) if saved else None
        if not monitor.step(0, 1, "choosing what goes with what"):
            return []
        pairs = state["pairs"] if state else self._pairs(checkpoint, trained, params.get("pairing"))
        near = pairs["neighbours"].numpy() if "neighbours" in pairs else None
        start = params.get("start_from")
        task = Task(
            config,
            replace(samples, neighbours=near),
            start and (sample["start_from"] or registered(start["model"])),
            checkpoint.networks.get("vgg19"),
            saved if state else None,
            params["recompute"],
        )
        run = Run(task.trainer(0, self.device), shown, sample["folder"])
        if saved and state:
            run.restore(state, saved)
        with together(self._devices, task.take_part):
            if not run.go(monitor, {"pairs": pairs}):
                return []
        about = {
            **run.about(),
            "size": config.size,
            "pictures": {"trained": len(trained), "held_out": held_out, **pictures.skipped},
            "pairing": pairs["name"],
            "start_from": start and start["model"],
            "devices": len(self._devices),
        }
        return [{"files": run.files(), "about": about, "stopped": run.stopped}]

    def _evaluate(self, batch: Batch, monitor: StepMonitor) -> Sequence[Result]:
        [sample], params = batch.samples, batch.params
        checkpoint, model = self._checkpoints[batch.model], params["generator"]["model"]
        generator = networks.load(Generator, sample["generator"] or registered(model))
        if not monitor.step(0, 1, "looking through the pictures"):
            return []
        pictures = Folder(list(files_in(sample["pictures"])), generator.config.size, AT_LEAST)
        if not monitor.step(0, 1, "choosing what goes with what"):
            return []
        pairs = self._pairs(checkpoint, pictures, params["pairing"])
        evaluation = Evaluation(
            generator.to(self.device),
            features(checkpoint.networks, self.device),
            pictures,
            pairs["neighbours"].numpy() if "neighbours" in pairs else None,
            sample["seed"],
            params["both_orders"],
        )
        for done in evaluation.run():
            if not monitor.step(done, len(pictures), f"picture {done} of {len(pictures)}"):
                return []
        about = {
            **evaluation.about(),
            "model": model,
            "pictures": {"used": len(pictures), **pictures.skipped},
            "pairing": pairs["name"],
        }
        return [{"about": about, "image": evaluation.sheet()}]

    def _pairs(self, checkpoint: Checkpoint, pictures: Pictures, way: str | None) -> State:
        """Which pictures may be each one's right side, unless it is any, and by what distance."""
        if way != "lpips":
            return {"name": way}
        network = Vgg(16)
        weights.load(network, checkpoint.networks["vgg16"])
        measure = distance(network.to(self.device), checkpoint.networks.get("lpips"))
        return {"name": measure.name, "neighbours": neighbours(measure.matrix(pictures))}


def stage_of(params: Mapping[str, Any]) -> Stage:
    """The published stage with what the parameters say otherwise."""
    names = {field.name for field in fields(Stage)} & params.keys()
    return replace(STAGES[params["stage"]], **{name: params[name] for name in names})


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
