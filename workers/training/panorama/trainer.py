"""The training of one stage, batch by batch; it can stop and go on anywhere between two."""

import math
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from shared.errors import InvalidRequest, PredictionFailed
from workers.nets.panorama.discriminator import Discriminator
from workers.nets.panorama.generator import Generator
from workers.training.panorama import losses
from workers.training.panorama.distributed import Peers
from workers.training.panorama.mrf import Texture
from workers.training.panorama.samples import Batch, Samples
from workers.training.panorama.stages import Stage

DISCRIMINATOR_EVERY = 3  # batches: one for the discriminator, the others for the generator
AHEAD = 2  # batches that are made while the networks compute

State = dict[str, Any]
Place = tuple[int, int]  # epoch and batch, counted from 0


@dataclass(frozen=True)
class Report:
    """What a batch gave; losses are weighted, and of one sample on average."""

    stage: str
    epoch: int  # counted from 0, as is the batch
    batch: int
    batches: int  # of an epoch
    rate: float
    losses: Mapping[str, float]
    images_per_s: float


class Trainer:
    """Trains a generator and its discriminator, both changed in place.

    texture: the texture loss, with its network; None leaves it out.
    mixed: bfloat16 where it is safe, on a GPU only by default; losses are float32 in any case.
    recompute: forget the generator's inner results and compute them again for the gradients,
    which takes less memory and more time.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        samples: Samples,
        texture: Texture | None = None,
        device: str = "cpu",
        mixed: bool | None = None,
        recompute: bool = False,
    ) -> None:
        self.generator = generator.to(device).train()
        self.discriminator = discriminator.to(device).train()
        self.samples = samples
        self.stage = samples.stage
        self.texture = texture.to(device) if texture else None
        self.device = device
        self.mixed = device.startswith("cuda") if mixed is None else mixed
        self.peers = Peers(samples.world)
        self.place: Place = (0, 0)
        if recompute:
            _recompute(generator)
        adam = partial(
            torch.optim.Adam, betas=self.stage.betas, weight_decay=self.stage.weight_decay
        )
        self.generator_adam = adam(generator.parameters(), lr=self.stage.rate)
        self.discriminator_adam = adam(discriminator.parameters(), lr=self.stage.rate)

    def run(self) -> Iterator[Report]:
        """Train from where the state stands to the end, one batch before each report.

        Between two reports the state may be saved, and the iterator may be closed. Raises
        PredictionFailed where a loss or gradient is no longer finite; the networks are then as
        they were before that batch.
        """
        began = time.monotonic()
        for place, batch in self._batches():
            epoch, number = place
            rate = self.stage.rate_at(epoch)
            for adam, share in (
                (self.generator_adam, 1.0),
                (self.discriminator_adam, self.stage.discriminator_share),
            ):
                adam.param_groups[0]["lr"] = rate * share
            judged = self.stage.adversarial and number % DISCRIMINATOR_EVERY == 0
            step = self._discriminate if judged else self._generate
            terms = step(batch.to(self.device))
            self.place = self._after(place)
            ended = time.monotonic()
            pace = self.stage.batch / (ended - began)
            yield Report(self.stage.name, epoch, number, self.samples.batches, rate, terms, pace)
            began = time.monotonic()

    @property
    def done(self) -> bool:
        """Whether the stage has come to its end."""
        return self.place[0] >= self.stage.epochs

    def state(self) -> State:
        """All that the rest of the training depends on, beside its samples."""
        return {
            "stage": asdict(self.stage),
            "seed": self.samples.seed,
            "pictures": len(self.samples.pictures),
            "place": self.place,
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "generator_adam": self.generator_adam.state_dict(),
            "discriminator_adam": self.discriminator_adam.state_dict(),
        }

    def restore(self, state: State) -> None:
        """Go on from a state. Raises InvalidRequest where it is of another training."""
        ours = self.state()
        # A state may be older than a field of the stage, which then is as it always was.
        saved = {**state, "stage": {**asdict(Stage("", rate=0, batch=0)), **state["stage"]}}
        for name in ("stage", "seed", "pictures"):
            if saved[name] != ours[name]:
                raise InvalidRequest(f"the savepoint is of another {name}: {saved[name]}")
        self.place = tuple(state["place"])
        for part in ("generator", "discriminator", "generator_adam", "discriminator_adam"):
            getattr(self, part).load_state_dict(state[part])

    def _discriminate(self, batch: Batch) -> dict[str, float]:
        """One step of the discriminator."""
        with self._precision():
            with torch.no_grad():
                fake = self.generator(batch.left, batch.right).image
            real_scores = self.discriminator(batch.real)
            fake_scores = self.discriminator(fake)
        loss = losses.adversarial_discriminator(real_scores, fake_scores, self.peers.mean)
        return self._step(self.discriminator_adam, {"discriminator": loss})

    def _generate(self, batch: Batch) -> dict[str, float]:
        """One step of the generator, by all of its losses that have a weight."""
        stage, known = self.stage, len(batch.middle)
        with self._precision():
            made = self.generator(batch.left, batch.right)
        pictures = made.image, batch.left, batch.right, batch.middle
        terms = {"pixel": losses.pixel(*pictures)}
        if stage.gradient:
            terms["gradient"] = stage.gradient * losses.gradient(*pictures)
        if stage.features:
            with self._precision(), torch.no_grad():
                content = self.generator.content(batch.middle)
            reconstruction = losses.feature_reconstruction(made.middle[:known], content)
            consistency = losses.feature_consistency(made.from_left, made.from_right)
            terms["feature_reconstruction"] = stage.features * reconstruction
            terms["feature_consistency"] = stage.features * consistency
        if stage.adversarial:
            terms["adversarial"] = stage.adversarial * self._adversarial(made.image, batch.real)
        if self.texture:
            middle = made.image[:known].chunk(3, dim=-1)[1]
            terms["texture"] = stage.texture * self.texture(middle, batch.middle)
        return self._step(self.generator_adam, terms)

    def _adversarial(self, made: Tensor, real: Tensor) -> Tensor:
        """What the discriminator, held as it is, says of the generator's panoramas."""
        with self._precision():
            with torch.no_grad():
                real_scores = self.discriminator(real)
            self.discriminator.requires_grad_(False)
            fake_scores = self.discriminator(made)
            self.discriminator.requires_grad_(True)
        return losses.adversarial_generator(real_scores, fake_scores, self.peers.mean)

    def _step(self, adam: torch.optim.Adam, terms: Mapping[str, Tensor]) -> dict[str, float]:
        """Descend the sum of the terms; what each was, for a sample."""
        values = torch.stack(list(terms.values()))
        means = (self.peers.total(values) / self.stage.batch).tolist()
        told = dict(zip(terms, means, strict=True))
        adam.zero_grad()
        values.sum().backward()
        parameters = adam.param_groups[0]["params"]
        self.peers.add_gradients(parameters)
        gradients = [each.grad for each in parameters if each.grad is not None]
        norm = float(nn.utils.get_total_norm(gradients))
        for name, value in {**told, "gradient norm": norm}.items():
            if not math.isfinite(value):
                epoch, number = self.place
                raise PredictionFailed(
                    f"training stopped in epoch {epoch}, batch {number}: {name} is {value}"
                )
        adam.step()
        return told

    def _precision(self) -> torch.autocast:
        kind = torch.device(self.device).type
        return torch.autocast(kind, torch.bfloat16, enabled=self.mixed)

    def _batches(self) -> Iterator[tuple[Place, Batch]]:
        """The batches that are left, the next ones being made meanwhile."""
        waiting: deque[tuple[Place, Future[Batch]]] = deque()
        with ThreadPoolExecutor(AHEAD) as makers:
            try:
                for place in self._places():
                    waiting.append((place, makers.submit(self.samples.batch, *place)))
                    if len(waiting) > AHEAD:
                        yield _made(waiting)
                while waiting:
                    yield _made(waiting)
            finally:
                makers.shutdown(cancel_futures=True)

    def _places(self) -> Iterator[Place]:
        place = self.place
        while place[0] < self.stage.epochs:
            yield place
            place = self._after(place)

    def _after(self, place: Place) -> Place:
        epoch, number = place
        return (epoch, number + 1) if number + 1 < self.samples.batches else (epoch + 1, 0)


def save(state: State, file: Path) -> None:
    """Write a state whole or not at all: a run that is cut off leaves the one before it."""
    fresh = file.with_name(f".{file.name}.new")
    torch.save(state, fresh)
    fresh.replace(file)


def read(file: Path) -> State:
    """A state that was saved. Raises OSError or pickle.UnpicklingError where there is none."""
    state: State = torch.load(file, "cpu", weights_only=True)
    return state


def _made(waiting: deque[tuple[Place, Future[Batch]]]) -> tuple[Place, Batch]:
    place, batch = waiting.popleft()
    return place, batch.result()


def _recompute(module: nn.Module) -> None:
    """Let each part of a module forget what is within it until its gradients are asked for."""
    for part in module.children():
        part.forward = partial(checkpoint, part.forward, use_reentrant=False)
