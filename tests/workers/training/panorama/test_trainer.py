from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from shared.errors import InvalidRequest, PredictionFailed
from workers.nets.panorama.config import TINY
from workers.nets.panorama.discriminator import Discriminator
from workers.nets.panorama.generator import Generator
from workers.training.panorama.pictures import Landscapes
from workers.training.panorama.samples import Samples
from workers.training.panorama.stages import FINETUNE, RECONSTRUCTION, Stage
from workers.training.panorama.trainer import Report, Trainer, read, save

SMALL = replace(FINETUNE, batch=4, pairs=2, epochs=2, halved_every=1)
PICTURES = Landscapes(range(10), TINY.size)  # five batches an epoch


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """With several, sums are added up in another order every time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def trainer(stage: Stage = SMALL, seed: int = 0, **options: object) -> Trainer:
    torch.manual_seed(seed)
    networks = Generator(TINY), Discriminator(TINY)
    return Trainer(*networks, Samples(PICTURES, stage), **options)  # type: ignore[arg-type]


def curve(reports: list[Report]) -> list[tuple[int, int, float, dict[str, float]]]:
    return [(each.epoch, each.batch, each.rate, dict(each.losses)) for each in reports]


@pytest.fixture(scope="module")
def straight(_one_thread: None) -> tuple[Trainer, list[Report]]:
    """A training that nothing stopped."""
    training = trainer()
    return training, list(training.run())


def test_a_training_that_was_stopped_goes_on_bit_by_bit(
    straight: tuple[Trainer, list[Report]], tmp_path: Path
) -> None:
    training, reports = straight
    stopped = trainer()
    before = curve(list(islice(stopped.run(), 7)))
    save(stopped.state(), tmp_path / "state.pt")
    again = trainer(seed=1)
    again.restore(read(tmp_path / "state.pt"))
    assert before + curve(list(again.run())) == curve(reports)
    assert again.done
    for part in ("generator", "discriminator"):
        ours, theirs = (getattr(each, part).state_dict() for each in (again, training))
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_every_third_batch_is_the_discriminator_s(
    straight: tuple[Trainer, list[Report]],
) -> None:
    training, reports = straight
    assert [(each.epoch, each.batch) for each in reports] == [
        (epoch, batch) for epoch in range(2) for batch in range(5)
    ]
    of_generator = {"pixel", "feature_reconstruction", "feature_consistency", "adversarial"}
    for report in reports:
        expected = {"discriminator"} if report.batch in (0, 3) else of_generator
        assert set(report.losses) == expected
    for adam, steps in (("generator_adam", 6), ("discriminator_adam", 4)):
        assert {state["step"].item() for state in getattr(training, adam).state.values()} == {steps}


def test_losses_without_a_weight_are_left_out_and_with_theirs_the_discriminator() -> None:
    stage = replace(SMALL, epochs=1, features=0.0, adversarial=0.0, gradient=0.2)
    training = trainer(stage)
    before = [value.clone() for value in training.discriminator.state_dict().values()]
    assert {tuple(each.losses) for each in training.run()} == {("pixel", "gradient")}
    after = training.discriminator.state_dict().values()
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))


def test_the_published_rates(straight: tuple[Trainer, list[Report]]) -> None:
    assert {RECONSTRUCTION.rate_at(epoch) for epoch in range(200)} == {1e-3}
    rates = [FINETUNE.rate_at(epoch) for epoch in (0, 49, 50, 100, 199)]
    assert rates == [2e-3, 2e-3, 1e-3, 5e-4, 2.5e-4]
    training, reports = straight
    assert [each.rate for each in reports] == [2e-3] * 5 + [1e-3] * 5
    assert training.generator_adam.param_groups[0]["lr"] == 1e-3
    assert training.discriminator_adam.param_groups[0]["lr"] == 1e-4


def test_it_learns() -> None:
    stage = replace(RECONSTRUCTION, batch=3, epochs=5)
    totals = [
        sum(each.losses.values())
        for each in trainer(stage).run()
        if "discriminator" not in each.losses
    ]
    assert sum(totals[-3:]) < 0.5 * sum(totals[:3])


def test_a_loss_that_is_no_number_stops_before_it_harms() -> None:
    reports = (training := trainer(replace(SMALL, rate=1e30))).run()
    next(reports)
    networks = training.generator, training.discriminator
    before = [value.clone() for each in networks for value in each.state_dict().values()]
    with pytest.raises(PredictionFailed, match="epoch 0, batch 1: adversarial is nan"):
        next(reports)
    after = [value for each in networks for value in each.state_dict().values()]
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
    assert training.place == (0, 1)


def test_a_gradient_that_is_no_number_stops_too() -> None:
    class Steep(nn.Module):
        """A loss of 0 whose gradient is not finite."""

        def forward(self, generated: Tensor, target: Tensor) -> Tensor:
            return (generated - generated.detach()).sum().abs().sqrt()

    training = trainer(texture=Steep())
    with pytest.raises(PredictionFailed, match="batch 1: gradient norm is nan"):
        list(training.run())


def test_recomputing_changes_nothing_but_memory() -> None:
    plain, thrifty = (curve(list(islice(trainer(recompute=on).run(), 3))) for on in (False, True))
    assert thrifty == plain


def test_mixed_precision_is_near_full_precision() -> None:
    full, mixed = (list(islice(trainer(mixed=on).run(), 2))[1].losses for on in (False, True))
    assert mixed["pixel"] == pytest.approx(full["pixel"], rel=0.02)
    assert mixed != full


def test_a_savepoint_may_be_older_than_a_loss() -> None:
    state = trainer().state()
    del state["stage"]["gradient"]
    trainer().restore(state)
    with pytest.raises(InvalidRequest, match="of another stage"):
        trainer(replace(SMALL, gradient=0.2)).restore(state)


def test_a_savepoint_of_another_training_is_refused() -> None:
    state = trainer().state()
    with pytest.raises(InvalidRequest, match="of another stage"):
        trainer(replace(SMALL, rate=1e-3)).restore(state)


def test_a_save_that_is_cut_off_leaves_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "state.pt"
    save({"place": (1, 2)}, file)
    with pytest.raises(AttributeError):
        save({"place": lambda: 0}, file)
    assert read(file) == {"place": (1, 2)}
