"""The loss of each pass, for several samples at once.

What stays the same over a pass is computed when the objective is made: the target's style, the
content to keep, the Laplacian to reach. Each sample's terms are computed from its own slice.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import reduce
from operator import add

import torch
from torch import Tensor, nn

from workers.compositing.losses import difference, gram, laplacian, total_variation
from workers.compositing.scene import Scene
from workers.compositing.variants import Features, Pass

Terms = dict[str, Tensor]  # a sample's, with their weights; 0-dimensional each


class Extractor:
    """A network as a function from pictures (n, 3, h, w) to features, in fp32 or bfloat16.

    The features that come out are fp32 in any case.
    """

    def __init__(self, network: nn.Module, features: Features, bf16: bool) -> None:
        device = next(network.parameters()).device
        self._network = network
        self._mean = torch.tensor(features.mean, device=device).view(1, 3, 1, 1)
        self._deviation = torch.tensor(features.deviation, device=device).view(1, 3, 1, 1)
        self._format = torch.channels_last if device.type == "cuda" else torch.contiguous_format
        self._autocast = torch.autocast(device.type, torch.bfloat16, bf16, cache_enabled=False)

    def __call__(self, pictures: Tensor, places: Sequence[int | str]) -> list[Tensor]:
        shifted = (pictures - self._mean) / self._deviation
        with self._autocast:
            found = self._network(shifted.contiguous(memory_format=self._format), places)
        return [each.float() for each in found]


class Objective(ABC):
    """A pass's loss."""

    def __init__(self, goal: Pass, extract: Extractor, targets: Tensor) -> None:
        self.goal = goal
        self._extract = extract
        with torch.no_grad():
            wanted = extract(targets, goal.features.style)
            self._grams = [[gram(sample) for sample in _samples(each)] for each in wanted]

    @abstractmethod
    def __call__(self, images: Tensor) -> list[Terms]:
        """The terms of each sample's loss for images (n, 3, h, w)."""

    def _style(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Each sample's style term, from the features at the places of style."""
        places = [
            [
                difference(gram(sample), wanted)
                for sample, wanted in zip(_samples(each), grams, strict=True)
            ]
            for each, grams in zip(features, self._grams, strict=True)
        ]
        shares = 1 if self.goal.style_sum else len(places)
        return [
            self.goal.style * (reduce(add, terms) / shares) for terms in zip(*places, strict=True)
        ]


class Insertion(Objective):
    """The first pass: the source goes into the target. The style is the whole image's, the other
    terms are the blend's."""

    def __init__(self, goal: Pass, extract: Extractor, scenes: Sequence[Scene]) -> None:
        super().__init__(goal, extract, torch.cat([scene.target for scene in scenes]))
        self._scenes = scenes
        with torch.no_grad():
            sources = torch.cat([scene.source * scene.mask for scene in scenes])
            (self._contents,) = extract(sources, [goal.features.content])

    def __call__(self, images: Tensor) -> list[Terms]:
        # In the order in which the published programs do it: so their sums are rounded alike.
        goal, scenes = self.goal, self._scenes
        blends = [scene.blend(image) for scene, image in zip(scenes, images.split(1), strict=True)]
        gradients = [
            goal.gradient * difference(laplacian(blend), scene.truth)
            for blend, scene in zip(blends, scenes, strict=True)
        ]
        styles = self._style(self._extract(images, goal.features.style))
        crops = torch.cat(
            [scene.crop(blend) * scene.mask for blend, scene in zip(blends, scenes, strict=True)]
        )
        (contents,) = self._extract(crops, [goal.features.content])
        return [
            {
                "gradient": gradient,
                "style": style,
                "content": goal.content * difference(content, wanted),
                "tv": goal.tv * total_variation(blend),
            }
            for gradient, style, content, wanted, blend in zip(
                gradients, styles, _samples(contents), _samples(self._contents), blends, strict=True
            )
        ]


class Refinement(Objective):
    """The second pass: the whole image takes on the target's style."""

    def __init__(self, goal: Pass, extract: Extractor, targets: Tensor, anchors: Tensor) -> None:
        """`anchors` are the pictures whose content is kept, if any is."""
        super().__init__(goal, extract, targets)
        self._places = list(goal.features.style)
        if goal.content:
            self._places = list(dict.fromkeys([*self._places, goal.features.content]))
            with torch.no_grad():
                (self._contents,) = extract(anchors, [goal.features.content])

    def __call__(self, images: Tensor) -> list[Terms]:
        goal = self.goal
        features = dict(zip(self._places, self._extract(images, self._places), strict=True))
        styles = self._style([features[place] for place in goal.features.style])
        terms: list[Terms] = [{"style": style} for style in styles]
        if goal.content:
            contents = _samples(features[goal.features.content])
            for mine, content, wanted in zip(
                terms, contents, _samples(self._contents), strict=True
            ):
                mine["content"] = goal.content * difference(content, wanted)
        if goal.tv:
            for mine, image in zip(terms, images.split(1), strict=True):
                mine["tv"] = goal.tv * total_variation(image)
        return terms


def _samples(features: Tensor) -> Sequence[Tensor]:
    """Each sample's (c, h, w). A single one is not cut out: its gradient would be copied."""
    return features.unbind() if len(features) > 1 else [features.squeeze(0)]
