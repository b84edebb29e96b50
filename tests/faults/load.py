"""Clients: they submit jobs, repeat what got no answer, and remember every 202.

Written against HTTP alone, so that no code of the service or its client takes part in the proof.
"""

import base64
import io
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
from PIL import Image

from tests.waiting import PATIENCE_S

Document = dict[str, Any]

BUSY = (429, 502, 503, 504)
ERASED = "erased"  # what is expected of a job that will be deleted


@dataclass(frozen=True)
class Accepted:
    """A job that got a 202: nothing may take it back."""

    job_id: str
    key: str
    at: float  # time.monotonic()
    document: Document
    expected: frozenset[str]  # the states it may end in

    @property
    def erased(self) -> bool:
        """Whether it is to be deleted, and must leave nothing behind."""
        return ERASED in self.expected


@dataclass
class Client:
    """Submits to one service and keeps what was accepted; safe to share between threads."""

    url: str
    accepted: list[Accepted] = field(default_factory=list)
    refused: int = 0  # 503s and lost answers, each followed by another try
    refusals: list[httpx.Response] = field(default_factory=list)  # those that were answered
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def submit(
        self,
        document: Document,
        *expected: str,
        key: str | None = None,
        patience_s: float = PATIENCE_S,
    ) -> Accepted:
        """Submit until there is an answer: a 202, or an error that is the client's (raised).

        Each try carries the same Idempotency-Key, which also stands in the job's metadata.
        """
        key = key or uuid.uuid4().hex
        document = {**document, "metadata": {"key": key}}
        give_up = time.monotonic() + patience_s
        while True:
            answer = self.try_once(document, key)
            if answer is not None and answer.status_code not in BUSY:
                break
            if time.monotonic() > give_up:
                said = answer.text if answer is not None else "nothing"
                raise TimeoutError(f"not accepted for {patience_s:g} s: {said}")
            self.refused += 1
            if answer is not None:
                self.refusals.append(answer)
            time.sleep(0.2)
        answer.raise_for_status()
        assert answer.status_code == 202, answer.text
        found = Accepted(
            answer.json()["id"], key, time.monotonic(), document, frozenset(expected or SUCCESS)
        )
        with self._lock:
            self.accepted.append(found)
        return found

    def try_once(
        self, document: Document, key: str, timeout_s: float = 30
    ) -> httpx.Response | None:
        """One request; None where no answer came."""
        headers = {"Idempotency-Key": key}
        try:
            return httpx.post(
                f"{self.url}/v1/jobs", json=document, headers=headers, timeout=timeout_s
            )
        except httpx.HTTPError:
            return None

    def job(self, job_id: str) -> Document:
        """The job as the API tells it, asked until it answers."""
        give_up = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = httpx.get(f"{self.url}/v1/jobs/{job_id}", timeout=30)
                if answer.status_code not in BUSY:
                    found: Document = answer.json()
                    return found
            except httpx.HTTPError:
                pass
            if time.monotonic() > give_up:
                raise TimeoutError(f"no answer about {job_id}")
            time.sleep(0.2)


SUCCESS = ("succeeded",)


class Load:
    """Threads that submit one document after the other until they are stopped.

    `rate` jobs a second at most, all threads together.
    """

    def __init__(
        self, client: Client, documents: Iterator[Document], clients: int = 3, rate: float = 15
    ) -> None:
        self._client = client
        self._documents = documents
        self._pause_s = clients / rate
        self._taking = threading.Lock()
        self._stop = threading.Event()
        self._errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Every client ends the request that it is at; not waited for where the block failed."""
        self.stop()
        if kind is None:
            for thread in self._threads:
                thread.join()
            if self._errors:
                raise self._errors[0]

    def stop(self) -> None:
        """Let each client end the request that it is at; it is not waited for."""
        self._stop.set()

    @property
    def ended(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                with self._taking:
                    document = next(self._documents)
                self._client.submit(document)
                self._stop.wait(self._pause_s)
        except BaseException as error:
            self._errors.append(error)


# What is submitted


def upload(url: str, seed: float) -> httpx.Response:
    """What the service says to a small picture."""
    return httpx.post(
        f"{url}/v1/files", files={"file": ("picture.png", picture(seed))}, timeout=PATIENCE_S
    )


def picture(seed: float = 0, side: int = 24) -> bytes:
    """A small PNG."""
    data = io.BytesIO()
    noise = random.Random(seed).randbytes(side * side * 3)
    Image.frombytes("RGB", (side, side), noise).save(data, "PNG")
    return data.getvalue()


def png(seed: float = 0) -> str:
    """The same as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(picture(seed)).decode()}"


def translate(text: str = "a picture", **fields: Any) -> Document:
    """One step, of the translator."""
    return {"kind": "translate", "input": {"text": text}, **fields}


def generate(prompt: str = "a picture", steps: int = 10, **fields: Any) -> Document:
    """One step, of the diffuser, with a picture as its result."""
    return {"kind": "generate", "input": {"prompt": prompt, "steps": steps, "seed": 1}, **fields}


def caption(seed: int = 0, **fields: Any) -> Document:
    """One step, of the captioner."""
    return {"kind": "caption", "input": {"image": png(seed)}, **fields}


def blend(seed: int = 0, steps: int = 10, **fields: Any) -> Document:
    """Three steps: captioner, translator, diffuser."""
    given = {
        "first": png(seed),
        "second": png(seed + 1),
        "translate_to": ["arb_Arab"],
        "steps": steps,
        "seed": seed,
    }
    return {"kind": "blend", "input": given, **fields}


def reimagine(seed: int = 0, steps: int = 10, **fields: Any) -> Document:
    """Three steps over one picture, with two pictures as the result."""
    given = {"image": png(seed), "n": 2, "steps": steps, "seed": seed}
    return {"kind": "reimagine", "input": given, **fields}


KINDS: tuple[Callable[[int], Document], ...] = (
    lambda seed: translate(f"text {seed}"),
    lambda seed: generate(f"prompt {seed}"),
    caption,
    blend,
    reimagine,
)


def every_kind(chance: random.Random) -> Iterator[Document]:
    """Jobs of every kind and priority, in random order, without end."""
    while True:
        document = chance.choice(KINDS)(chance.randrange(50))
        yield {**document, "priority": chance.choice(["interactive", "interactive", "bulk"])}
