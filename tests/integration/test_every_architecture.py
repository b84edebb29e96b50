"""A job of every kind with a small random checkpoint of every architecture, over HTTP.

One worker a family serves them all, loading each when its first job comes.
"""

import io
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import pytest
from imagemill import Client, JobFailed
from PIL import Image

from deploy.handle import StackHandle
from tests.checkpoints import captioners, cascade, diffusers, translators, vqa
from tests.gemini import KEY, Gemini, drawn, serve
from tests.texts import render
from tests.waiting import PATIENCE_S
from workers.training import world

FAMILIES = {
    "captioner": captioners.BUILDERS,
    "vqa": vqa.BUILDERS,
    "translator": translators.BUILDERS,
    "diffuser": diffusers.BUILDERS,
}
HOSTED = "gemini-3.1-flash-image"
SMALL = {"steps": 2, "width": 64, "height": 64}
PICTURE = world.render(world.Scene("circle", "red", "large", "white"))


@dataclass(frozen=True)
class Case:
    """One job: its kind, the models it names, and its input."""

    kind: str
    models: Mapping[str, str]
    input: Mapping[str, Any] = field(default_factory=dict)

    @property
    def outputs(self) -> set[str]:
        """What such a job must leave behind."""
        return {
            "caption": {"caption"},
            "vqa": {"answer"},
            "ocr": {"text", "regions", "images"},
            "translate": {"translation"},
        }.get(self.kind, {"prompt", "images", "safety"})


@pytest.fixture(scope="module")
def gemini() -> Iterator[Gemini]:
    with serve(lambda request: drawn(as_file(PICTURE))) as server:
        yield server


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, gemini: Gemini) -> Iterator[StackHandle]:
    folder = tmp_path_factory.mktemp("architectures")
    entries = []
    for family, builders in FAMILIES.items():
        for name, build in builders.items():
            path = build(folder / family / name)
            extra = diffusers.EXTRA.get(name, {}) if family == "diffuser" else {}
            settings = "".join(f"{key} = {json.dumps(value)}\n" for key, value in extra.items())
            entry = f'[{family}."{name}"]\npath = "{path}"\n'
            entries.append(f'{entry}[{family}."{name}".defaults]\n{settings}')
    first, *later = cascade.deepfloyd_if(folder / "if")
    stages = ", ".join(f'"{each}"' for each in later)
    entries.append(f'[diffuser.if]\npath = "{first}"\nstages = [{stages}]\n')
    (folder / "models.toml").write_text("".join(entries))
    environment = {
        "IMAGEMILL_MODELS_DIR": str(folder),
        "IMAGEMILL_FAMILIES": ",".join([*FAMILIES, "ocr", "hosted"]),
        "IMAGEMILL_GEMINI_URL": gemini.url,
        "IMAGEMILL_GEMINI_API_KEY": KEY,
    }
    with StackHandle(tmp_path_factory.mktemp("stack"), env=environment) as handle:
        yield handle


def cases() -> Iterator[Case]:
    """Every architecture with the kind that it is for, and with the chains it is a part of."""
    text = {"text": "a dog."}
    for name in captioners.BUILDERS:
        yield Case("caption", {"captioner": name})
    for name in vqa.BUILDERS:
        yield Case("vqa", {"vqa": name}, {"question": "what is it"})
    yield Case("ocr", {})
    for name in translators.BUILDERS:
        yield Case("translate", {"translator": name}, text)
    for name in diffusers.BUILDERS:
        lacking = diffusers.LACKING.get(name, ())
        if diffusers.TEXT not in lacking:
            yield Case("generate", {"diffuser": name}, {"prompt": "a dog", **SMALL})
        if diffusers.REDRAW not in lacking:
            yield Case("blend", {"diffuser": name}, SMALL)
        if diffusers.INPAINT not in lacking:
            yield Case("blend", {"diffuser": name}, {"mask": as_file(PICTURE), **SMALL})
    yield Case("generate", {"diffuser": "if"}, {"prompt": "a dog", "steps": 2})
    yield Case("generate", {"diffuser": HOSTED}, {"prompt": "a dog"})
    yield Case("blend", {"diffuser": HOSTED})
    readers = zip_longest(captioners.BUILDERS, translators.BUILDERS)
    for captioner, translator in readers:
        models = {"captioner": captioner or "tiny", "translator": translator or "tiny"}
        yield Case("reimagine", models, {"read": "both", **SMALL})


def as_file(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def pictures(case: Case) -> dict[str, bytes]:
    """The pictures that the kind wants."""
    photo, text = as_file(PICTURE), as_file(render(["OPEN 24 HOURS"]))
    match case.kind:
        case "caption" | "vqa":
            return {"image": photo}
        case "ocr" | "reimagine":
            return {"image": text}
        case "blend":
            return {"first": photo, "second": photo}
    return {}


def test_every_kind_with_every_architecture(
    service: StackHandle, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prints a table: kind, models, state, milliseconds of its steps."""
    asked = list(cases())
    with Client(service.api_url) as client, ThreadPoolExecutor(len(asked)) as pool:

        def run(case: Case) -> Any:
            job = client.jobs.create(
                kind=case.kind, models=case.models, **pictures(case), **case.input
            )
            try:
                return client.wait(job, timeout=PATIENCE_S).raw
            except JobFailed as error:
                return error.job.raw

        jobs = list(pool.map(run, asked))
    rows = []
    for case, job in zip(asked, jobs, strict=True):
        names = " ".join(case.models.values()) or "rapidocr"
        took = sum(step["run_ms"] or 0 for step in job["steps"])
        rows.append(f"{case.kind:10} {names:32} {job['status']:10} {took:6} ms")
    with capsys.disabled():
        print("", *rows, sep="\n")
    for case, job in zip(asked, jobs, strict=True):
        assert job["status"] == "succeeded", (case, job["error"])
        assert case.outputs <= {name for name, value in job["outputs"].items() if value is not None}
        for step in job["steps"]:
            assert step["model"] == case.models.get(step["family"], step["model"])
            assert step["revision"]
    seen = {(case.kind, name) for case in asked for name in case.models.values()}
    for family, builders in FAMILIES.items():
        assert {name for _, name in seen} >= builders.keys(), family
