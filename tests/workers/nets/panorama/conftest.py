import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.formula import formula_weights, image
from workers.nets.panorama.generator import Generator

DATA = Path("tests/data/panorama")


@pytest.fixture(scope="session")
def keys():
    """Names and shapes of the published weights: of the `generator` and the `discriminator`."""
    return json.loads((DATA / "panorama_state_dict_keys.json").read_text())


@pytest.fixture(scope="session")
def published():
    """What the published network makes of known weights and pictures: `wanted`, and ours: `drawn`.

    The full network takes a gigabyte, and some seconds for its weights.
    """
    with torch.device("meta"):
        generator = Generator().eval()
    generator.to_empty(device="cpu")
    formula_weights(generator)
    left, right = (
        torch.from_numpy(image(256, 256, phase)).float().permute(2, 0, 1)[None]
        for phase in (0.0, 1.7)
    )
    with torch.inference_mode():
        drawn = generator(left, right)
    wanted = json.loads((DATA / "panorama_reference.json").read_text())
    return SimpleNamespace(wanted=wanted, drawn=drawn)


@pytest.fixture
def pair():
    """Two batches of two small pictures each."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 2, 3, 64, 64, generator=generator).unbind()
