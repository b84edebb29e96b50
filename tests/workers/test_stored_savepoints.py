"""Savepoints in S3: what is written, erased and found again, whoever writes beside."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from shared.errors import StorageUnavailable
from shared.testing.object_store import MemoryObjectStore
from workers.savepoints import Savepoint, Savepoints
from workers.stored_savepoints import StoredSavepoints

FOLDER = "jobs/job_1/0-composite/savepoint/"


class Step:
    """Executions of one step; each has a fence, and a folder for the files that it writes."""

    def __init__(self, folder: Path) -> None:
        self.store = MemoryObjectStore()
        self.folder = folder
        self.savepoints: dict[StoredSavepoints, Savepoints] = defaultdict(Savepoints)

    def execution(self, fence: int, revision: str = "r1") -> StoredSavepoints:
        return StoredSavepoints(self.store, FOLDER, fence, revision)

    def save(self, execution: StoredSavepoints, text: str, progress: float = 0.5) -> bool:
        """A savepoint with a part for each letter and a head; the letters are its text."""
        savepoints = self.savepoints[execution]
        files = [self.folder / name for name in (*(f"part-{c}" for c in text), f"head-{text}")]
        last = savepoints.newest
        for file in files:
            file.unlink(missing_ok=True)
            if not last or not (last.folder / file.name).exists():
                file.write_text(file.name)
        savepoints.take(files, progress, 4)
        assert savepoints.newest
        return execution.save(savepoints.newest, lambda: True)

    def found(self, execution: StoredSavepoints) -> str | None:
        """The text of the savepoint that an execution goes on from."""
        savepoints = self.savepoints[execution]
        savepoint = execution.restore(savepoints)
        assert savepoint is savepoints.newest
        return savepoint and text_of(savepoint)

    @property
    def keys(self) -> set[str]:
        return {key.removeprefix(FOLDER) for _, key in self.store.objects}


def text_of(savepoint: Savepoint) -> str:
    texts = {file.name: file.read_text() for file in savepoint.folder.iterdir()}
    [head] = (name for name in texts if name.startswith("head-"))
    text = head.removeprefix("head-")
    assert texts == {name: name for name in (head, *(f"part-{letter}" for letter in text))}
    return text


@pytest.fixture
def step(tmp_path: Path) -> Iterator[Step]:
    step = Step(tmp_path)
    yield step
    for savepoints in step.savepoints.values():
        savepoints.close()


def test_the_next_execution_finds_the_newest_and_writes_only_what_is_new(step: Step) -> None:
    first, second = step.execution(1), step.execution(3)
    assert step.found(first) is None
    assert step.save(first, "a")
    assert step.save(first, "ab", 0.75)
    assert step.found(second) == "ab"
    restored = step.savepoints[second].newest
    assert restored
    assert (text_of(restored), restored.progress, restored.batch_class) == ("ab", 0.75, 4)
    assert step.save(second, "abc")
    assert {key for key in step.keys if key.startswith("a3")} == {
        "a3.json",
        "a3-part-c",
        "a3-head-abc",
    }
    assert step.found(step.execution(4)) == "abc"


def test_what_is_behind_is_erased_but_for_the_last_one(step: Step) -> None:
    """Whoever reads that one meanwhile shall find it whole."""
    first = step.execution(1)
    for text in ("a", "ab", "bc"):
        step.save(first, text)
    assert step.keys == {"a1.json"} | {
        f"a1-{name}" for name in ("part-a", "part-b", "head-ab", "part-c", "head-bc")
    }
    second = step.execution(2)
    assert step.found(second) == "bc"
    for text in ("bcd", "cd"):
        step.save(second, text)
    last, own = {"a2-head-bcd", "a1-part-b"}, {"a2.json", "a2-part-d", "a2-head-cd", "a1-part-c"}
    assert step.keys == last | own
    second.erase()
    assert step.keys == set()


def test_who_has_lost_the_lease_neither_writes_nor_erases(step: Step) -> None:
    stale, live = step.execution(1), step.execution(2)
    step.save(stale, "a")
    assert step.found(live) == "a"
    assert step.save(live, "ab")
    before = step.keys
    assert not step.save(stale, "cd")
    assert step.keys == before
    assert step.found(step.execution(3)) == "ab"


def test_what_another_execution_erased_is_written_again(step: Step) -> None:
    """One that lost its lease, and does not know of its successor yet."""
    stale, live = step.execution(1), step.execution(2)
    step.save(stale, "ab")
    assert step.found(live) == "ab"
    step.save(stale, "xy")
    step.save(stale, "xyz")
    assert not step.keys & {"a1-part-a", "a1-part-b"}
    assert step.save(live, "abc")
    assert step.found(step.execution(3)) == "abc"


def cut_part(store: MemoryObjectStore) -> None:
    store.put(f"{FOLDER}a2-part-b", b"par", "application/octet-stream")


def change_part(store: MemoryObjectStore) -> None:
    store.put(f"{FOLDER}a2-part-b", b"part-c", "application/octet-stream")


def lose_part(store: MemoryObjectStore) -> None:
    store.delete([f"{FOLDER}a2-head-ab"])


def cut_manifest(store: MemoryObjectStore) -> None:
    store.put(f"{FOLDER}a2.json", store.get(f"{FOLDER}a2.json")[:-9], "application/json")


@pytest.mark.parametrize("damage", [cut_part, change_part, lose_part, cut_manifest])
def test_a_damaged_savepoint_is_passed_over(
    step: Step, damage: Callable[[MemoryObjectStore], None]
) -> None:
    first, second = step.execution(1), step.execution(2)
    step.save(first, "a")
    step.found(second)
    step.save(second, "ab")
    damage(step.store)
    assert step.found(step.execution(3)) == "a"
    step.store.delete([f"{FOLDER}a1.json"])
    assert step.found(step.execution(3)) is None


def test_nobody_goes_on_from_another_models_savepoint(step: Step) -> None:
    step.save(step.execution(1, "r1"), "a")
    step.save(step.execution(2, "r2"), "b")
    assert step.found(step.execution(3, "r1")) is None
    assert step.found(step.execution(3, "r2")) == "b"


def test_a_part_that_a_new_beginning_made_otherwise_is_written_again(step: Step) -> None:
    execution = step.execution(1)
    step.save(execution, "a")
    part, savepoints = step.folder / "part-a", step.savepoints[execution]
    part.unlink()
    part.write_text("otherwise")
    savepoints.take([part], 0.1, 4)
    assert savepoints.newest
    assert execution.save(savepoints.newest, lambda: True)
    assert step.store.get(f"{FOLDER}a1-part-a") == b"otherwise"
    assert step.execution(2).restore(savepoints)


class Failing(MemoryObjectStore):
    """Goes down after so many calls that write or read bytes."""

    left = 0

    def put(self, *arguments: object, **more: object) -> None:
        self.count()
        super().put(*arguments, **more)  # type: ignore[arg-type]

    def get(self, *arguments: object, **more: object) -> bytes:
        self.count()
        return super().get(*arguments, **more)  # type: ignore[arg-type]

    def count(self) -> None:
        self.left -= 1
        self.down = self.left < 0


@pytest.mark.parametrize("calls", [0, 1, 2, 3])
def test_a_savepoint_that_is_not_completed_takes_nothing_from_the_last(
    step: Step, calls: int
) -> None:
    """Storage goes away before the first of its three objects, or after any of them."""
    step.store = Failing()
    execution = step.execution(1)
    step.store.left = 10
    step.save(execution, "a")
    step.store.left = calls
    with suppress(StorageUnavailable):
        step.save(execution, "ab")
    step.store.down, step.store.left = False, 10
    assert step.found(step.execution(2)) == ("ab" if calls == 3 else "a")
    step.store.left = 10
    assert step.save(execution, "abc")
    assert step.found(step.execution(2)) == "abc"


def test_storage_that_is_away_is_no_missing_savepoint(step: Step) -> None:
    step.store = Failing()
    step.store.left = 10
    step.save(step.execution(1), "ab")
    step.store.left = 2
    second = step.execution(2)
    savepoints = step.savepoints[second]
    with pytest.raises(StorageUnavailable):
        second.restore(savepoints)
    assert savepoints.newest is None
    with savepoints.new_folder() as folder:
        assert list(folder.parent.iterdir()) == [folder]  # nothing of it is left
    step.store.down, step.store.left = False, 10
    assert step.found(second) == "ab"


def test_a_step_that_has_ended_waits_for_no_savepoint(step: Step) -> None:
    execution = step.execution(1)
    with step.savepoints[execution].new_folder() as folder:
        (folder / "head-a").write_text("head-a")
    assert not execution.save(Savepoint(folder, 0.5, 1), lambda: False)
    assert step.keys == set()
