"""The plain way and the compositor's: one result, to the last bit."""

import pytest
from safetensors.torch import save_file

from bench.composite import PASSES, Case, Ticking, straightforward
from bench.paired import Ticks
from workers.compositing.plot import loss_table
from workers.families.compositor import PREDICTOR
from workers.nets import vgg
from workers.nets.weights import randomise
from workers.predictor import Batch, Checkpoint


@pytest.fixture
def network(monkeypatch):
    """A VGG16 of random weights, thin enough for the paper's 512 pixels."""
    monkeypatch.setattr(vgg, "CHANNELS", (2, 4, 4, 4, 4))
    network = vgg.Vgg(16)
    randomise(network, seed=1)
    return network


@pytest.mark.parametrize(
    "case",
    [
        Case("mended", 64, 43),  # three steps of L-BFGS, the last one shorter
        Case("paper", 64, 21),
    ],
)
def test_the_results_are_equal_bit_for_bit(case, network, tmp_path):
    sample = case.sample()
    if case.variant == "paper":
        sample["target_full"] = sample["target"].resize((512, 512))
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    predictor = PREDICTOR("cpu")
    predictor.load(Checkpoint("thin", tmp_path, "", networks={"vgg16": tmp_path}))

    [ours] = predictor.predict(Batch("thin", case.params, 1, [sample]), Ticking(Ticks()))
    plain = straightforward(network, case, sample, Ticks())

    assert [ours[name] for name in PASSES] == [plain.first_pass, plain.second_pass]
    if case.variant == "paper":
        assert {row.pop("content") for row in plain.curves["second_pass"]} == {0}
    assert ours["files"]["losses.csv"] == loss_table(plain.curves)
