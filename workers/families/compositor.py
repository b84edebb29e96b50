"""Compositor: source, mask and target → the source blended into the target, in two passes.

sample  {"source": RGB PIL.Image of source_size², "mask": RGBA PIL.Image of the same size or None:
        then the source is RGBA and its alpha the mask, "target": RGB PIL.Image of target_size²,
        "x": int, "y": int: the row and the column of the source's centre in the target,
        "seed": int, and where a second pass has another size "target_full": RGB PIL.Image,
        the target of that size}; the source lies wholly inside the target
params  variant ("mended" | "paper" | "seed" | "poisson" | "alpha"), source_size, target_size
        (pixels), and for the first three steps (evaluations in each pass), video (bool),
        precision ("fp32" | "tf32" | "bf16")
result  of a neural variant {"first_pass", "second_pass": RGB PIL.Image,
        "files": {"losses.svg", "losses.csv", with video "process.mp4": bytes},
        "losses": {"first_pass", "second_pass": {term: its last value, weighted}},
        "networks": {architecture: what it was filled with}};
        of "poisson" and "alpha" {"composite": RGB PIL.Image}

The mask is what the picture's luminance and opacity say together; a neural variant takes all that
is not 0, `alpha` takes it as it is. A checkpoint's `networks` has "vgg16", and "resnet50" for the
variant `seed`; without that its ResNet50 is random, whose features carry texture too (He, Wang,
Hopcroft, https://arxiv.org/abs/1606.04801).
"""

from collections.abc import Callable, Mapping, Sequence

from torch import nn

from shared.errors import ModelNotAvailable
from workers.compositing import classic
from workers.compositing.blending import blend
from workers.compositing.scene import Pieces
from workers.compositing.variants import VARIANTS
from workers.nets import weights
from workers.nets.resnet import ResNet50
from workers.nets.vgg import Vgg
from workers.predictor import Batch, Checkpoint, Predictor, Result, StepMonitor

CLASSIC = {"poisson": classic.poisson, "alpha": classic.alpha}
MAKERS: Mapping[str, Callable[[], nn.Module]] = {
    "vgg16": lambda: Vgg(16, last=22),  # relu4_3
    "resnet50": lambda: ResNet50(batch_statistics=True),  # as the published program runs it
}
RANDOM = "random"


class Networks(dict[str, nn.Module]):
    """A checkpoint's networks by architecture, each loaded when it is first asked for."""

    def __init__(self, checkpoint: Checkpoint, device: str) -> None:
        super().__init__()
        self._folders = checkpoint.networks
        self._device = device

    def __missing__(self, architecture: str) -> nn.Module:
        network = MAKERS[architecture]()
        if architecture in self._folders:
            weights.load(network, self._folders[architecture])
        else:
            weights.randomise(network, seed=0)
        self[architecture] = network.to(self._device)
        return self[architecture]

    def source(self, architecture: str) -> str:
        """What a network was filled with: the folder of a commit or a package, or "random"."""
        folder = self._folders.get(architecture)
        return folder.name if folder else RANDOM


class Compositor(Predictor):
    """Holds the networks; how they are used stands in `workers.compositing`."""

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self._models: dict[str, Networks] = {}

    def load(self, checkpoint: Checkpoint) -> None:
        if "vgg16" not in checkpoint.networks:
            raise ModelNotAvailable(f"{checkpoint.model} has no network of the architecture vgg16")
        networks = Networks(checkpoint, self.device)
        networks["vgg16"]  # the others are for one variant alone
        self._models[checkpoint.model] = networks

    def unload(self, model: str) -> None:
        self._models.pop(model, None)

    def predict(self, batch: Batch, monitor: StepMonitor) -> Sequence[Result]:
        name = batch.params["variant"]
        if name in CLASSIC:
            return self._classic(batch, monitor)
        networks = self._models[batch.model]
        variant = VARIANTS[name]
        used = {goal.features.network for goal in (variant.first, variant.second)}
        sources = {architecture: networks.source(architecture) for architecture in sorted(used)}
        results = blend(batch, networks, self.device, monitor)
        return [
            {**result, "networks": sources} if isinstance(result, dict) else result
            for result in results
        ]

    def _classic(self, batch: Batch, monitor: StepMonitor) -> list[Result]:
        compose, total = CLASSIC[batch.params["variant"]], len(batch.samples)
        results: list[Result] = []
        for done, sample in enumerate(batch.samples, 1):
            results.append({"composite": compose(*Pieces.of(sample))})
            if not monitor.step(done, total, f"picture {done} of {total}"):
                return []
        return results


PREDICTOR = Compositor
