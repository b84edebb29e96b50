"""`python -m workers`: bad words end it with one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "workers", *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "--family"),
        (["--family", "captioner", "--device", "gpu"], "cuda:N"),
        (["models"], "action"),
    ],
)
def test_usage(arguments: list[str], word: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert word in done.stderr


@pytest.mark.parametrize(
    ("arguments", "env", "word"),
    [
        (["--family", "captioner"], {"IMAGEMILL_LEASE_S": "soon"}, "IMAGEMILL_LEASE_S"),
        (["--family", "captioner"], {"IMAGEMILL_PROFILE": "huge"}, "IMAGEMILL_PROFILE"),
        (["--family", "sculptor"], {}, "sculptor"),
        (["--family", "captioner", "--models", "nothing"], {}, "nothing"),
        (["--family", "diffuser", "--models", "sd15"], {}, "models pull sd15"),
        (["models", "pull", "nothing"], {}, "nothing"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], env: dict[str, str], word: str, tmp_path: Path
) -> None:
    done = run(*arguments, **{"IMAGEMILL_MODELS_DIR": str(tmp_path), **env})
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert word in line


def test_a_ledger_that_may_forget_is_refused(servers: object) -> None:
    """The broker's server stands in: it does not fsync every write."""
    url = servers.settings.broker_url  # type: ignore[attr-defined]
    done = run("--family", "translator", IMAGEMILL_LEDGER_URL=url)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].count("appendfsync everysec") == 1
