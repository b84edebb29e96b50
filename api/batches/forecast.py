"""What is to be expected of a batch, by what was measured; and how right that was before."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

from api.batch_schemas import Forecast, ModelForecast, Outcome, StartForecast, Truth
from api.batches.planning import look, signature
from api.batches.schedule import Schedule
from api.batches.shards import source_lines
from api.planning import Checked
from api.services import Services
from shared.batches import BatchRecord, BatchStatus

CHUNKS = 4  # that are looked at, evenly spread over what is left
HERE = "measured in this batch"
BEFORE = "measured for the same kind and models before"
NONE = "none yet"


@dataclass(frozen=True)
class Work:
    """What a sample of the items asks for: how many by signature, and the models of their steps
    as (family, model)."""

    items: Counter[str]
    models: frozenset[tuple[str, str]]

    @property
    def commonest(self) -> str:
        """The signature of most items; empty where there are none."""
        return next((name for name, _ in self.items.most_common(1)), "")


@dataclass(frozen=True)
class Expected:
    """Items that are left, items a second, seconds of work, and the end (s since the epoch)."""

    left: int | None
    rate: float | None
    basis: Any
    run_s: float | None
    finish: float | None


def forecast(services: Services, batch: BatchRecord, now_ms: int) -> Forecast:
    """Raises StorageUnavailable, LedgerUnavailable; NotFound where the batch was erased."""
    work = _work(services, batch)
    outcomes = services.ledger.outcomes(work.commonest)
    expected = _expected(services, batch, work, now_ms)
    left, finish = expected.left, expected.finish
    models = list(_models(services, work))
    started = batch.notes.get("forecast")
    return Forecast(
        object="batch.forecast",
        batch_id=batch.id,
        status=batch.status,
        items=batch.counts.total,
        items_left=left,
        rate=_rounded(expected.rate),
        basis=expected.basis,
        run_s=_rounded(expected.run_s),
        seconds=None if finish is None else round(finish - now_ms / 1000, 1),
        finish_at=None if finish is None else int(finish),
        in_time=None
        if finish is None or batch.deadline_at is None
        else finish * 1000 <= batch.deadline_at,
        models=models,
        model_loads=sum(not model.held for model in models),
        read_bytes=_share(batch.bytes, left, batch.counts.total),
        write_bytes=_written(batch, outcomes, left),
        at_start=StartForecast.model_validate(started["told"]) if started else None,
        truth=_truth(outcomes),
    )


def at_start(services: Services, batch: BatchRecord, now_ms: int) -> dict[str, Any]:
    """What the batch's notes keep of the forecast with which it begins. Raises as `forecast`."""
    work = _work(services, batch)
    expected = _expected(services, batch, work, now_ms)
    told = {
        "made_at": now_ms // 1000,
        "rate": _rounded(expected.rate),
        "run_s": _rounded(expected.run_s),
        "finish_at": None if expected.finish is None else int(expected.finish),
    }
    return {"signature": work.commonest, "told": told}


def tell_outcome(services: Services, batch: BatchRecord) -> None:
    """Let later forecasts know what came of an ended batch's. One that was not run as a whole,
    or not in one go, says nothing of them. Raises LedgerUnavailable."""
    started, notes = batch.notes.get("forecast"), batch.notes
    whole = batch.status is BatchStatus.COMPLETED and not batch.retries
    if started and whole and notes.get("ran") and not notes.get("reused"):
        outcome = {
            "batch_id": batch.id,
            "items": notes["ran"],
            "forecast_s": started["told"]["run_s"],
            "took_s": notes["run_ms"] / 1000,
            "written": notes["written"],
        }
        services.ledger.note_outcome(started["signature"], outcome)


def ended_here(batch: BatchRecord) -> int:
    """How many items ran, a retry counting again, or were taken over from earlier batches."""
    return batch.notes.get("ran", 0) + batch.notes.get("reused", 0)


def _work(services: Services, batch: BatchRecord) -> Work:
    items: Counter[str] = Counter()
    models: set[tuple[str, str]] = set()
    for chunk in _spread(batch):
        for checked in look(services, batch, source_lines(services.store, batch.id, chunk)):
            if isinstance(checked, Checked):
                _, steps = checked.planned({})
                items[signature(checked.kind.name, steps)] += 1
                models |= {(step.family, step.model) for step in steps}
    return Work(items, frozenset(models))


def _spread(batch: BatchRecord) -> list[int]:
    chunks = batch.chunks or 0
    first = batch.next_chunk if batch.next_chunk < chunks else 0
    step = max((chunks - first) / CHUNKS, 1)
    return [first + int(step * n) for n in range(min(CHUNKS, chunks - first))]


def _expected(services: Services, batch: BatchRecord, work: Work, now_ms: int) -> Expected:
    left, (rate, basis) = _left(batch), _rate(services, batch, work)
    run_s = left / rate if rate and left is not None else None
    return Expected(left, rate, basis, run_s, _finish(batch, run_s, now_ms))


def _left(batch: BatchRecord) -> int | None:
    counts = batch.counts
    if counts.total is None:
        return None
    if batch.status.terminal or batch.status is BatchStatus.FINALIZING:
        return 0
    # Which failures of a retry are done again already, the ledger does not say.
    again = counts.failed if batch.redo else 0
    return counts.total - counts.completed - counts.failed + again


def _rate(services: Services, batch: BatchRecord, work: Work) -> tuple[float | None, Any]:
    """Items a second, and how that is known."""
    done, run_ms = ended_here(batch), batch.notes.get("run_ms")
    if done and run_ms:
        return done * 1000 / run_ms, HERE
    paces = {name: services.ledger.pace(name) for name in work.items}
    known = {name: pace for name, pace in paces.items() if pace}
    items = sum(work.items[name] for name in known)
    ms = sum(work.items[name] * pace.ms / pace.items for name, pace in known.items())
    return (items * 1000 / ms, BEFORE) if ms else (None, NONE)


def _finish(batch: BatchRecord, run_s: float | None, now_ms: int) -> float | None:
    """Seconds since the epoch."""
    if run_s is None or batch.status.terminal:
        return None
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    finish = Schedule.of(batch.request).finish(now, timedelta(seconds=run_s))
    return None if finish is None else finish.timestamp()


def _models(services: Services, work: Work) -> Iterator[ModelForecast]:
    workers = services.ledger.workers()
    for family, model in sorted(work.models):
        serving = [w for w in workers if w.family == family and model in w.models]
        yield ModelForecast(
            family=family,
            model=model,
            served=bool(serving),
            held=any(model in worker.held for worker in serving),
        )


def _written(
    batch: BatchRecord, outcomes: Iterable[dict[str, Any]], left: int | None
) -> int | None:
    """By what the batch's own items left, else those of earlier batches."""
    if done := ended_here(batch):
        return _share(batch.notes["written"], left, done)
    earlier = [(outcome["written"], outcome["items"]) for outcome in outcomes]
    written, items = map(sum, zip(*earlier, strict=True)) if earlier else (None, None)
    return _share(written, left, items)


def _share(whole: int | None, part: int | None, of: int | None) -> int | None:
    return round(whole * part / of) if whole is not None and part is not None and of else None


def _truth(outcomes: Iterable[dict[str, Any]]) -> Truth:
    earlier = []
    for outcome in outcomes:
        told = {name: outcome[name] for name in ("batch_id", "items", "forecast_s", "took_s")}
        foretold = outcome["forecast_s"]
        ratio = round(outcome["took_s"] / foretold, 3) if foretold else None
        earlier.append(Outcome(**told, ratio=ratio))
    ratios = [outcome.ratio for outcome in earlier if outcome.ratio is not None]
    return Truth(median_ratio=round(median(ratios), 3) if ratios else None, earlier=earlier)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
