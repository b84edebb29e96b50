"""The main job on a GPU in half precision, with the published sizes and random weights.

`pytest tests/gpu` prints peak memory and rates. No network is used.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
import torch

from tests import checkpoints
from tests.chain import Chain, chains
from tests.workers.families import noise

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    pytest.mark.timeout(1200),
]

DEVICE = "cuda:0"
CAPTION = {"max_length": 20, "min_length": 20, "num_beams": 1}
TRANSLATION = {"max_tokens": 32, "min_new_tokens": 32, "num_beams": 1}
DRAWING = {"steps": 30, "guidance": 7.5, "width": 512, "height": 512}
TEXTS, PICTURES = 16, 8  # batch classes


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """BLIP-large, NLLB-600M and Stable Diffusion 1.5, 4.4 GB in all."""
    folder = tmp_path_factory.mktemp("full")
    built = {
        "captioner": checkpoints.blip(folder / "blip", DEVICE, **checkpoints.FULL_BLIP_LARGE),
        "translator": checkpoints.nllb(folder / "nllb", DEVICE, **checkpoints.FULL_NLLB_600M),
        "diffuser": checkpoints.sd15(folder / "sd15", DEVICE, **checkpoints.FULL_SD15),
    }
    torch.cuda.empty_cache()
    return built


@pytest.fixture(scope="module")
def pair(folders: dict[str, Path]) -> Iterator[list[Chain]]:
    """Two model processes of every family on the one device, all at once."""
    with chains(folders, DEVICE, number=2) as pair:
        yield pair


@contextmanager
def peak_memory() -> Iterator[list[float]]:
    """The most memory in use on the device by all processes, in GiB, when the block has ended."""
    ended, peak = Event(), [0.0]

    def watch() -> None:
        while not ended.wait(0.02):
            free, total = torch.cuda.mem_get_info(DEVICE)
            peak[0] = max(peak[0], (total - free) / 2**30)

    thread = Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def job(chain: Chain, seed: int) -> tuple[str, str, bytes]:
    """One reimagine job."""
    caption = chain.caption(noise(seed, 640, 480), TEXTS, **CAPTION) or "a picture"
    translation = chain.translate(caption, TEXTS, **TRANSLATION)
    picture = chain.draw(caption, seed, PICTURES, **DRAWING)
    assert picture.size == (512, 512)
    low, high = picture.convert("L").getextrema()
    assert low != high  # not one colour, as a picture of not-a-numbers is
    return caption, translation, picture.tobytes()


def rate(call: Callable[[int], object], number: int, workers: int) -> float:
    """Calls per second of `call(i)` for i in range(number), `workers` at a time."""
    started = time.monotonic()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(call, range(number)))
    return number / (time.monotonic() - started)


def test_models_are_in_half_precision(tmp_path: Path) -> None:
    from workers.families.captioner import Captioner
    from workers.families.diffuser import Diffuser
    from workers.families.translator import Translator
    from workers.predictor import Checkpoint

    captioner, translator, diffuser = (kind(DEVICE) for kind in (Captioner, Translator, Diffuser))
    captioner.load(Checkpoint("m", checkpoints.blip(tmp_path / "blip"), "r"))
    translator.load(Checkpoint("m", checkpoints.nllb(tmp_path / "nllb"), "r"))
    diffuser.load(Checkpoint("m", checkpoints.sd15(tmp_path / "sd15"), "r"))
    for model in (
        captioner._models["m"].model,
        translator._models["m"].engine.model,
        diffuser._models["m"]._pipes["text-to-image"].unet,
    ):
        assert model.dtype == torch.float16
        assert model.device.type == "cuda"


def test_two_workers_run_the_chain_on_one_device(
    pair: list[Chain], capsys: pytest.CaptureFixture[str]
) -> None:
    for chain in pair:  # kernels are chosen at first use
        job(chain, 0)
    number = 4 * PICTURES
    with peak_memory() as peak:
        started = time.monotonic()
        with ThreadPoolExecutor(2 * PICTURES) as pool:
            done = list(pool.map(lambda i: job(pair[i % 2], i), range(number)))
        seconds = time.monotonic() - started
    assert len({picture for _, _, picture in done}) == number
    with capsys.disabled():
        print(f"\ntwo chains on {torch.cuda.get_device_name(DEVICE)}, fp16:")
        print(f"  {number / seconds:.2f} jobs/s (512², 30 steps), peak {peak[0]:.1f} GiB")


def test_rates_of_the_families(pair: list[Chain], capsys: pytest.CaptureFixture[str]) -> None:
    chain, pictures = pair[0], [noise(seed, 640, 480) for seed in range(TEXTS)]
    captions = rate(lambda i: chain.caption(pictures[i % TEXTS], TEXTS, **CAPTION), 128, 2 * TEXTS)
    texts = rate(lambda i: chain.translate(f"the end of {i}", TEXTS, **TRANSLATION), 128, 2 * TEXTS)
    images = rate(lambda i: chain.draw("a cat", i, PICTURES, **DRAWING), 32, 2 * PICTURES)
    with capsys.disabled():
        print(f"\none process a family: {captions:.1f} captions/s (20 tokens), ", end="")
        print(f"{texts:.1f} translations/s (32 tokens), {images:.2f} images/s (512², 30 steps)")


def test_the_same_bytes_in_any_company_and_process(pair: list[Chain]) -> None:
    def draw(chain: Chain, seed: int) -> bytes:
        return chain.draw("a cat", seed, PICTURES, **{**DRAWING, "steps": 5}).tobytes()

    alone = [draw(pair[0], seed) for seed in range(4)]
    with ThreadPoolExecutor(PICTURES) as pool:
        together = list(pool.map(lambda seed: draw(pair[0], seed), range(PICTURES)))
    assert together[:4] == alone
    assert draw(pair[1], 2) == alone[2]
