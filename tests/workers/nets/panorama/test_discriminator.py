import pytest
import torch

from tests.formula import formula_weights
from workers.nets.panorama.config import FULL, TINY
from workers.nets.panorama.discriminator import Discriminator


def test_it_is_the_published_one(keys, published):
    discriminator = Discriminator(FULL)
    tensors = discriminator.state_dict()
    assert [[name, list(tensor.shape)] for name, tensor in tensors.items()] == keys["discriminator"]
    assert sum(tensor.numel() for tensor in tensors.values()) == 3_149_761

    formula_weights(discriminator)
    with torch.inference_mode():
        score = discriminator(published.drawn.image)
    assert score.shape == (1, 1)
    assert score.item() == pytest.approx(published.wanted["discriminator_of_output"], abs=1e-3)


def test_a_score_does_not_depend_on_its_company():
    discriminator = Discriminator(TINY)
    panoramas = torch.rand(2, 3, 64, 192)
    with torch.inference_mode():
        together = discriminator(panoramas)
        alone = discriminator(panoramas[[0, 0]])
    assert together[0] != together[1]
    torch.testing.assert_close(alone, together[[0, 0]])
