"""The report on a batch: one page of HTML that needs no network and runs no script.

What is held of the batch is a bounded sample of its items and its keeper's notes. Everything is
escaped by the template engine.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import pairwise
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from api.batches.forecast import ended_here
from api.batches.samples import Sample, samples
from api.services import Services
from shared.batches import BatchRecord

SAMPLES = 36
WIDTH, HEIGHT = 720, 160  # of the curve, in units of its own
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_PAGES = Environment(
    loader=PackageLoader("api.batches"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Curve:
    """Items a second over time, as an SVG path under which lies what was done."""

    path: str
    top: float
    since: str
    until: str


def report(services: Services, batch: BatchRecord, now_ms: int) -> Iterator[str]:
    """The page, piece by piece. Raises StorageUnavailable, LedgerUnavailable, NotFound where the
    batch was erased."""
    some = list(samples(services, batch, SAMPLES))
    counts, notes, end = batch.counts, batch.notes, _end(batch)
    run_ms = notes.get("run_ms", 0)
    return _PAGES.get_template("report.html").generate(
        batch=batch,
        kind=(batch.request.get("job") or {}).get("kind") or batch.request.get("endpoint"),
        total=counts.total or 0,
        left=(counts.total or 0) - counts.completed - counts.failed,
        rate=ended_here(batch) * 1000 / run_ms if run_ms else None,
        run_s=run_ms / 1000,
        made_at=_shown(now_ms),
        created_at=_shown(batch.created_at),
        ended_at=_shown(end) if end else None,
        curve=_curve(batch, now_ms),
        examples=notes.get("examples", {}),
        samples=some,
        slowest=notes.get("slowest", []),
        models=_models(some),
        version=version("imagemill-server"),
        request=json.dumps(batch.request, indent=1, ensure_ascii=False),
        policy=POLICY,
    )


def _end(batch: BatchRecord) -> int | None:
    return batch.finalizing_at or batch.failed_at


def _shown(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _curve(batch: BatchRecord, now_ms: int) -> Curve | None:
    """None before anything is measured."""
    begin, counts = batch.in_progress_at, batch.counts
    points: Sequence[Any] = batch.notes.get("points", [])
    if begin is None or not points:
        return None
    last = [_end(batch) or now_ms, counts.completed, counts.failed]
    done = [(begin, 0), *((ms, good + bad) for ms, good, bad in [*points, last] if ms > begin)]
    rates = [
        (start, end, max(after - before, 0) * 1000 / (end - start))
        for (start, before), (end, after) in pairwise(done)
        if end > start
    ]
    top, until = max((rate for _, _, rate in rates), default=0.0), done[-1][0]
    if not top:
        return None
    corners = [f"M0 {HEIGHT}"]
    for start, end, rate in rates:
        y = HEIGHT * (1 - rate / top)
        corners += [f"L{_x(each, begin, until):.1f} {y:.1f}" for each in (start, end)]
    return Curve(" ".join([*corners, f"L{WIDTH} {HEIGHT} Z"]), top, _shown(begin), _shown(until))


def _x(ms: int, begin: int, until: int) -> float:
    return WIDTH * (ms - begin) / (until - begin)


def _models(some: Sequence[Sample]) -> list[tuple[str, str, str, str, int]]:
    """Step, family, model, revision and batch class of what the sample's items went through."""
    return sorted(
        {
            (s["name"], s["family"], s["model"], s["revision"], s["batch_class"])
            for sample in some
            for s in sample.steps
            if s["revision"]  # it ran
        }
    )
