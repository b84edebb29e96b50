"""Fetching models from the hub: safetensors only, resumable, locked to a commit.

The first pull resolves the entry's revision to a commit and records it, with every file's digest,
in the lock file; that commit is what is loaded from then on. A later pull verifies the files
against the lock and fetches only what is missing; `update` resolves the revision again.
"""

import hashlib
import importlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import ModelInfo, RepoSibling
from huggingface_hub.utils import build_hf_headers

from shared.errors import ModelNotAvailable
from shared.model_store import (
    Lock,
    LockedFile,
    LockedModel,
    ModelState,
    exclusive,
    file_sha256,
    lock_key,
    parts,
    pulled_folder,
    state,
)
from shared.models import Model, Registry

# Settings, vocabularies, merges, and the templates of chats, which are rendered in a sandbox.
PLAIN_FILES = {".json", ".txt", ".model", ".spm", ".jinja"}
PIPELINE = "model_index.json"
CONVERTER = "SFconvertbot"
CONVERSION = "Adding `safetensors` variant of this model"


def pull(
    names: Sequence[str],
    profile: str | None,
    models_dir: Path,
    update: bool = False,
    endpoint: str | None = None,
    say: Callable[[str], None] = print,
    languages: Sequence[str] = ("en",),
) -> None:
    """Bring the files of the models named, and of a profile's, into MODELS_DIR.

    A name is `NAME` or `FAMILY/NAME`. A pull that was cut off goes on where it stopped.
    `endpoint` is the hub's address (default: HF_ENDPOINT); `say` gets what is about to be
    fetched, and a line per model when it is here; progress bars go to standard error.
    `languages` are those of an OCR whose weights come apart by language. Raises ModelNotAvailable.
    """
    chosen = select(Registry.load(models_dir), names, profile)
    for line in announcement(chosen, models_dir):
        say(line)
    for model in chosen:
        if model.weights:
            with exclusive(models_dir):
                importlib.import_module(model.weights).fetch(models_dir / model.name, languages)
            say(f"{model.family}/{model.name}: fetched for {', '.join(languages)}")
            continue
        if model.repo is None:
            say(f"{model.family}/{model.name}: nothing to fetch, it is in {_home(model)}")
            continue
        for part in parts(model):
            with exclusive(models_dir):
                _pull(part, models_dir, update, endpoint, say)


def announcement(models: Sequence[Model], models_dir: Path) -> Iterator[str]:
    """What is about to be fetched, a line a model, and the sum beside the space there is.

    Raises ModelNotAvailable where the space will not do.
    """
    lock = Lock.read(models_dir)
    missing = [each for each in models if state(each, models_dir, lock) is ModelState.MISSING]
    wanted = [each for each in missing if each.repo or each.weights]
    for model in wanted:
        yield (
            f"{model.family}/{model.name}: about {model.download_gb:.1f} GB to fetch, "
            f"{model.memory_gb:.1f} GB of memory, licence {model.licence}"
        )
    total = sum(model.download_gb for model in wanted)
    folder = next(each for each in (models_dir, *models_dir.parents) if each.is_dir())
    free = shutil.disk_usage(folder).free / 1e9
    if wanted:
        yield f"in all about {total:.1f} GB, of {free:.1f} GB free in {models_dir}"
    if total > free:
        raise ModelNotAvailable(f"{total:.1f} GB do not fit into the {free:.1f} GB of {folder}")


def _home(model: Model) -> str:
    if model.file:
        return f"{model.file}, a file that `python -m workers models import` takes"
    return f"the package {model.package}" if model.package else str(model.path)


def select(registry: Registry, names: Sequence[str], profile: str | None) -> list[Model]:
    """The registry's models of these names and of this profile; one that is put together from
    networks stands for these. Raises ModelNotAvailable."""
    chosen: list[Model] = []
    for name in names:
        found = [
            model
            for model in registry.models.values()
            if name in (model.name, f"{model.family}/{model.name}")
        ]
        if not found:
            raise ModelNotAvailable(f"no model is called {name}")
        chosen += found
    if profile is not None:
        if profile not in registry.profiles:
            raise ModelNotAvailable(f"no profile is called {profile}")
        chosen += [registry.models[pair] for pair in registry.profiles[profile].items()]
    if not chosen:
        raise ModelNotAvailable("name a model, or a profile with --profile")
    whole = [each for model in chosen for each in model.made_of or (model,)]
    # Several families may load one repository.
    same = {lock_key(each) if each.repo else (each.family, each.name): each for each in whole}
    return list(same.values())


def _pull(
    model: Model, models_dir: Path, update: bool, endpoint: str | None, say: Callable[[str], None]
) -> None:
    lock = Lock.read(models_dir)
    locked = None if update else lock.models.get(lock_key(model))
    if locked:
        folder = pulled_folder(model, locked.commit, models_dir)
        _drop_damaged(folder, locked)
        missing = {
            name: file.size for name, file in locked.files.items() if not (folder / name).is_file()
        }
        if missing and locked.imported:
            raise ModelNotAvailable(
                f"{model.family}/{model.name} was imported from {locked.imported} and is damaged; "
                "import that again, or pull with --update"
            )
        if missing:
            say(f"{model.family}/{model.name}: mending {len(missing)} files")
            with _advice(model):
                _fetch(model, locked.commit, missing, folder, endpoint)
            for name in missing:
                _check(folder / name, locked.files[name].sha256)
    else:
        with _advice(model):
            locked = _pull_new(model, models_dir, endpoint, say)
        lock.with_model(model, locked).write(models_dir)
    say(f"{model.family}/{model.name}: {locked.commit} verified, {len(locked.files)} files")


@contextmanager
def _advice(model: Model) -> Iterator[None]:
    """Whatever the hub's client raises becomes one error that says what to do."""
    try:
        yield
    except ModelNotAvailable:
        raise
    except Exception as error:
        raise ModelNotAvailable(
            f"{model.repo} could not be fetched ({type(error).__name__}: {error}); "
            "what is here already is kept: run the same command again"
        ) from error


def _pull_new(
    model: Model, models_dir: Path, endpoint: str | None, say: Callable[[str], None]
) -> LockedModel:
    assert model.repo
    api = HfApi(endpoint=endpoint)
    info, names = _safetensors_revision(api, model, models_dir, endpoint)
    assert info.sha
    folder = pulled_folder(model, info.sha, models_dir)
    remote = {each.rfilename: each for each in info.siblings or []}
    size = sum(remote[name].size or 0 for name in names)
    say(f"{model.family}/{model.name}: {info.sha}, {len(names)} files, {size / 1e6:.1f} MB")
    files = {}
    for name in names:
        _fetch(model, info.sha, {name: remote[name].size}, folder, endpoint)
        files[name] = _verified(folder / name, remote[name])
    return LockedModel(commit=info.sha, files=files)


def _safetensors_revision(
    api: HfApi, model: Model, models_dir: Path, endpoint: str | None
) -> tuple[ModelInfo, list[str]]:
    """The commit to pull and its files: the revision, or the hub's own conversion of it.

    Older repositories hold pickled weights only; the hub's converter has opened a pull request
    with safetensors on many of them.
    """
    assert model.repo
    info = api.model_info(model.repo, revision=model.revision, files_metadata=True)
    names = _files(model, info, models_dir, endpoint)
    if names is None:
        for request in api.get_repo_discussions(
            model.repo,
            author=CONVERTER,
            discussion_type="pull_request",
            discussion_status="open",
        ):
            if request.title == CONVERSION and request.author == CONVERTER:
                info = api.model_info(
                    model.repo, revision=request.git_reference, files_metadata=True
                )
                names = _files(model, info, models_dir, endpoint)
                break
    if names is None:
        raise ModelNotAvailable(
            f"{model.repo} has no safetensors at revision {model.revision}, and other formats "
            "are not loaded; name a revision that has them in MODELS_DIR/models.toml"
        )
    return info, names


def _files(
    model: Model, info: ModelInfo, models_dir: Path, endpoint: str | None
) -> list[str] | None:
    """The files of a commit that the family loads; None where weights are not safetensors."""
    names = [each.rfilename for each in info.siblings or []]
    folders = {""}
    if PIPELINE in names:
        assert info.sha
        folder = pulled_folder(model, info.sha, models_dir)
        _fetch(model, info.sha, {PIPELINE: None}, folder, endpoint)
        index = json.loads((folder / PIPELINE).read_text(encoding="utf-8"))
        folders = {name for name, value in index.items() if isinstance(value, list) and value[0]}
    return wanted(names, folders)


def wanted(names: Sequence[str], folders: set[str]) -> list[str] | None:
    """Of a repository's files, those in `folders` ("" is its root) that are loaded from there.

    A pipeline's root holds single-file copies of the whole, and its folders variants such as
    `model.fp16.safetensors`: both are left out. None where a folder has weights, but none in
    safetensors.
    """
    chosen = [PIPELINE] if PIPELINE in names else []
    weights = False
    for folder in sorted(folders):
        inside = [
            path for path in map(PurePosixPath, names) if path.parent == PurePosixPath(folder)
        ]
        safe = [path for path in inside if path.suffix == ".safetensors" and "." not in path.stem]
        if not safe and any(path.suffix in (".bin", ".safetensors") for path in inside):
            return None
        weights = weights or bool(safe)
        plain = [path for path in inside if path.suffix in PLAIN_FILES]
        chosen += [str(path) for path in [*plain, *safe] if str(path) not in chosen]
    return sorted(chosen) if weights else None


def _fetch(
    model: Model, commit: str, sizes: Mapping[str, int | None], folder: Path, endpoint: str | None
) -> None:
    """Download files by name and size; a part that is here already is kept and completed.

    `hf_hub_download` drops the part of a file that was cut off, and starts again.
    """
    assert model.repo
    for name, size in sizes.items():
        path = folder / name
        if path.is_file():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        have = part.stat().st_size if part.exists() else 0
        if size is not None and have > size:
            part.unlink()
            have = 0
        url = hf_hub_url(model.repo, name, revision=commit, endpoint=endpoint)
        with part.open("ab") as file:
            http_get(
                url,
                file,
                resume_size=have,
                headers=build_hf_headers(),
                expected_size=size,
                displayed_filename=name,
            )
        part.replace(path)


def _drop_damaged(folder: Path, locked: LockedModel) -> None:
    for name, file in locked.files.items():
        path = folder / name
        if path.is_file() and file_sha256(path) != file.sha256:
            path.unlink()


def _verified(path: Path, remote: RepoSibling) -> LockedFile:
    """The file's entry in the lock, once its bytes are those that the hub announced."""
    if remote.lfs:
        _check(path, remote.lfs.sha256)
    elif remote.blob_id:
        data = path.read_bytes()
        git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False)
        if git.hexdigest() != remote.blob_id:
            _refuse(path)
    return LockedFile(sha256=file_sha256(path), size=path.stat().st_size)


def _check(path: Path, sha256: str) -> None:
    if file_sha256(path) != sha256:
        _refuse(path)


def _refuse(path: Path) -> None:
    path.unlink()
    raise ModelNotAvailable(f"{path.name} does not have the digest that it must have; removed")
