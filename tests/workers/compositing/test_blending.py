"""Both passes of batches: company, reports, and what ends a sample."""

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from shared.errors import PredictionFailed
from tests.workers.compositing.small import SOURCE, TARGET, Listener, batch, sample, thin_vgg
from tests.workers.families import Recorder
from workers.compositing.blending import blend
from workers.compositing.scene import Pieces

Networks = dict[str, Any]


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> Networks:
    return {"vgg16": thin_vgg(monkeypatch)}


def blended(networks: Networks, *samples: dict[str, Any], **params: Any) -> list[Any]:
    return blend(batch(*samples, **params), networks, "cpu", Recorder())


def outcome(result: dict[str, Any]) -> tuple[bytes, ...]:
    pictures = (result[name].tobytes() for name in ("first_pass", "second_pass"))
    return (*pictures, *(result["files"][name] for name in sorted(result["files"])))


def test_a_result_does_not_depend_on_company_and_place(networks: Networks) -> None:
    alone = [outcome(blended(networks, sample(seed))[0]) for seed in range(3)]
    assert len(set(alone)) == 3
    for company in ([1, 0], [2, 1]):
        together = blended(networks, *(sample(seed) for seed in company))
        assert [outcome(result) for result in together] == [alone[seed] for seed in company]


def test_outside_the_mask_the_first_pass_keeps_the_target(networks: Networks) -> None:
    one = sample(1)
    (result,) = blended(networks, one)
    changed = np.any(np.asarray(result["first_pass"]) != np.asarray(one["target"]), axis=2)
    inside = np.zeros((TARGET, TARGET), bool)
    *_, top, left = Pieces.of(one)
    mask = np.asarray(one["mask"].convert("L")) > 0
    inside[top : top + SOURCE, left : left + SOURCE] = mask
    assert not changed[~inside].any()
    assert changed[inside].mean() > 0.95


def test_steps_are_reported_with_the_losses(networks: Networks) -> None:
    monitor = Listener()
    (result,) = blend(batch(sample(), steps=3, size=1), networks, "cpu", monitor)
    assert monitor.steps == [
        (3 * number + done, 6, f"{name} pass, evaluation {done} of 3")
        for number, name in enumerate(("first", "second"))
        for done in (1, 2, 3)
    ]
    heard = [metrics for (metrics,) in monitor.metrics]
    assert [metrics["evaluation"] for metrics in heard] == [1, 2, 3, 1, 2, 3]
    assert heard[2] == {"evaluation": 3, **result["losses"]["first_pass"]}
    assert heard[5] == {"evaluation": 3, **result["losses"]["second_pass"]}
    assert list(heard[0]) == ["evaluation", "gradient", "style", "content", "tv"]
    assert list(heard[5]) == ["evaluation", "style", "content"]


@pytest.mark.parametrize(("variant", "steps"), [("mended", 25), ("paper", 5)])
def test_both_passes_bring_their_losses_down(networks: Networks, variant: str, steps: int) -> None:
    full = sample(1)["target"].resize((512, 512))
    monitor = Listener()
    one = sample(1, target_full=full) if variant == "paper" else sample(1)
    (result,) = blend(batch(one, variant=variant, steps=steps), networks, "cpu", monitor)
    for start, name in ((0, "first_pass"), (steps, "second_pass")):
        first = {**monitor.metrics[start][0], "evaluation": 0}
        assert sum(result["losses"][name].values()) < sum(first.values())
    assert result["second_pass"].width == (512 if variant == "paper" else TARGET)


def test_a_pass_ends_where_nothing_moves_any_more(networks: Networks) -> None:
    """Where there is no style to reach and no content to keep, the second pass has no work."""
    for parameter in networks["vgg16"].parameters():
        parameter.zero_()
    monitor = Recorder()
    (result,) = blend(batch(sample(), size=1), networks, "cpu", monitor)
    *first, last = monitor.steps
    assert len(first) == 25
    assert last == (50, 50, "second pass, evaluation 1 of 25")
    assert result["second_pass"] == result["first_pass"]


def test_previews_show_every_sample(networks: Networks) -> None:
    class Viewer(Recorder):
        shown: ClassVar[list[list[Image.Image]]] = []

        def preview_due(self) -> bool:
            return len(self.steps) in (1, 9)

        def preview(self, pictures: Any) -> None:
            self.shown.append(list(pictures))

    samples = [sample(1), sample(2)]
    results = blend(batch(*samples, steps=5), networks, "cpu", Viewer())
    early, late = Viewer.shown
    for place, one in enumerate(samples):
        assert early[place].size == (TARGET, TARGET)
        assert early[place].getpixel((0, 0)) == one["target"].getpixel((0, 0))
        assert outcome(results[place])[1] == late[place].tobytes()


def test_a_canceled_batch_stops_at_once(networks: Networks) -> None:
    monitor = Recorder(most=7)
    assert blend(batch(sample(), steps=5), networks, "cpu", monitor) == []
    assert len(monitor.steps) == 7


def test_a_loss_that_is_no_number_fails_its_own_sample_alone(networks: Networks) -> None:
    def no_number(layer: Any, pictures: Any, features: torch.Tensor) -> torch.Tensor:
        return features * float("nan") if pictures[0].min() > 200 else features

    networks["vgg16"].features[0].register_forward_hook(no_number)
    good, bad = sample(1), sample(2, target=Image.new("RGB", (TARGET, TARGET), "white"))
    (alone,) = blended(networks, good)
    failure, result = blended(networks, bad, good)
    assert isinstance(failure, PredictionFailed)
    assert failure.message == "first pass, evaluation 1 of 25: the style loss is nan"
    assert outcome(result) == outcome(alone)
    (only,) = blended(networks, bad)
    assert isinstance(only, PredictionFailed)
