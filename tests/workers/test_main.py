"""`python -m workers`: bad words end it with one line."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.waiting import PATIENCE_S


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "workers", *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "--family"),
        (["--family", "captioner", "--device", "gpu"], "cuda:N"),
        (["--family", "panorama_trainer", "--device", "cuda:0,cpu"], "cuda:N,cuda:M"),
        (["--family", "panorama_trainer", "--device", "cuda:0,cuda:0"], "twice"),
        (["models"], "action"),
        (["models", "import", "some.pth"], "--as"),
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
        (["models", "import", "nothing.pth", "--as", "vgg16"], {}, "nothing.pth"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], env: dict[str, str], word: str, tmp_path: Path
) -> None:
    done = run(*arguments, **{"IMAGEMILL_MODELS_DIR": str(tmp_path), **env})
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert word in line


def test_a_ledger_that_may_forget_is_refused(servers: Any) -> None:
    """The broker's server stands in: it does not fsync every write."""
    done = run("--family", "translator", IMAGEMILL_LEDGER_URL=servers.settings.broker_url)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "appendfsync everysec" in line


@pytest.mark.parametrize("name", ["ledger_url", "broker_url"])
def test_a_server_that_drops_keys_when_it_is_full_is_refused(servers: Any, name: str) -> None:
    urls = {each: getattr(servers.settings, each) for each in ("ledger_url", "broker_url")}
    with redis.Redis.from_url(urls[name]) as server:
        server.config_set("maxmemory-policy", "allkeys-lru")
        try:
            env = {f"IMAGEMILL_{each.upper()}": url for each, url in urls.items()}
            done = run("--family", "translator", **env)
        finally:
            server.config_set("maxmemory-policy", "noeviction")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"IMAGEMILL_{name.upper()}" in line
    assert "allkeys-lru" in line
