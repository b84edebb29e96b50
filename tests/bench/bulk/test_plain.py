"""The plain loop: every picture, once, whatever it is run with."""

import io
import json

import pytest
from PIL import Image

from bench.bulk.devices import Free, said
from bench.bulk.plain import HOWS, OUTPUT, loop
from bench.bulk.service import picture
from shared.contracts import Step

COUNT = 70


@pytest.fixture(scope="module")
def keys(servers):
    keys = [f"pictures/{number}.jpg" for number in range(COUNT)]
    for number, key in enumerate(keys):
        servers.store.put(key, picture(number), "image/jpeg")
    return keys


@pytest.mark.parametrize("how", [HOWS[0], HOWS[-1]])
def test_every_picture_has_its_text_also_in_s3(servers, keys, how):
    step = Step(name="caption", family="captioner", model="tiny", batch_class=16)
    texts = loop(servers.settings, keys, Free("cpu"), step, how)

    pictures = [Image.open(io.BytesIO(picture(n))).convert("RGB") for n in range(COUNT)]
    assert texts == dict(zip(keys, map(said, pictures), strict=True))
    stored = [servers.store.get(each.key) for each in servers.store.list(OUTPUT)]
    lines = [json.loads(line) for data in stored for line in data.splitlines()]
    assert {line["key"]: line["caption"] for line in lines} == texts
