"""Both passes' losses against the values that the published programs gave."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tests.formula import formula_weights
from workers.compositing import scene
from workers.compositing.evaluation import Evaluated, Evaluation
from workers.compositing.lbfgs import Lbfgs
from workers.compositing.objectives import Extractor, Insertion, Objective, Refinement
from workers.compositing.scene import Pieces, Scene
from workers.compositing.variants import VARIANTS, Pass
from workers.nets.resnet import ResNet50
from workers.nets.vgg import Vgg

DATA = Path("tests/data/compositing")
REFERENCE = json.loads((DATA / "composite_reference.json").read_text())
SAMPLE = {
    "source": Image.open(DATA / "source.png").convert("RGBA"),
    "mask": Image.open(DATA / "mask.png").convert("RGBA"),
    "target": Image.open(DATA / "target.png"),
    "x": 30,
    "y": 36,
}
FIRST_IMAGE = np.sin(12.9898 * np.arange(3 * 64 * 64) + 0.5).astype(np.float32)


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    networks = {"vgg16": Vgg(16, last=22), "resnet50": ResNet50()}
    for network in networks.values():
        formula_weights(network)
    return networks


def insertion(networks: dict[str, nn.Module], goal: Pass, **sample: Any) -> Insertion:
    extract = Extractor(networks[goal.features.network], goal.features, bf16=False)
    return Insertion(goal, extract, [Scene.of(Pieces.of({**SAMPLE, **sample}), "cpu")])


def descend(objective: Objective, moves: int) -> tuple[Tensor, list[Evaluated]]:
    """The image after so many moves, and what each one before it gave."""
    optimizer = Lbfgs.start(torch.from_numpy(FIRST_IMAGE.copy()), 2 * moves)
    evaluate = Evaluation(objective, optimizer.point.view(1, 3, 64, 64))
    found = []
    while len(found) < moves:
        before = optimizer.point.clone()
        (evaluated,) = evaluate()
        optimizer.tell(evaluated.loss, evaluated.gradient.flatten())
        if not torch.equal(optimizer.point, before):
            found.append(evaluated)
    return optimizer.point.view(1, 3, 64, 64), found


def wanted(
    rows: list[dict[str, float]], evaluation: int, tolerance: float, **rounded: float
) -> Any:
    """The reference's terms; some of them are rounded to four digits there."""
    (row,) = (row for row in rows if row["evaluation"] == evaluation)
    return {
        term: pytest.approx(value, rel=rounded.get(term, tolerance))
        for term, value in row.items()
        if term != "evaluation"
    }


def test_the_papers_first_pass(networks: dict[str, nn.Module]) -> None:
    rows = REFERENCE["paper_vgg16"]["first_pass"]
    _, found = descend(insertion(networks, VARIANTS["paper"].first), len(rows))
    assert len(found) == 8
    for row in rows:
        number = row["evaluation"]
        tolerance = 1e-5 if number < 2 else 1e-3
        assert found[number].terms == wanted(rows, number, tolerance)


def test_both_passes_of_the_variant_seed(networks: dict[str, nn.Module]) -> None:
    """Its reference evaluated one image twice: the first move changed the loss, 3·10¹⁰, by no more
    than its last bit, and so ended a step. It went on from the image after the next one."""
    reference, variant = REFERENCE["seed_resnet50"], VARIANTS["seed"]
    image, found = descend(insertion(networks, variant.first), 21)
    for evaluation, number, tolerance in ((0, 0, 1e-5), (10, 9, 1e-4)):  # it grows as they move on
        terms = wanted(reference["first_pass"], evaluation, tolerance, tv=1e-3)
        assert found[number].terms == terms

    place = Scene.of(Pieces.of(SAMPLE), "cpu")
    start = scene.tensor(scene.picture(place.blend(image)), "cpu")
    extract = Extractor(networks["vgg16"], variant.second.features, bf16=False)
    refinement = Refinement(variant.second, extract, place.target, place.target)
    (first,) = Evaluation(refinement, start)()
    assert first.terms == wanted(reference["second_pass"], 0, 1e-5, tv=1e-3)


def test_samples_of_one_batch_keep_their_own_terms(networks: dict[str, nn.Module]) -> None:
    """As a GPU evaluates them; there the sums of a batch may be rounded in another way."""
    goal, apart = VARIANTS["mended"].first, []
    for x, seed in ((30, 1), (20, 2)):
        image = torch.randn((1, 3, 64, 64), generator=torch.Generator().manual_seed(seed))
        apart.append((Scene.of(Pieces.of({**SAMPLE, "x": x}), "cpu"), image))
    extract = Extractor(networks["vgg16"], goal.features, bf16=False)
    together = Evaluation(
        Insertion(goal, extract, [place for place, _ in apart]),
        torch.cat([image for _, image in apart]),
    )()
    for found, (place, image) in zip(together, apart, strict=True):
        (alone,) = Evaluation(Insertion(goal, extract, [place]), image)()
        assert found.terms == pytest.approx(alone.terms, rel=1e-5)
        assert torch.allclose(found.gradient, alone.gradient, rtol=1e-3, atol=1e-2)


def test_in_bfloat16_losses_and_gradient_stay_near(networks: dict[str, nn.Module]) -> None:
    goal, place = VARIANTS["mended"].first, Scene.of(Pieces.of(SAMPLE), "cpu")
    image = torch.from_numpy(FIRST_IMAGE.copy()).view(1, 3, 64, 64)
    exact, near = (
        Evaluation(
            Insertion(goal, Extractor(networks["vgg16"], goal.features, bf16), [place]), image
        )()[0]
        for bf16 in (False, True)
    )
    assert near.terms == pytest.approx(exact.terms, rel=0.02)
    assert near.terms["content"] != exact.terms["content"]
    assert near.terms["gradient"] == exact.terms["gradient"]  # no network has a part in it
    angle = torch.cosine_similarity(near.gradient.flatten(), exact.gradient.flatten(), dim=0)
    assert angle > 0.999
