"""Panoramas on the real stack: their artifacts, and what is refused."""

import io

import pytest
from imagemill import ApiError, Client
from PIL import Image

from tests.waiting import PATIENCE_S
from tests.workers.families import noise

SIZE = 64  # of the tiny model


@pytest.fixture
def client(stack):
    with Client(stack.api_url) as client:
        yield client


def png(seed: int, width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    noise(seed, width, height).save(buffer, "PNG")
    return buffer.getvalue()


def test_both_orders(client, tmp_path):
    left, right = png(1, 150, 100), png(2, 80, 120)
    job = client.jobs.create(kind="panorama", left=left, right=right, both_orders=True)
    first, swapped = client.download(client.wait(job, timeout=PATIENCE_S), tmp_path)
    assert (first.name, swapped.name) == ("panorama.png", "panorama-swapped.png")
    assert Image.open(first).size == Image.open(swapped).size == (3 * SIZE, SIZE)
    assert first.read_bytes() != swapped.read_bytes()
    again = client.jobs.create(kind="panorama", left=right, right=left)
    [alone] = client.download(client.wait(again, timeout=PATIENCE_S), tmp_path / "again")
    assert alone.read_bytes() == swapped.read_bytes()


def test_the_users_pictures_at_full_height(client, tmp_path):
    left, right = png(1, 150, 100), png(2, 80, 120)
    job = client.jobs.create(kind="panorama", left=left, right=right, full_height=True)
    [file] = client.download(client.wait(job, timeout=PATIENCE_S), tmp_path)
    picture = Image.open(file)
    assert picture.size == (150 + 100 + 67, 100)
    assert picture.crop((0, 0, 150, 100)).tobytes() == noise(1, 150, 100).tobytes()


def test_a_picture_that_is_too_small(client):
    with pytest.raises(ApiError, match="/input/right: 150×63 pixels"):
        client.jobs.create(kind="panorama", left=png(1, 150, 100), right=png(2, 150, 63))
