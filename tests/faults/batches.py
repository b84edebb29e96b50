"""A batch of requests whose outcomes are known, and what must be true of it once it has ended."""

import hashlib
import io
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
from PIL import Image

from shared.batches import BatchRecord, BatchStatus
from shared.errors import LedgerUnavailable
from shared.ledger.inspect import index_errors
from tests.faults.cluster import Cluster
from tests.faults.load import Document, generate, translate
from tests.faults.oracle import UNDECIDED, Findings
from tests.faults.scripted import answer, draw
from tests.waiting import PATIENCE_S

FINALIZING, COMPLETED = BatchStatus.FINALIZING, BatchStatus.COMPLETED
BAD = "no_such_kind", "duplicate", "no_json"


@dataclass(frozen=True)
class Line:
    """A line of the file, and what is wrong with it, if anything."""

    text: str
    custom_id: str | None
    body: Document
    bad: str = ""


def lines_of(count: int, chance: random.Random) -> list[Line]:
    """Texts to translate, a picture to draw in every sixteenth line, and a bad one in a hundred."""
    lines: list[Line] = []
    for number in range(count):
        bad = chance.choice(BAD) if number and chance.random() < 0.01 else ""
        custom_id = lines[0].custom_id if bad == "duplicate" else f"item-{number}"
        body = generate(f"prompt {number}", steps=1) if number % 16 == 0 else translate(f"{number}")
        if bad == "no_such_kind":
            body["kind"] = "none"
        text = json.dumps(
            {"custom_id": custom_id, "method": "POST", "url": "/v1/jobs", "body": body}
        )
        if bad == "no_json":
            text, custom_id = text[:-1], None
        lines.append(Line(text, custom_id, body, bad))
    return lines


class BatchOracle:
    """Follows one batch on a cluster that does nothing else, and reads its results over HTTP."""

    def __init__(self, cluster: Cluster, lines: Sequence[Line]) -> None:
        """Creates it."""
        self._cluster = cluster
        self._lines = lines
        self._before = Counter(cluster.ledger.counters())
        self._http = httpx.Client(
            base_url=cluster.api_url, timeout=PATIENCE_S, follow_redirects=True
        )
        text = "".join(f"{line.text}\n" for line in lines)
        files = {"file": ("requests.jsonl", text.encode())}
        sent = self._http.post("/v1/files", files=files, data={"purpose": "batch"})
        body = {
            "input_file_id": sent.raise_for_status().json()["id"],
            "endpoint": "/v1/jobs",
            "completion_window": "1h",
        }
        created = self._http.post("/v1/batches", json=body)
        self.id: str = created.raise_for_status().json()["id"]

    def done(self) -> int:
        """How many items are known to have ended."""
        record = self._record()
        return record.counts.completed + record.counts.failed if record else 0

    def at_end(self) -> bool:
        """Whether nothing but its two files is left to be made, or these are, too."""
        record = self._record()
        return record is not None and record.status in (FINALIZING, COMPLETED)

    def ended(self) -> bool:
        """Whether the API says so, which is not waited for: it may have to be started first."""
        try:
            answer = self._http.get(f"/v1/batches/{self.id}", timeout=3)
        except httpx.TransportError:
            return False
        return answer.is_success and answer.json()["status"] == COMPLETED

    def check(self) -> Findings:
        """Compare the ended batch's two files, the ledger and S3 with what was asked."""
        found = Findings(jobs=len(self._lines))
        record = self._get(f"/v1/batches/{self.id}").json()
        results, errors = (
            [
                json.loads(line)
                for line in self._get(f"/v1/files/{name}/content").content.splitlines()
            ]
            for name in (record["output_file_id"], record["error_file_id"])
        )
        counts = {"total": len(self._lines), "completed": len(results), "failed": len(errors)}
        if record["request_counts"] != counts:
            found.wrong.append(f"{record['request_counts']}, but {counts}")
        self._check_numbers(found, results, errors)
        for line in errors:
            found.wrong += self._errors_of_bad(line)
        with ThreadPoolExecutor(4) as pool:
            for wrong in pool.map(self._errors_of_good, results):
                found.wrong += wrong
        found.wrong += self._left_over()
        counters = Counter(self._cluster.ledger.counters())
        counters.subtract(self._before)
        found.extra = sum(counters[name] for name in UNDECIDED)
        return found

    def _check_numbers(self, found: Findings, *files: Sequence[Document]) -> None:
        """Every item in one file, once, and each file in the order of the lines."""
        numbers = [[_number(line) for line in lines] for lines in files]
        seen = Counter(number for each in numbers for number in each)
        found.lost += [f"item {n}: in no file" for n in range(len(self._lines)) if n not in seen]
        found.doubled += [f"item {n}: {times} times" for n, times in seen.items() if times > 1]
        if any(each != sorted(each) for each in numbers):
            found.wrong.append("a file is not in the order of the input")

    def _errors_of_bad(self, line: Document) -> Iterator[str]:
        number = _number(line)
        asked, error = self._lines[number], line["error"]
        if not asked.bad or line["custom_id"] != asked.custom_id or error["line"] != number + 1:
            yield f"item {number}: {asked.bad or 'good'}, but {line}"

    def _errors_of_good(self, line: Document) -> list[str]:
        """The result is that of its own request, and its picture is there."""
        number = _number(line)
        asked, job = self._lines[number], line["response"]["body"]
        given = asked.body["input"]
        if asked.bad or line["custom_id"] != asked.custom_id or job["status"] != "succeeded":
            return [f"item {number}: {asked.bad or 'good'}, but {line}"]
        if "text" in given:
            said = job["outputs"]["translation"]
            return [] if said == answer(given) else [f"item {number}: {said}"]
        [image] = job["outputs"]["images"]
        data = self._get(image["url"]).content
        if (hashlib.sha256(data).hexdigest(), len(data)) != (image["sha256"], image["bytes"]):
            return [f"item {number}: other bytes than recorded"]
        same = Image.open(io.BytesIO(data)).tobytes() == draw(given).tobytes()
        return [] if same else [f"item {number}: another picture"]

    def _left_over(self) -> Iterator[str]:
        """What the batch has left in the ledger but for itself."""
        client = self._cluster.redis("ledger")
        yield from index_errors(client)
        kept = [f"batch:{self.id}:open", f"batch:{self.id}:redo", "due", "batches:active"]
        jobs = client.scan_iter(f"job:job_{self.id.removeprefix('batch_')}*", 1000)
        yield from (f"{key} is left over" for key in (*jobs, *kept) if client.exists(key))

    def _record(self) -> BatchRecord | None:
        """As the ledger has it, past the API, which may be away; None where that is, too."""
        try:
            return self._cluster.ledger.batch(self.id)
        except LedgerUnavailable:
            return None

    def _get(self, url: str) -> httpx.Response:
        return self._http.get(url).raise_for_status()


def _number(line: Document) -> int:
    """An item's place in the batch, from its line."""
    return int(line["id"].rpartition("-")[2])
