"""Every variant of the compositor over some of the samples, with its seam errors:
`python -m bench.composite_gallery [--size 256] [--steps 200] [--model hed]`.

Writes docs/images/compositing/<sample>.jpg and the part of docs/compositing.md between the
markers. The jobs are those that the API would make, run one after another by the predictor.
"""

import argparse
import io
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from bench.machine import machine
from bench.seams import seam_error
from deploy.composite_samples import Sample, drawn, photographs
from shared.contracts import ImageInput, Priority
from shared.images import decode
from shared.kinds.composite import CompositeInput, CompositeStage
from shared.models import ModelChoice, Registry
from shared.settings import load_settings
from workers.compositing.scene import Pieces
from workers.families.compositor import PREDICTOR
from workers.model_files import checkpoint, resolve_model
from workers.predictor import Batch, Metrics, Predictor, Unwatched

PAGE = Path("docs/compositing.md")
PICTURES = Path("docs/images/compositing")
BEGIN, END = "<!-- gallery -->", "<!-- end of the gallery -->"

# What is scored and shown: a result of a variant, by the name it has there.
COLUMNS = {
    "alpha": ("alpha", "composite"),
    "poisson": ("poisson", "composite"),
    "paper, first pass": ("paper", "first_pass"),
    "paper": ("paper", "second_pass"),
    "seed, first pass": ("seed", "first_pass"),
    "seed": ("seed", "second_pass"),
    "mended": ("mended", "second_pass"),
}
SAMPLES = ("cat-in-cup", "balloon-hard", "eye-as-planet")
SHOWN = ("alpha", "poisson", "paper, first pass", "paper", "seed", "mended")
PANEL, GAP, LABEL = 256, 4, 20  # pixels
SEED = 0


class Progress(Unwatched):
    """A monitor that only says, once in a while, how far it is."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._said = time.monotonic()

    def step(
        self, done: int, total: int, message: str = "", metrics: Sequence[Metrics] = ()
    ) -> bool:
        if time.monotonic() - self._said > 10:
            self._said = time.monotonic()
            print(f"  {self._name}: {message}", flush=True)
        return True


@dataclass(frozen=True)
class Gallery:
    """The settings that all its jobs share, and the predictor that runs them."""

    predictor: Predictor
    models: ModelChoice
    size: int
    steps: int

    def job(self, sample: Sample, variant: str) -> Batch:
        """The one-sample batch that a worker would make of the job."""
        pictures = {"source": sample.source, "mask": sample.mask, "target": sample.target}
        fields: dict[str, Any] = {name: name for name, picture in pictures.items() if picture}
        fields |= {"variant": variant, "steps": self.steps, "seed": SEED}
        fields |= sample.placed(self.size)
        stage = CompositeStage(CompositeInput(**fields))
        step = stage.plan(self.models)
        [data] = (each.data for each in stage.samples(step, {}))
        decoded = {
            name: _decoded(pictures[value.reference], value)
            for name, value in data.items()
            if isinstance(value, ImageInput)
        }
        return Batch(step.model, step.params, 1, [{**data, **decoded}])

    def results(
        self, sample: Sample, columns: Mapping[str, tuple[str, str]] = COLUMNS
    ) -> dict[str, Image.Image]:
        """The sample's composites by column."""
        made: dict[str, Mapping[str, Any]] = {}
        for variant in dict.fromkeys(variant for variant, _ in columns.values()):
            name = f"{sample.name}, {variant}"
            began = time.monotonic()
            [result] = self.predictor.predict(self.job(sample, variant), Progress(name))
            if isinstance(result, Exception):
                raise result
            print(f"{name}: {time.monotonic() - began:.1f} s", flush=True)
            made[variant] = result
        return {column: made[variant][key] for column, (variant, key) in columns.items()}

    def errors(self, sample: Sample, results: Mapping[str, Image.Image]) -> dict[str, float]:
        """The seam error of each composite, made as large as the target where it is not."""
        [data] = self.job(sample, "alpha").samples
        pieces = Pieces.of(data)
        size = pieces.target.size
        return {
            column: seam_error(picture.resize(size, Image.Resampling.BICUBIC), *pieces)
            for column, picture in results.items()
        }


def sheet(sample: Sample, results: Mapping[str, Image.Image]) -> Image.Image:
    """Two rows of labelled panels: source and target, then the composites."""
    pictures = {"source": sample.source.convert("RGB"), "target": sample.target}
    panels = list({**pictures, **{column: results[column] for column in SHOWN}}.items())
    across = len(panels) // 2
    page = Image.new("RGB", (across * (PANEL + GAP) - GAP, 2 * (PANEL + LABEL)), "white")
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(13)
    for number, (label, picture) in enumerate(panels):
        x, y = number % across * (PANEL + GAP), number // across * (PANEL + LABEL)
        draw.text((x + 2, y + LABEL // 2), label, "black", font, "lm")
        page.paste(picture.resize((PANEL, PANEL), Image.Resampling.BICUBIC), (x, y + LABEL))
    return page


def section(
    gallery: Gallery, samples: Iterable[Sample], errors: Mapping[str, Mapping[str, float]]
) -> str:
    """The page's part between the markers."""
    model = gallery.models.model("compositor").name
    facts = ", ".join(f"{name} {value}" for name, value in machine().items())
    lines = [
        f"Written by `python -m bench.composite_gallery --size {gallery.size} "
        f"--steps {gallery.steps} --model {model}`: {gallery.size} pixels a side, "
        f"{gallery.steps} evaluations a pass, seed {SEED}; {facts}.",
        "",
        f"| seam error, levels of 0 to 255 | {' | '.join(COLUMNS)} |",
        f"|---|{'---|' * len(COLUMNS)}",
    ]
    for sample in samples:
        cells = (f"{errors[sample.name][column]:.2f}" for column in COLUMNS)
        lines.append(f"| {sample.name} | {' | '.join(cells)} |")
    for sample in samples:
        lines += [
            "",
            f"![{sample.name} in every variant](images/compositing/{sample.name}.jpg)",
            "",
            f"*{sample.name} ({sample.credit})*",
        ]
    return "\n".join(lines)


def replaced(page: str, text: str) -> str:
    """The page with this text between its markers."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{text}\n{END}{tail}"


def _decoded(picture: Image.Image | None, wanted: ImageInput) -> Image.Image:
    """The picture as a worker would hand it over, had it been uploaded as PNG."""
    assert picture is not None
    png = io.BytesIO()
    picture.save(png, "PNG")
    pixels = picture.width * picture.height
    return decode(png.getvalue(), pixels, wanted.size, wanted.longest, wanted.alpha)


def opened(model: str, size: int, steps: int) -> Gallery:
    """A gallery whose networks are loaded. Raises ModelNotAvailable."""
    folder = load_settings().models_dir
    registry = Registry.load(folder)
    predictor = PREDICTOR("cpu")
    predictor.load(checkpoint(resolve_model(registry, "compositor", model), folder))
    models = ModelChoice(registry, "tiny", {"compositor": model}, Priority.BULK)
    return Gallery(predictor, models, size, steps)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.composite_gallery")
    parser.add_argument("--size", type=int, default=256, help="pixels a side")
    parser.add_argument("--steps", type=int, default=200, help="evaluations a pass")
    parser.add_argument("--model", default="hed", help="the compositor")
    options = parser.parse_args()

    gallery = opened(options.model, options.size, options.steps)
    PICTURES.mkdir(parents=True, exist_ok=True)
    samples = {sample.name: sample for sample in (*drawn(), *photographs())}
    errors: dict[str, dict[str, float]] = {}
    done = []
    for sample in (samples[name] for name in SAMPLES):
        results = gallery.results(sample)
        errors[sample.name] = gallery.errors(sample, results)
        sheet(sample, results).save(PICTURES / f"{sample.name}.jpg", quality=85, optimize=True)
        done.append(sample)  # it takes long, so each sample is shown as soon as it is there
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(replaced(page, section(gallery, done, errors)), encoding="utf-8")


if __name__ == "__main__":
    main()
