"""The application over the in-memory twins."""

import io
import mimetypes
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image

from api import shutdown
from api.app import create_app
from shared.contracts import Artifact, StepOutput, WorkerRecord
from shared.queues import BrokerUnavailable
from shared.settings import Settings
from shared.testing.ledger import MemoryLedger
from shared.testing.object_store import MemoryObjectStore


class FakeBroker:
    """Admits what waits, as the real one does, and keeps what it published."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self.ledger = ledger
        self.down = False
        self.published: list[str] = []

    def admit(self, queues: Iterable[str]) -> None:
        self.ping()
        for queue in queues:
            self.published += [entry.job_id for entry in self.ledger.admit(queue)]

    def ping(self) -> None:
        if self.down:
            raise BrokerUnavailable("the broker does not answer")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        models_dir=tmp_path,
        max_upload_mb=1,
        max_pixels=1_000_000,
        s3_input_prefixes=("s3://photos/in", "s3://imagemill/shared/"),
    )


@pytest.fixture
def ledger(settings: Settings) -> MemoryLedger:
    return MemoryLedger(settings)


@pytest.fixture
def store() -> MemoryObjectStore:
    return MemoryObjectStore()


@pytest.fixture
def broker(ledger: MemoryLedger) -> FakeBroker:
    return FakeBroker(ledger)


@pytest.fixture
def http(
    settings: Settings, ledger: MemoryLedger, store: MemoryObjectStore, broker: FakeBroker
) -> FlaskClient:
    shutdown.STOPPING.clear()
    return create_app(settings, ledger, store, broker).test_client()


@pytest.fixture
def png() -> Callable[..., bytes]:
    """Encode a plain picture; any two colours give two files."""

    def encode(colour: str = "red", size: tuple[int, int] = (40, 30), form: str = "PNG") -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", size, colour).save(buffer, form)
        return buffer.getvalue()

    return encode


@pytest.fixture
def submit(http: FlaskClient) -> Callable[..., Any]:
    """POST /v1/jobs with a JSON body."""

    def post(kind: str, given: Any, headers: Any = None, **envelope: Any) -> Any:
        body = {"kind": kind, "input": given, **envelope}
        return http.post("/v1/jobs", json=body, headers=headers)

    return post


@pytest.fixture
def worker(ledger: MemoryLedger, store: MemoryObjectStore) -> SimpleNamespace:
    """Plays the workers: `start` a job's current step, `finish` it with outputs and files."""

    def start(job_id: str) -> int:
        index = ledger.get(job_id).current
        return ledger.claim(job_id, index, "w1", f"token-{index}").fence

    def finish(job_id: str, outputs: dict[str, Any], files: dict[str, bytes] | None = None) -> str:
        index, fence = ledger.get(job_id).current, start(job_id)
        artifacts = []
        for number, (name, data) in enumerate((files or {}).items()):
            key = f"jobs/{job_id}/{index}/a{fence}-{name}"
            media_type, _ = mimetypes.guess_type(name)
            store.put(key, data, media_type)
            picture = {"width": 64, "height": 64, "seed": 7 + number}
            artifacts.append(
                Artifact(
                    name=name,
                    key=key,
                    media_type=media_type,
                    sha256="0" * 64,
                    bytes=len(data),
                    **(picture if name.endswith(".png") else {}),
                )
            )
        output = StepOutput(
            outputs=outputs, artifacts=tuple(artifacts), revision="r1", batch_class=4, run_ms=240
        )
        return ledger.commit(job_id, index, fence, output)

    def announce(family: str = "captioner", model: str = "tiny") -> None:
        ledger.heartbeat(
            WorkerRecord(
                name=f"{family}@here",
                host="here",
                pid=1,
                family=family,
                device="cpu",
                models={model: "r1"},
                queues=(f"1-interactive.{family}.{model}",),
                slots=3,
                busy=1,
                started_at=1_700_000_000_000,
            )
        )

    return SimpleNamespace(start=start, finish=finish, announce=announce)
