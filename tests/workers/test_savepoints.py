"""Savepoints on this machine: links that outlive what the model process wrote."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from workers.savepoints import Savepoint, Savepoints


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The worker's temporary folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def savepoints(folder: Path) -> Iterator[Savepoints]:
    savepoints = Savepoints()
    yield savepoints
    savepoints.close()
    assert not list(folder.glob("imagemill-*"))


def written(folder: Path, **texts: str) -> list[Path]:
    """The model process's files."""
    for name, text in texts.items():
        (folder / name).write_text(text)
    return [folder / name for name in texts]


def contents(savepoint: Savepoint | None) -> dict[str, str]:
    assert savepoint
    return {path.name: path.read_text() for path in savepoint.folder.iterdir()}


def test_a_savepoint_is_its_files_and_nothing_else(savepoints: Savepoints, folder: Path) -> None:
    savepoints.take(written(folder, part="1", head="a"), 0.25, 4)
    assert contents(savepoints.newest) == {"part": "1", "head": "a"}
    first, newer = savepoints.newest, [folder / "part", *written(folder, other="2", tip="b")]
    (folder / "part").unlink()  # the last savepoint had it
    savepoints.take(newer, 0.5, 4)
    for file in newer[1:]:
        file.unlink()
    assert contents(savepoints.newest) == {"part": "1", "other": "2", "tip": "b"}
    assert contents(first) == {"part": "1", "head": "a"}
    assert savepoints.newest
    assert (savepoints.newest.progress, savepoints.newest.batch_class) == (0.5, 4)
    savepoints.forget_before(savepoints.newest)
    assert contents(savepoints.newest) == {"part": "1", "other": "2", "tip": "b"}
    assert first
    assert not first.folder.exists()


def test_a_run_that_begins_anew_may_use_a_name_again(savepoints: Savepoints, folder: Path) -> None:
    savepoints.take(written(folder, part="old"), 0.5, 1)
    (folder / "part").unlink()
    savepoints.take(written(folder, part="new"), 0.25, 1)
    assert contents(savepoints.newest) == {"part": "new"}


def test_a_file_that_is_gone_costs_that_savepoint_only(
    savepoints: Savepoints, folder: Path
) -> None:
    savepoints.take(written(folder, head="a"), 0.25, 1)
    before = savepoints.newest
    assert before
    with pytest.raises(FileNotFoundError):
        savepoints.take([*written(folder, part="1"), folder / "gone"], 0.5, 1)
    assert savepoints.newest is before
    assert list(before.folder.parent.iterdir()) == [before.folder]


def test_without_savepoints_there_is_no_folder(savepoints: Savepoints, folder: Path) -> None:
    assert savepoints.newest is None
    assert list(folder.iterdir()) == []
