"""The families in model processes of their own, on the CPU with tiny random weights."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import checkpoints
from tests.chain import Chain, chains
from tests.workers.families import noise


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    folder = tmp_path_factory.mktemp("chain")
    folders = {
        "captioner": checkpoints.blip(folder / "captioner"),
        "translator": checkpoints.marian(folder / "translator"),
        "diffuser": checkpoints.sd15(folder / "diffuser"),
    }
    with chains(folders, "cpu") as (chain,):
        yield chain


def test_pictures_and_texts_cross_the_pipe(chain: Chain) -> None:
    caption = chain.caption(noise(0), 2, max_tokens=6)
    assert caption
    assert isinstance(chain.translate(caption, 2, max_tokens=6), str)
    assert chain.draw(caption, 7, 2, steps=2, width=64, height=32).size == (64, 32)


def test_sharing_a_batch_changes_nothing(chain: Chain) -> None:
    def draw(seed: int) -> bytes:
        return chain.draw("a cat", seed, 4, steps=3, width=32, height=32).tobytes()

    alone = [draw(seed) for seed in range(6)]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(draw, range(6)))
    assert together == alone
    assert len(set(alone)) == 6


def test_progress_tells_the_steps(chain: Chain) -> None:
    samples = [{"prompt": "a", "negative_prompt": None, "seed": 1}]
    ticket = chain.diffuser.submit("m", {"steps": 40, "width": 64, "height": 64}, 1, samples)
    messages = set()
    while not ticket.wait(0.02):
        messages.add(ticket.message)
    assert any(message.endswith("of 41") for message in messages)  # PNDM takes one more


def test_a_cancel_ends_a_long_step(chain: Chain) -> None:
    samples = [{"prompt": "a", "negative_prompt": None, "seed": 1}]
    started = time.monotonic()
    long = chain.diffuser.submit("m", {"steps": 5000, "width": 64, "height": 64}, 1, samples)
    while not long.progress:
        assert not long.wait(0.02)
    canceled = time.monotonic()
    left = (canceled - started) / long.progress - (canceled - started)
    long.cancel()
    after = chain.diffuser.submit("m", {"steps": 1, "width": 32, "height": 32}, 1, samples)
    assert after.wait(left / 2)
