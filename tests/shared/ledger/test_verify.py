"""Verify: silent about a healthy system, and every kind of inconsistency is found."""

import hashlib
import re
from collections.abc import Callable

import pytest

from deploy.ports import free_ports
from shared.layout import manifest_key
from shared.ledger import verify
from shared.manifest import save
from tests.shared.ledger.system import HOWEVER_YOUNG, System

OLD_MS = 61_000


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "PAUSE_S", 0.01)


@pytest.fixture
def healthy(system: System) -> System:
    """Jobs in every phase, saved and about to be."""
    system.upload()
    system.finish("captioner", "diffuser", id="job_done", files=("file_1",))
    system.ledger.cancel(system.submit("captioner", id="job_canceled"))
    system.claim(system.publish("captioner", id="job_leased"))
    system.publish("translator", id="job_published", files=("file_1",))
    system.work(system.publish("captioner", "diffuser", id="job_between"))
    system.save_all()
    system.submit("captioner", id="job_waiting")
    return system


def now(system: System) -> int:
    seconds, micros = system.client.time()
    return seconds * 1000 + micros // 1000


def artifact_key(system: System) -> str:
    return system.ledger.get("job_done").artifacts[0].key


def test_a_healthy_system_is_silent(healthy: System) -> None:
    assert list(healthy.inconsistencies()) == []
    assert list(healthy.inconsistencies(digests=True)) == []
    assert list(healthy.inconsistencies(orphan_s=HOWEVER_YOUNG)) == []


def lose_artifact(system: System) -> str:
    system.store.delete([artifact_key(system)])
    return "^job_done: jobs/job_done/.*/image.png is not in S3$"


def cut_artifact(system: System) -> str:
    system.store.put(artifact_key(system), b"resul", "image/png")
    return "^job_done: .*image.png has 5 bytes instead of 6$"


def exchange_artifact(system: System) -> str:
    system.store.put(artifact_key(system), b"RESULT", "image/png")
    return "^job_done: .*image.png has another SHA-256 in its metadata$"


def lose_manifest(system: System) -> str:
    system.store.delete([manifest_key("job_canceled")])
    return "^job_canceled: its manifest is not in S3$"


def damage_manifest(system: System) -> str:
    system.store.put(manifest_key("job_done"), b'{"id": "job_done', "application/json")
    return "^job_done: its manifest cannot be read$"


def bring_back_an_older_manifest(system: System) -> str:
    job = system.ledger.get("job_between")
    older = job.model_copy(update={"version": job.version - 1})
    system.store.put(manifest_key(job.id), older.model_dump_json().encode(), "application/json")
    return f"^job_between: running in version {job.version}, but running in version {older.version}"


def exchange_status(system: System) -> str:
    key = manifest_key("job_done")
    text = system.store.get(key).replace(b'"status": "succeeded"', b'"status": "failed"', 1)
    system.store.put(key, text, "application/json")
    return "^job_done: succeeded in version .*, but failed"


def save_nothing(system: System) -> str:
    system.client.zadd("unsaved", {"job_waiting": now(system) - OLD_MS})
    return "^job_waiting: its manifest is behind since "


def lose_file(system: System) -> str:
    system.store.delete([system.ledger.file_key("file_1")[0]])
    return "^file_1: files/t/file_1/.* is not in S3$"


def cut_file(system: System) -> str:
    system.store.put(system.ledger.file_key("file_1")[0], b"pic", "image/png")
    return "^file_1: .* has 3 bytes instead of 7$"


def damage_record(system: System) -> str:
    system.client.hset("job:job_done", "metadata", "{")
    return "^job_done: its record cannot be read$"


def leave_a_lease(system: System) -> str:
    until = now(system) - OLD_MS
    system.client.hset("job:job_leased", "lease_until", until)
    system.client.zadd("due", {"job_leased": until})
    return "^job_leased: its lease ended at 20.*Z?: does no reaper run"


def leave_what_is_due(system: System) -> str:
    system.client.zadd("due", {"job_waiting": now(system) - OLD_MS})
    return "^job_waiting: overdue since "


def lose_message(system: System) -> str:
    system.client.zadd("due", {"job_published": now(system) - OLD_MS + 10_000})
    system.broker.flushdb()
    return "^job_published: its message is not in the broker's queue 1-interactive.translator.tiny$"


def misdirect_message(system: System) -> str:
    system.broker.lpush("1-interactive.painter.tiny", "message")
    return "^broker: messages in 1-interactive.painter.tiny, a queue that the ledger does not know$"


def lose_index_entry(system: System) -> str:
    system.client.zrem("due", "job_leased")
    return "job_leased"


@pytest.mark.parametrize(
    "break_it",
    [
        lose_artifact,
        cut_artifact,
        exchange_artifact,
        lose_manifest,
        damage_manifest,
        bring_back_an_older_manifest,
        exchange_status,
        save_nothing,
        lose_file,
        cut_file,
        damage_record,
        leave_a_lease,
        leave_what_is_due,
        lose_message,
        misdirect_message,
        lose_index_entry,
    ],
)
def test_what_does_not_agree_is_found_and_nothing_else(
    healthy: System, break_it: Callable[[System], str]
) -> None:
    wanted = break_it(healthy)
    [line] = healthy.inconsistencies()
    assert re.search(wanted, line)


def test_bytes_that_changed_under_the_same_metadata_are_found_by_their_digest(
    healthy: System,
) -> None:
    claimed = hashlib.sha256(b"result").hexdigest()
    healthy.store.put(artifact_key(healthy), b"RESULT", "image/png", {"sha256": claimed})
    assert list(healthy.inconsistencies()) == []
    [line] = healthy.inconsistencies(digests=True)
    assert re.search("^job_done: .*image.png has bytes of another SHA-256$", line)


def test_objects_that_nothing_refers_to_are_told_once_they_are_old(healthy: System) -> None:
    live = healthy.ledger.get("job_leased").fence
    healthy.produce("job_leased", live)  # not committed yet
    for key in ("0-captioner-step/savepoint/a1.json", f"0-captioner-step/a{live}/preview.jpg"):
        healthy.store.put(f"jobs/job_leased/{key}", b"x", "image/png")
    keys = {
        f"jobs/job_leased/0-captioner-step/a{live + 1}/image.png",
        "jobs/job_done/0-captioner-step/savepoint/a1.json",
        "jobs/job_gone/manifest.json",
        "files/t/file_1/other",
        "files/t/file_gone/0a1b2c",
    }
    for key in keys:
        healthy.store.put(key, b"x", "image/png")
    assert list(healthy.inconsistencies()) == []
    found = sorted(healthy.inconsistencies(orphan_s=HOWEVER_YOUNG))
    assert found == sorted(f"{key}: nothing in the ledger refers to it" for key in keys)


def test_what_waits_to_be_erased_is_no_orphan(healthy: System) -> None:
    healthy.ledger.delete("job_done")
    healthy.ledger.delete("job_leased")  # its worker has not let go yet
    healthy.upload("file_2")
    healthy.ledger.delete_file("t", "file_2")
    assert list(healthy.inconsistencies(orphan_s=HOWEVER_YOUNG)) == []


def test_what_passes_is_not_told(healthy: System, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = manifest_key("job_done")
    healthy.store.delete([lost, artifact_key(healthy)])
    healthy.store.put("jobs/job_gone/1-step/a1/image.png", b"x", "image/png")

    def meanwhile(pause_s: float) -> None:
        save(healthy.ledger, healthy.store, "job_done")
        healthy.store.delete(["jobs/job_gone/1-step/a1/image.png"])

    monkeypatch.setattr(verify.time, "sleep", meanwhile)
    [line] = healthy.inconsistencies(orphan_s=HOWEVER_YOUNG)
    assert line.endswith("image.png is not in S3")


# The command


def test_the_command_tells_by_its_exit_status(healthy: System) -> None:
    silent = healthy.command("verify")
    assert (silent.returncode, silent.stderr) == (0, "")
    assert re.fullmatch(
        r"6 jobs, 1 files, 0 batches, \d+ objects: no inconsistencies\n", silent.stdout
    )
    wanted = lose_artifact(healthy), lose_file(healthy)
    told = healthy.command("verify", "--digests")
    assert (told.returncode, told.stderr) == (1, "")
    *lines, summary = told.stdout.splitlines()
    assert summary.endswith("objects: 2 inconsistencies")
    assert all(re.search(w, line) for w, line in zip(wanted, sorted(lines)[::-1], strict=True))


@pytest.mark.parametrize("command", ["verify", "rebuild"])
def test_a_server_that_is_away_is_one_line_and_status_3(system: System, command: str) -> None:
    nobody = f"127.0.0.1:{free_ports()}"
    away = {"ledger_url": f"redis://{nobody}/0", "s3_endpoint": f"http://{nobody}"}
    if command == "verify":
        away["broker_url"] = f"redis://{nobody}/0"
    for name, address in away.items():
        told = system.command(command, **{name: address})
        assert (told.returncode, told.stdout) == (3, "")
        assert len(told.stderr.splitlines()) == 1


def test_wrong_settings_are_one_line_and_status_2(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEMILL_LEASE_S", "soon")
    told = system.command("verify")
    assert told.returncode == 2
    assert re.fullmatch("python -m shared.ledger: IMAGEMILL_LEASE_S: .*\n", told.stderr)
