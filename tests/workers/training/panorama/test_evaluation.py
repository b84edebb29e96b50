from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from shared.model_store import CHECKPOINTS
from workers.nets.panorama import checkpoint
from workers.nets.panorama.config import TINY
from workers.nets.panorama.generator import Generator
from workers.training.panorama.evaluate import fills, generated, measured
from workers.training.panorama.evaluation import Evaluation, central
from workers.training.panorama.features import Features
from workers.training.panorama.landscapes import landscape
from workers.training.panorama.pictures import Landscapes
from workers.training.panorama.samples import tensor

PICTURES = Landscapes(range(10), TINY.size)
NEIGHBOURS = np.array([[(number + 3) % 10] for number in range(10)])


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(TINY).eval()


def evaluate(
    generator: Generator, neighbours: Any = NEIGHBOURS, both_orders: bool = False, seed: int = 1
) -> tuple[Evaluation, list[Tensor]]:
    """An evaluation by the colours of eight fields, and the pictures that it looked at: of each
    batch the real ones, then what was drawn in either order."""
    seen: list[Tensor] = []

    def colours(pictures: Tensor) -> Tensor:
        seen.append(pictures)
        return adaptive_avg_pool2d(pictures, (2, 4)).flatten(1)

    evaluation = Evaluation(
        generator, Features("colours", colours), PICTURES, neighbours, seed, both_orders
    )
    assert list(evaluation.run()) == [8, 10]
    return evaluation, seen


@pytest.fixture(scope="module")
def centred(generator: Generator) -> tuple[Evaluation, list[Tensor]]:
    return evaluate(generator, both_orders=True)


def test_random_crops_of_the_pictures_are_the_real_ones(
    centred: tuple[Evaluation, list[Tensor]],
) -> None:
    real = torch.cat([centred[1][0], centred[1][3]])
    starts = set()
    for number, crop in enumerate(real):
        windows = tensor([landscape(number, 64, 256)])[0].unfold(-1, 128, 1)
        [start] = [at for at in range(129) if torch.equal(windows[:, :, at], crop)]
        starts.add(start)
    assert len(starts) > 5


def test_what_is_drawn_between_neighbours_is_cut_from_its_centre(
    generator: Generator, centred: tuple[Evaluation, list[Tensor]]
) -> None:
    evaluation, seen = centred
    left, _, right = tensor([PICTURES.crop(2), PICTURES.crop(5)]).chunk(3, dim=-1)
    with torch.inference_mode():
        drawn, swapped = (generator(left, right.flip(0)).image * 255).round() / 255
    for ours, whole in ((seen[1][2], drawn), (seen[2][2], swapped)):
        torch.testing.assert_close(ours, whole[..., 32:160], atol=1.1 / 255, rtol=0)
    sheet = np.asarray(evaluation.sheet())
    assert sheet.shape == (4 * 64, 2 * 192, 3)
    torch.testing.assert_close(central(tensor([sheet[64:128, :192]]))[0], seen[1][1])
    about = evaluation.about()
    assert (about["real"], about["generated"], about["features"]) == (10, 20, "colours")
    expected = measured(PICTURES, fills(partial(generated, generator)))
    assert about["reconstruction"].keys() == expected.keys()
    for way, errors in about["reconstruction"].items():
        assert errors == pytest.approx(expected[way], rel=1e-4)


def test_any_other_picture_is_cropped_at_random_by_the_seed(
    generator: Generator, centred: tuple[Evaluation, list[Tensor]]
) -> None:
    first, again, other = (evaluate(generator, None, seed=seed)[1] for seed in (1, 1, 2))
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert not any(torch.equal(*pair) for pair in zip(first, other, strict=True))
    real, drawn = centred[1][:2]
    assert torch.equal(real, first[0])
    assert not torch.equal(drawn, first[1])


def test_what_a_trained_model_draws_is_nearer_to_the_real_ones(
    centred: tuple[Evaluation, list[Tensor]],
) -> None:
    trained = checkpoint.load(Generator, CHECKPOINTS / "tiny" / "panorama")
    nearer, untrained = evaluate(trained)[0].about(), centred[0].about()
    assert nearer["fid"] < untrained["fid"] / 2
    assert nearer["kid"]["mean"] < untrained["kid"]["mean"] / 2
    errors = [about["reconstruction"]["generator"] for about in (nearer, untrained)]
    assert errors[0]["pixel, middle"] < errors[1]["pixel, middle"] / 2
