import math

import numpy as np
import pytest
import torch
from torch import Tensor

from workers.training.panorama import losses


def some(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_pixel_is_the_published_formula() -> None:
    """[mse(L) + mse(R) + m·mse(M)].mean · batch, element by element."""
    image, left, right, middle = some(2, 3, 8, 24), some(2, 3, 8, 8), some(2, 3, 8, 8), 0.5
    true = torch.full((2, 3, 8, 8), middle)
    sigma = 8 / 4
    bell = [math.exp(-(i**2) / (2 * sigma**2)) for i in range(8)]
    weight = np.array([bell[i] + bell[7 - i] for i in range(8)])
    made = image.double().numpy()
    error = (made[..., :8] - left.numpy()) ** 2 + (made[..., 16:] - right.numpy()) ** 2
    error = error + weight * (made[..., 8:16] - middle) ** 2
    assert losses.pixel(image, left, right, true).item() == pytest.approx(error.mean() * 2)


def test_the_bell_is_as_published_at_full_size() -> None:
    weight = losses.seam_weight(256)
    assert weight[0].item() == pytest.approx(1 + math.exp(-(255**2) / (2 * 64**2)))
    assert weight[100].item() == pytest.approx(
        math.exp(-(100**2) / (2 * 64**2)) + math.exp(-(155**2) / (2 * 64**2))
    )
    assert torch.equal(weight, weight.flip(0))


def test_pixel_counts_the_middle_only_where_its_truth_is_known() -> None:
    image, sides, true = some(3, 3, 8, 24), some(3, 3, 8, 8), some(1, 3, 8, 8)
    first = losses.pixel(image[:1], sides[:1], sides[:1], true)
    others = losses.pixel(image[1:], sides[1:], sides[1:], true[:0])
    assert losses.pixel(image, sides, sides, true).item() == pytest.approx((first + others).item())
    changed = image.clone()
    changed[1:, :, :, 8:16] = 0
    assert torch.equal(
        losses.pixel(changed, sides, sides, true), losses.pixel(image, sides, sides, true)
    )


def test_gradient_counts_the_differences_of_the_middle_and_over_its_seams() -> None:
    image, left, right, true = (
        some(2, 3, 8, 24),
        some(3, 3, 8, 8),
        some(4, 3, 8, 8),
        some(1, 3, 8, 8),
    )
    wrong = (image[:1] - torch.cat([left[:1], true, right[:1]], -1)).numpy()
    weight = losses.seam_weight(8).numpy()
    down = abs(wrong[:, :, 1:, 8:16] - wrong[:, :, :-1, 8:16]) * weight
    across = abs(wrong[..., 8:17] - wrong[..., 7:16]) * np.append(weight[0], weight)
    found = losses.gradient(image, left, right, true).item()
    assert found == pytest.approx(down.mean() + across.mean())


def test_feature_reconstruction_teaches_the_middle_and_not_its_truth() -> None:
    made, true = some(2, 5, 4, 4).requires_grad_(), some(2, 5, 4, 4).add(1).requires_grad_()
    loss = losses.feature_reconstruction(made, true)
    assert loss.item() == pytest.approx(torch.nn.functional.mse_loss(made, true).item() * 2)
    loss.backward()
    assert made.grad is not None
    assert true.grad is None


def test_feature_consistency_adds_the_three_chunks() -> None:
    one, other = [some(2, 5, 4, 4 + i) for i in range(3)], [some(2, 5, 4, 4 + i) for i in range(3)]
    other = [chunk.roll(1, 1) for chunk in other]
    expected = sum(
        torch.nn.functional.mse_loss(a, b).item() for a, b in zip(one, other, strict=True)
    )
    assert losses.feature_consistency(one, other).item() == pytest.approx(expected * 2)
    assert losses.feature_consistency(one, one).item() == 0


def test_adversarial_losses_are_the_published_formulas() -> None:
    real, fake = [0.5, 2.0, -1.0], [0.25, 1.0, 3.0]
    mean_real, mean_fake = np.mean(real), np.mean(fake)
    discriminator = np.mean([(r - mean_fake - 1) ** 2 for r in real])
    discriminator += np.mean([(f - mean_real + 1) ** 2 for f in fake])
    generator = np.mean([(f - mean_real) ** 2 for f in fake])
    scores = torch.tensor(real)[:, None], torch.tensor(fake)[:, None]
    found = losses.adversarial_discriminator(*scores), losses.adversarial_generator(*scores)
    assert [each.item() for each in found] == pytest.approx([discriminator * 3, generator * 3])


def test_a_discriminator_that_tells_them_apart_has_nothing_to_learn() -> None:
    real, fake = torch.full((4, 1), 0.7), torch.full((4, 1), -0.3)
    assert losses.adversarial_discriminator(real, fake).item() == pytest.approx(0, abs=1e-6)
    assert losses.adversarial_generator(real, fake).item() == pytest.approx(4)
