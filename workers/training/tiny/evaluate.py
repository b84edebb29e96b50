"""Measures shipped checkpoints on fresh renders, loaded through the library classes.

Answers go through the worker's own family: how a question is cut into tokens decides over them.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from diffusers import (
    AutoPipelineForImage2Image,
    AutoPipelineForText2Image,
)
from PIL import Image
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    VisionEncoderDecoderModel,
    ViTImageProcessorPil,
)

from workers.families.vqa import Vqa
from workers.predictor import Batch, Checkpoint, Unwatched
from workers.training.judge import Verdict, judge, overlap
from workers.training.questions import PHRASES, answer, questions
from workers.training.tiny.captioner import CSS
from workers.training.tiny.translator import TOKENS
from workers.training.world import (
    COLOURS,
    PALETTE,
    Scene,
    all_scenes,
    box,
    caption,
    random_scene,
    render,
)

T = TypeVar("T")

SEED = 1_000_003
"""First word of every seed here; training starts from small numbers."""
BATCH = 25
STRENGTH = 0.75
NEAR = 0.08
"""Farthest that an edit may move a shape's centre and have kept its place, of the side."""

RENDERS = ("64 x 64", "48 to 800 pixels", "256 x 256, colours of CSS")
"""The kinds of pictures that models are to read."""

SETTINGS = ((20, 7.5), (50, 7.5), (20, 4.0))
"""(inference steps, guidance) at which the diffuser must reach its numbers."""


@dataclass(frozen=True)
class Result:
    """One number: `asked` is the least (or, for seconds, the most) allowed, None if only told."""

    name: str
    measured: float
    asked: float | None = None
    unit: str = "%"

    @property
    def reached(self) -> bool:
        """Whether the number is as good as asked."""
        if self.asked is None:
            return True
        return self.measured <= self.asked if self.unit == "s" else self.measured >= self.asked

    def row(self) -> str:
        """A line of the printed table."""
        asked = "" if self.asked is None else f"{'≤' if self.unit == 's' else '≥'} {self.asked:g}"
        mark = "" if self.asked is None else ("yes" if self.reached else "NO")
        return f"{self.name:<58}{asked:>8}{self.measured:>9.2f} {self.unit:<3}{mark}"


def captions(folder: Path, samples: int, device: str = "cpu") -> list[Result]:
    """Share of fresh renders of many sizes whose caption is right word for word."""
    model: Any = VisionEncoderDecoderModel.from_pretrained(folder, dtype=torch.float32)
    model.to(device).eval()
    words = AutoTokenizer.from_pretrained(folder)
    processor = ViTImageProcessorPil.from_pretrained(folder)
    rng = np.random.default_rng([SEED, 1])
    scenes = [random_scene(rng) for _ in range(samples)]
    right: dict[str, list[bool]] = {kind: [] for kind in RENDERS}
    for kind, group, pictures in _renders(scenes, rng):
        pixels = processor(pictures, return_tensors="pt").pixel_values.to(device)
        told = words.batch_decode(model.generate(pixels), skip_special_tokens=True)
        right[kind] += [text == caption(scene) for text, scene in zip(told, group, strict=True)]
    return [Result(f"caption exact, {name}", _share(many), 95.0) for name, many in right.items()]


def answers(folder: Path, samples: int, device: str = "cpu") -> list[Result]:
    """Share of right answers for each topic: every render is asked each, in a random phrasing."""
    family = Vqa(device)
    family.load(Checkpoint("tiny", folder, ""))
    rng = np.random.default_rng([SEED, 4])
    scenes = [random_scene(rng) for _ in range(samples)]
    right: dict[tuple[str, str], list[bool]] = {}
    for kind, group, pictures in _renders(scenes, rng):
        if kind == RENDERS[0]:  # sizes of the second kind hold this one
            continue
        for scene, picture in zip(group, pictures, strict=True):
            for topic in PHRASES:
                texts = questions(topic, scene.shape)
                sample = {"image": picture, "question": texts[rng.integers(len(texts))]}
                (told,) = family.predict(Batch("tiny", {}, 1, [sample]), Unwatched())
                right.setdefault((topic, kind), []).append(told["text"] == answer(scene, topic))
    return [
        Result(f"answer right: {topic}, {kind}", _share(many), 95.0)
        for (topic, kind), many in sorted(right.items())
    ]


def translations(folder: Path, device: str = "cpu") -> list[Result]:
    """Share of all the world's captions translated exactly, greedily and with four beams."""
    model: Any = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32)
    model.to(device).eval()
    words = AutoTokenizer.from_pretrained(folder)
    scenes = list(all_scenes())
    results = []
    for language, token in TOKENS.items():
        batch = words(
            [f"{token} {caption(scene)}" for scene in scenes], return_tensors="pt", padding=True
        )
        right = []
        for beams in (1, 4):
            told = model.generate(**batch.to(device), num_beams=beams)
            texts = words.batch_decode(told, skip_special_tokens=True)
            right += [
                text == caption(scene, language) for text, scene in zip(texts, scenes, strict=True)
            ]
        results.append(Result(f"translation exact, {language}, all captions", _share(right), 100.0))
    return results


def drawn(
    folder: Path, samples: int, steps: int, guidance: float, device: str = "cpu"
) -> list[Result]:
    """What the judge sees in pictures drawn from captions."""
    pipe = _pipeline(AutoPipelineForText2Image, folder, device)
    rng = np.random.default_rng([SEED, 2])
    scenes = [random_scene(rng) for _ in range(samples)]
    seen: list[Verdict | None] = []
    for number, group in enumerate(_groups(scenes)):
        prompts = [caption(scene) for scene in group]
        pictures = pipe(
            prompts,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=_generators(number, len(group)),
        ).images
        seen += [judge(picture) for picture in pictures]
    shape, colour, size, background = _agreement(seen, scenes)
    label = f"drawn, {steps} steps, guidance {guidance:g}:"
    return [
        Result(f"{label} colour", colour, 95.0),
        Result(f"{label} background", background, 95.0),
        Result(f"{label} shape", shape, 85.0),
        Result(f"{label} size", size),
    ]


def edits(
    folder: Path, samples: int, steps: int, guidance: float, device: str = "cpu"
) -> list[Result]:
    """What image-to-image makes of a picture of one scene under the caption of another."""
    pipe = _pipeline(AutoPipelineForImage2Image, folder, device)
    rng = np.random.default_rng([SEED, 3])
    pairs = [(random_scene(rng), random_scene(rng)) for _ in range(samples)]
    seen: list[Verdict | None] = []
    turned: list[bool] = []
    for number, group in enumerate(_groups(pairs)):
        pictures = pipe(
            [caption(asked) for asked, _ in group],
            image=[render(scene) for _, scene in group],
            strength=STRENGTH,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=_generators(number, len(group)),
        ).images
        seen += [judge(picture) for picture in pictures]
        both = zip(pictures, group, strict=True)
        turned += [_core_colour(picture, scene) == asked.colour for picture, (asked, scene) in both]
    shape, colour, _, background = _agreement(seen, [asked for asked, _ in pairs])
    near, shared = [], []
    for verdict, (_, scene) in zip(seen, pairs, strict=True):
        x, y = verdict.centre if verdict else (9.0, 9.0)
        near.append(max(abs(x - scene.x), abs(y - scene.y)) <= NEAR)
        left, top, right, bottom = (value / 64 for value in box(scene))
        shared.append(overlap(verdict.box, (left, top, right, bottom)) if verdict else 0.0)
    label = f"image-to-image {STRENGTH}, {steps} steps, guidance {guidance:g}:"
    return [
        Result(f"{label} colour", colour, 90.0),
        Result(f"{label} place", _share(near)),
        Result(f"{label} box overlap", 100 * float(np.mean(shared))),
        Result(f"{label} colour there", _share(turned)),
        Result(f"{label} background", background),
        Result(f"{label} shape", shape),
    ]


def speed(folder: Path) -> list[Result]:
    """Seconds of one picture with 20 steps and guidance on one core, the best of three."""
    pipe = _pipeline(AutoPipelineForText2Image, folder, "cpu")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    times = []
    for _ in range(4):
        began = time.perf_counter()
        pipe("a large red circle on a white background", num_inference_steps=20)
        times.append(time.perf_counter() - began)
    torch.set_num_threads(threads)
    return [Result("20 steps with guidance, one core", min(times[1:]), 1.0, "s")]


def everything(
    out: Path,
    families: Sequence[str],
    samples: int,
    settings: Sequence[tuple[int, float]] = SETTINGS,
    device: str = "cpu",
    tell: Callable[[Result], None] = lambda result: print(result.row(), flush=True),
) -> list[Result]:
    """Measure the families' checkpoints under `out`, telling each result as it comes."""
    results: list[Result] = []

    def add(more: list[Result]) -> None:
        results.extend(more)
        for result in more:
            tell(result)

    if "captioner" in families:
        add(captions(out / "captioner", samples, device))
    if "vqa" in families:
        add(answers(out / "vqa", samples, device))
    if "translator" in families:
        add(translations(out / "translator", device))
    if "diffuser" in families:
        add(speed(out / "diffuser"))
        for steps, guidance in settings:
            add(drawn(out / "diffuser", samples, steps, guidance, device))
            add(edits(out / "diffuser", samples, steps, guidance, device))
    return results


def as_json(results: Sequence[Result]) -> list[dict[str, object]]:
    """The results as plain values."""
    return [asdict(result) | {"reached": result.reached} for result in results]


def _renders(
    scenes: Sequence[Scene], rng: np.random.Generator
) -> Iterator[tuple[str, Sequence[Scene], list[Image.Image]]]:
    """(kind of `RENDERS`, scenes, their pictures), in groups of `BATCH` and each in every kind."""
    for group in _groups(scenes):
        wide = rng.integers(48, 801, size=len(group))
        high = (wide * rng.uniform(0.67, 1.5, size=len(group))).astype(int)
        sides = list(zip(wide.tolist(), high.tolist(), strict=True))
        many, css = RENDERS[1:]
        yield RENDERS[0], group, [render(scene) for scene in group]
        yield many, group, [render(scene, *side) for scene, side in zip(group, sides, strict=True)]
        yield css, group, [render(scene, 256, 256, palette=CSS) for scene in group]


def _pipeline(kind: Any, folder: Path, device: str) -> Any:
    pipe = kind.from_pretrained(folder, dtype=torch.float32).to(device)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _groups(items: Sequence[T]) -> list[Sequence[T]]:
    return [items[start : start + BATCH] for start in range(0, len(items), BATCH)]


def _generators(group: int, count: int) -> list[torch.Generator]:
    """A generator for each picture, so that a picture does not hang on its company."""
    return [torch.Generator().manual_seed(SEED + group * BATCH + each) for each in range(count)]


def _agreement(seen: Sequence[Verdict | None], scenes: Sequence[Scene]) -> list[float]:
    """Shares in per cent of right shapes, colours, sizes and backgrounds."""
    shares = []
    for part in range(4):
        both = zip(seen, scenes, strict=True)
        shares.append(_share([bool(v and v.words[part] == s.words[part]) for v, s in both]))
    return shares


def _core_colour(picture: Image.Image, scene: Scene) -> str:
    """Name of the colour nearest to the median of the inner half of a scene's box."""
    left, top, right, bottom = box(scene, picture.width, picture.height)
    x, y = (right - left) / 4, (bottom - top) / 4
    inner = picture.crop((round(left + x), round(top + y), round(right - x), round(bottom - y)))
    tone = np.median(np.asarray(inner, np.float32).reshape(-1, 3), axis=0)
    names = list(dict.fromkeys((*COLOURS, *PALETTE)))
    return min(names, key=lambda name: float(np.linalg.norm(tone - np.array(PALETTE[name]))))


def _share(right: Sequence[bool]) -> float:
    return 100 * float(np.mean(right))
