"""What is measured of batches."""

import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.benchmark import Fact, Found, Row
from bench.bulk.devices import BATCH_S, busy_s
from bench.bulk.memory import Memory
from bench.bulk.service import Service, service, until
from bench.bulk.ways import BAD, Ways
from bench.paired import compare

PLOT = Path("docs/images/bulk-memory.svg")
PARTS = ("API", "keeper", "worker")
REDIS = ("ledger", "broker")


@dataclass(frozen=True)
class Sizes:
    """Pictures in a batch for the tiny model, in its long one, and for the device; pairs of runs
    of the tiny model, and of the device, which vary less; lines of the batch without pictures."""

    pictures: int = 6_000
    night: int = 40_000
    slow: int = 3_000
    pairs: int = 5
    slow_pairs: int = 3
    lines: int = 100_000


def run(sizes: Sizes) -> Iterator[Found]:
    """Everything. Raises AssertionError where the two ways' captions are not the same."""
    with tempfile.TemporaryDirectory() as name, service(Path(name) / "stack") as started:
        spans = Path(name) / "tiny"
        started.put_pictures("many", sizes.pictures)
        with started.worker("captioner", "captioner", spans):
            ways = Ways(started, "captioner", spans, "many", sizes.pictures)
            yield from beside_plain("tiny", ways, sizes.pairs)
            started.put_pictures("night", sizes.night)
            yield from one_night(started, spans, sizes.night)
        spans, device = Path(name) / "device", "bench.bulk.devices:Device"
        started.put_pictures("few", sizes.slow)
        started.put_pictures(BAD, sizes.slow, bad=0.01)
        with started.worker("captioner", device, spans):
            ways = Ways(started, device, spans, "few", sizes.slow)
            yield from beside_plain(f"device, {BATCH_S:g} s a batch", ways, sizes.slow_pairs)
            comparison = compare(ways.ours, ways.ours_with_bad, sizes.slow_pairs)["whole"]
            what = "1 % of the pictures broken (as ours), beside none (as plain)"
            yield Row(what, comparison, 0.98, "the same device")
        spans = Path(name) / "free"
        with started.worker("translator", "bench.bulk.devices:Free", spans) as pid:
            yield from many_lines(started, pid, sizes)


def beside_plain(what: str, ways: Ways, pairs: int) -> Iterator[Found]:
    comparison = compare(ways.plain, ways.ours, pairs)["whole"]
    how = f"plain: {ways.how.workers} workers, {ways.how.threads} threads"
    yield Row(f"{what}: {len(ways.keys):,} pictures", comparison, 0.95, f"equal captions; {how}")
    busy = statistics.median(ways.busy)
    yield Fact(f"{what}: the model's busy share of the batch's time", "≥ 0.95", f"{busy:.3f}")


def one_night(started: Service, spans: Path, pictures: int) -> Iterator[Found]:
    """A long batch for the tiny model, once: with what comes before its first picture and after
    its last one."""
    began = time.monotonic()
    batch = started.captions("night")
    ended = time.monotonic()
    assert batch.counts.completed == pictures, batch
    share = busy_s(spans, began, ended) / (ended - began)
    what = f"tiny, one batch of {pictures:,} pictures"
    yield Fact(f"{what}: the model's busy share of its time", "≥ 0.95", f"{share:.3f}")
    yield Fact("the same: pictures a second", "–", f"{pictures / (ended - began):.0f}")


def many_lines(started: Service, worker: int, sizes: Sizes) -> Iterator[Found]:
    """A long batch of lines, with a model that takes no time."""
    stack, lines = started.stack, sizes.lines
    pids = {"API": stack.pids["web"], "keeper": stack.pids["batches"], "worker": worker}
    servers = {name: stack.info[f"{name}_url"] for name in REDIS}
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for number in range(lines):
            file.write(json.dumps(line(number)) + "\n")
        file.flush()
        with Memory(pids, servers) as memory:
            began = time.monotonic()
            batch = started.submit_lines(Path(file.name))
            until(lambda: started.client.batches.get(batch).status != "validating", "a start", 600)
            submitted = time.monotonic() - began
            ended = started.ended(batch)
            seconds = time.monotonic() - began
    assert ended.counts.completed == lines, ended
    if sizes == Sizes():
        memory.draw(PLOT)
    per = 100_000 / lines
    yield Fact(
        f"{lines:,} lines: from the upload to the first item", "≤ 60 s", f"{submitted:.1f} s"
    )
    yield Fact(
        "the same: items a second, with a model that takes no time", "–", f"{lines / seconds:.0f}"
    )
    used = per * memory.added(*REDIS)
    yield Fact("the same: memory of ledger and broker, for 100,000", "≤ 60 MB", f"{used:.1f} MB")
    for name in PARTS:
        early, late = memory.growth(name)
        what = f"the same: memory of the {name}, highest in the second and in the last fifth"
        yield Fact(what, "flat", f"{early:.0f} MB, {late:.0f} MB")


def line(number: int) -> dict[str, object]:
    """A request to translate a short text."""
    return {
        "custom_id": f"line-{number}",
        "method": "POST",
        "url": "/v1/jobs",
        "body": {"kind": "translate", "input": {"text": f"a large red circle, the {number}th"}},
    }
