"""What the commands print: results on stdout, everything else on stderr."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from imagemill.records import Job

# Kinds whose result is a text; in the others, texts are shown with a label.
TEXT_OUTPUT = {"caption": "caption", "translate": "translation", "ocr": "text", "vqa": "answer"}


def note(message: object) -> None:
    """One line on stderr."""
    print("imagemill:", " ".join(str(message).split()), file=sys.stderr)


def print_json(value: object) -> None:
    """One JSON value on one line of stdout."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on a terminal; lines with tabs and no heading in a pipe."""
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in texts:
            print("\t".join(row))
        return
    table = Table(*columns, box=None, pad_edge=False)
    for row in texts:
        table.add_row(*map(Text, row))
    Console().print(table)


def result_lines(job: Job) -> Iterator[str]:
    """The texts that a job made, one a line."""
    if job.kind in TEXT_OUTPUT:
        text = job.outputs.get(TEXT_OUTPUT[job.kind])
        yield from text if isinstance(text, list) else [text or ""]
    else:
        caption, prompt = job.outputs.get("caption"), job.outputs.get("prompt")
        for name, text in (("caption", caption), ("text", job.outputs.get("text"))):
            if text:
                yield f"{name}: {text}"
        if prompt and job.kind == "reimagine" and prompt != caption:
            yield f"prompt: {prompt}"
    translations: Mapping[str, Any] = job.outputs.get("translations") or {}
    for language, text in translations.items():
        yield f"{language}: {text}"
    if model := job.outputs.get("trained_model"):
        yield f"model: {model}"
    if job.kind == "panorama_evaluation":
        yield from measures(job.outputs)
    for verdict in job.outputs.get("safety") or ():
        if verdict.get("blocked"):
            yield f"blocked: {verdict.get('name')}"


def measures(outputs: Mapping[str, Any]) -> Iterator[str]:
    """What an evaluation of a panorama model found."""
    kid = outputs["kid"]
    yield f"model: {outputs['model']}"
    yield f"FID: {outputs['fid']:.4g}"
    yield f"KID: {kid['mean']:.4g} ± {kid['std']:.2g}"
    yield f"features: {outputs['features']}"
    yield f"pictures: {outputs['real']}, panoramas: {outputs['generated']}"
    for way, errors in outputs["reconstruction"].items():
        yield f"{way}: " + ", ".join(f"{name} {error:.4f}" for name, error in errors.items())


def describe(job: Job) -> str:
    """Where a job stands, in a few words."""
    if job.done:
        return job.status
    if job.status == "queued" and job.queue_position is not None:
        return f"queued, position {job.queue_position}"
    step = next((step.name for step in job.steps if step.status == "running"), None)
    words = [f"{step}:" if step else "", job.progress.message or ("" if step else job.status)]
    numbers = (
        f"{name} {value:.3g}"
        for name, value in job.progress.metrics.items()
        if name != "evaluation"  # which the message counts
    )
    return ", ".join(filter(None, (" ".join(filter(None, words)).rstrip(":"), *numbers)))


@contextmanager
def progress_of(label: str) -> Iterator[Callable[[Job], None]]:
    """Shows a job's progress on stderr: a bar on a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        yield LineProgress(label)
        return
    columns = (
        TextColumn("{task.fields[label]}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("", total=1.0, label=label)
        yield lambda job: bars.update(bar, completed=job.progress.value, description=describe(job))


class LineProgress:
    """One line per change of state or step, and per tenth of the way."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.shown: object = None

    def __call__(self, job: Job) -> None:
        steps = tuple(step.status for step in job.steps)
        tenth = int(job.progress.value * 10)
        if (job.status, steps, tenth) != self.shown:
            self.shown = job.status, steps, tenth
            line = f"{self.label} {job.progress.value:.0%} {describe(job)}"
            print(line, file=sys.stderr, flush=True)
