"""Pulling models over HTTP from a hub on this machine."""

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from shared.errors import ModelNotAvailable
from shared.model_store import LOCK_FILE
from shared.models import Registry
from tests.workers.hub import Files, Hub, serve
from workers.model_files import checkpoint, resolve_model
from workers.pull import pull, select, wanted

CAPTIONER: Files = {
    "README.md": b"# a model",
    "config.json": b'{"model_type": "blip"}',
    "vocab.txt": b"a\nb\n",
    "chat_template.jinja": b"{{ messages }}",
    "model.safetensors": os.urandom(300_000),
    "model.fp16.safetensors": b"half",
    "pytorch_model.bin": b"pickle",
    "tf_model.h5": b"tf",
    "onnx/model.onnx": b"onnx",
}
PIPELINE: Files = {
    "model_index.json": json.dumps(
        {
            "_class_name": "StableDiffusionPipeline",
            "unet": ["diffusers", "UNet2DConditionModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "feature_extractor": [None, None],
            "requires_safety_checker": False,
        }
    ).encode(),
    "v1-5-pruned-emaonly.safetensors": b"everything in one file",
    "v1-5-pruned.ckpt": b"pickle",
    "unet/config.json": b"{}",
    "unet/diffusion_pytorch_model.safetensors": b"weights",
    "unet/diffusion_pytorch_model.bin": b"pickle",
    "unet/diffusion_pytorch_model.fp16.safetensors": b"half",
    "unet/diffusion_pytorch_model.non_ema.safetensors": b"raw",
    "tokenizer/vocab.json": b"{}",
    "tokenizer/merges.txt": b"#version",
    "feature_extractor/preprocessor_config.json": b"{}",
    "vae_1_0/diffusion_pytorch_model.safetensors": b"another vae",
}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve() as hub:
        yield hub


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    (tmp_path / "models.toml").write_text(
        """
[profiles]
mine = { captioner = "cap", diffuser = "pipe" }
[captioner.cap]
repo = "org/cap"
[captioner.tagged]
repo = "org/cap"
revision = "v1"
[diffuser.pipe]
repo = "org/pipe"
licence = "MIT"
download_gb = 0.2
memory_gb = 3.0
[diffuser.cascade]
repo = "org/pipe"
stages = ["org/second"]
[compositor.two]
networks = ["first", "second"]
[network.first]
repo = "org/pipe"
download_gb = 0.2
licence = "MIT"
[network.second]
repo = "org/second"
[diffuser.vast]
repo = "org/vast"
download_gb = 1e9
"""
    )
    return tmp_path


@pytest.fixture
def fetch(hub: Hub, models_dir: Path) -> "partial[None]":
    return partial(pull, models_dir=models_dir, endpoint=hub.url, say=lambda line: None)


def available(models_dir: Path, family: str, name: str) -> tuple[str, set[str]]:
    """The revision that a worker would load, and the files that it would find."""
    model = resolve_model(Registry.load(models_dir), family, name)
    found = checkpoint(model, models_dir)
    names = {
        path.relative_to(found.path).as_posix() for path in found.path.rglob("*") if path.is_file()
    }
    return found.revision, names


def test_a_model_is_pulled_at_a_commit_and_locked(
    hub: Hub, fetch: "partial[None]", models_dir: Path
) -> None:
    commit = hub.publish("org/cap", CAPTIONER)
    fetch(["cap"], None)
    names = {"config.json", "vocab.txt", "chat_template.jinja", "model.safetensors"}
    assert available(models_dir, "captioner", "cap") == (commit, names)
    lock = json.loads((models_dir / LOCK_FILE).read_text())["models"]["org/cap@main"]
    assert lock["commit"] == commit
    assert lock["files"] == {
        name: {"sha256": hashlib.sha256(CAPTIONER[name]).hexdigest(), "size": len(CAPTIONER[name])}
        for name in names
    }


def test_a_pipeline_is_pulled_without_copies_and_variants(
    hub: Hub, fetch: "partial[None]", models_dir: Path
) -> None:
    commit = hub.publish("org/pipe", PIPELINE)
    hub.publish("org/cap", CAPTIONER)
    fetch([], "mine")
    assert available(models_dir, "diffuser", "pipe") == (
        commit,
        {
            "model_index.json",
            "unet/config.json",
            "unet/diffusion_pytorch_model.safetensors",
            "tokenizer/vocab.json",
            "tokenizer/merges.txt",
        },
    )
    assert available(models_dir, "captioner", "cap")


def test_the_locked_commit_is_what_is_loaded(
    hub: Hub, fetch: "partial[None]", models_dir: Path
) -> None:
    old = hub.publish("org/cap", CAPTIONER)
    fetch(["cap"], None)
    new = hub.publish("org/cap", {**CAPTIONER, "vocab.txt": b"a\nb\nc\n"})
    before = hub.requests.total()
    fetch(["cap"], None)
    assert hub.requests.total() == before  # nothing was asked, all was verified
    assert available(models_dir, "captioner", "cap")[0] == old
    fetch(["cap"], None, update=True)
    assert available(models_dir, "captioner", "cap")[0] == new


def test_revisions_are_locked_apart(hub: Hub, fetch: "partial[None]", models_dir: Path) -> None:
    main = hub.publish("org/cap", CAPTIONER)
    tagged = hub.publish("org/cap", {**CAPTIONER, "vocab.txt": b"old"}, "v1")
    fetch(["cap", "captioner/tagged"], None)
    assert available(models_dir, "captioner", "cap")[0] == main
    assert available(models_dir, "captioner", "tagged")[0] == tagged


def test_everything_works_offline_after_the_pull(models_dir: Path) -> None:
    with serve() as hub:
        hub.publish("org/cap", CAPTIONER)
        pull(["cap"], None, models_dir, endpoint=hub.url, say=lambda line: None)
    pull(["cap"], None, models_dir, endpoint=hub.url, say=lambda line: None)
    assert available(models_dir, "captioner", "cap")


def test_a_cut_download_goes_on_where_it_stopped(
    hub: Hub, fetch: "partial[None]", models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.publish("org/cap", CAPTIONER)
    hub.cut = "model.safetensors"  # every request brings half of what is left
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    with pytest.raises(ModelNotAvailable, match="run the same command again"):
        fetch(["cap"], None)
    hub.cut = ""
    hub.ranges.clear()
    hub.requests.clear()
    fetch(["cap"], None)
    assert available(models_dir, "captioner", "cap")
    assert int(hub.ranges[0].removeprefix("bytes=").rstrip("-")) >= 140_000
    assert hub.requests["GET config.json"] == 0


def test_bytes_that_are_not_those_announced_are_refused(
    hub: Hub, fetch: "partial[None]", models_dir: Path
) -> None:
    hub.publish("org/cap", CAPTIONER)
    for name in ("model.safetensors", "vocab.txt"):
        hub.corrupt = name
        with pytest.raises(ModelNotAvailable, match=f"{name} does not have the digest"):
            fetch(["cap"], None)
        with pytest.raises(ModelNotAvailable, match="python -m workers models pull cap"):
            available(models_dir, "captioner", "cap")
    hub.corrupt = ""
    fetch(["cap"], None)
    assert available(models_dir, "captioner", "cap")


def test_a_damaged_file_is_mended(hub: Hub, fetch: "partial[None]", models_dir: Path) -> None:
    hub.publish("org/cap", CAPTIONER)
    fetch(["cap"], None)
    folder = checkpoint(Registry.load(models_dir).models["captioner", "cap"], models_dir).path
    (folder / "model.safetensors").write_bytes(b"short")
    with pytest.raises(ModelNotAvailable, match="damaged; mend it with"):
        available(models_dir, "captioner", "cap")
    (folder / "vocab.txt").write_bytes(b"c\nd\n")  # of the right size
    hub.requests.clear()
    fetch(["cap"], None)
    assert (folder / "model.safetensors").read_bytes() == CAPTIONER["model.safetensors"]
    assert (folder / "vocab.txt").read_bytes() == CAPTIONER["vocab.txt"]
    assert hub.requests["GET config.json"] == 0


def test_without_safetensors_nothing_is_fetched(
    hub: Hub, fetch: "partial[None]", models_dir: Path
) -> None:
    pickled = {name: data for name, data in CAPTIONER.items() if "safetensors" not in name}
    hub.publish("org/cap", pickled)
    with pytest.raises(ModelNotAvailable, match="org/cap has no safetensors at revision main"):
        fetch(["cap"], None)
    hub.publish(
        "org/pipe", {k: v for k, v in PIPELINE.items() if "unet/diff" not in k or "bin" in k}
    )
    with pytest.raises(ModelNotAvailable, match="org/pipe has no safetensors"):
        fetch(["pipe"], None)
    assert not (models_dir / LOCK_FILE).exists()


def test_the_hubs_own_conversion_is_taken(
    hub: Hub, fetch: "partial[None]", models_dir: Path
) -> None:
    pickled = {name: data for name, data in CAPTIONER.items() if "safetensors" not in name}
    hub.publish("org/cap", pickled)
    commit = hub.publish("org/cap", CAPTIONER, "refs/pr/7")
    hub.conversions["org/cap"] = 7
    hub.author = "somebody"
    with pytest.raises(ModelNotAvailable, match="no safetensors"):
        fetch(["cap"], None)
    hub.author = "SFconvertbot"
    fetch(["cap"], None)
    assert available(models_dir, "captioner", "cap")[0] == commit


def test_two_pulls_at_once_keep_both_entries(
    hub: Hub, fetch: "partial[None]", models_dir: Path
) -> None:
    hub.publish("org/cap", CAPTIONER)
    hub.publish("org/pipe", PIPELINE)
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(fetch, [name], None) for name in ("cap", "pipe", "cap", "pipe")]:
            done.result()
    assert available(models_dir, "captioner", "cap")
    assert available(models_dir, "diffuser", "pipe")
    assert hub.requests["GET model.safetensors"] == 1


def test_names_that_nobody_knows(fetch: "partial[None]", hub: Hub) -> None:
    for names, profile, words in [
        (["nobody"], None, "no model is called nobody"),
        ([], "nowhere", "no profile is called nowhere"),
        ([], None, "name a model"),
    ]:
        with pytest.raises(ModelNotAvailable, match=words):
            fetch(names, profile)
    with pytest.raises(ModelNotAvailable, match="org/cap could not be fetched"):
        fetch(["cap"], None)  # the hub has no such repository


def test_shipped_models_need_no_network(tmp_path: Path) -> None:
    lines: list[str] = []
    pull([], "tiny", tmp_path, endpoint="http://127.0.0.1:9", say=lines.append)
    assert len(lines) == len(select(Registry.load(tmp_path), [], "tiny"))
    assert all("nothing to fetch" in line for line in lines)


def test_shards_and_their_index_are_wanted() -> None:
    names = [
        "config.json",
        "model.safetensors.index.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.fp16-00001-of-00001.safetensors",
        "sentencepiece.bpe.model",
        "source.spm",
        "runs/events.json",
    ]
    assert wanted(names, {""}) == sorted(set(names) - {names[4], names[7]})


def test_every_stage_of_a_cascade_is_pulled(
    hub: Hub, fetch: "partial[None]", models_dir: Path
) -> None:
    commits = [hub.publish(repo, PIPELINE) for repo in ("org/pipe", "org/second")]
    fetch(["cascade"], None)
    revision, _ = available(models_dir, "diffuser", "cascade")
    assert revision == "+".join(commits)


def test_every_network_of_a_model_is_pulled(hub: Hub, models_dir: Path) -> None:
    commits = [hub.publish(repo, PIPELINE) for repo in ("org/pipe", "org/second")]
    lines: list[str] = []
    pull(["two", "first"], None, models_dir, endpoint=hub.url, say=lines.append)
    revision, _ = available(models_dir, "compositor", "two")
    assert revision == "+".join(commits)
    assert lines[0].startswith("network/first: about 0.2 GB to fetch")
    assert [line.split()[0] for line in lines if "verified" in line] == [
        "network/first:",
        "network/second:",
    ]


def test_size_memory_and_licence_are_told_before_anything_is_fetched(
    hub: Hub, models_dir: Path
) -> None:
    hub.publish("org/pipe", PIPELINE)
    lines: list[str] = []
    pull(["pipe", "diffuser/tiny"], None, models_dir, endpoint=hub.url, say=lines.append)
    assert lines[0] == ("diffuser/pipe: about 0.2 GB to fetch, 3.0 GB of memory, licence MIT")
    assert lines[1].startswith("in all about 0.2 GB, of ")
    assert "nothing to fetch" in lines[-1]
    lines.clear()
    pull(["pipe"], None, models_dir, endpoint=hub.url, say=lines.append)
    assert len(lines) == 1
    assert "verified" in lines[0]


def test_what_does_not_fit_on_the_disk_is_not_begun(hub: Hub, models_dir: Path) -> None:
    hub.publish("org/vast", PIPELINE)
    with pytest.raises(ModelNotAvailable, match="do not fit"):
        pull(["vast"], None, models_dir, endpoint=hub.url, say=lambda line: None)
    assert not (models_dir / "hub").exists()
