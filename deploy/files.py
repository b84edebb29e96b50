"""What a stack keeps in its data folder, readable by its owner only."""

import fcntl
import json
import os
import secrets
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from deploy.supervisor import StackError

STACK_JSON = "stack.json"
STACK_ENV = "stack.env"
CREDENTIALS = "credentials.json"
LOCK = "lock"


def write_private(path: Path, text: str) -> None:
    """Replace the file in one step; mode 0600."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    Path(name).replace(path)


@dataclass(frozen=True)
class Credentials:
    """Made once for a data folder: what is stored stays readable."""

    redis_password: str
    s3_access_key: str
    s3_secret_key: str

    @classmethod
    def keep(cls, folder: Path) -> "Credentials":
        """Those of the folder, made where there are none."""
        path = folder / CREDENTIALS
        if not path.exists():
            made = {
                "redis_password": secrets.token_hex(16),
                "s3_access_key": secrets.token_hex(10),
                "s3_secret_key": secrets.token_hex(20),
            }
            write_private(path, json.dumps(made, indent=2) + "\n")
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def open_folder(folder: Path) -> IO[str]:
    """Make the folder and lock it for as long as the returned file is open.

    Raises StackError where another stack has it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / LOCK).open("a")
    except OSError as error:
        raise StackError(f"IMAGEMILL_DATA_DIR: {folder}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise StackError(
            f"another stack runs on {folder}; stop it or set IMAGEMILL_DATA_DIR"
        ) from None
    return lock


def write_stack(folder: Path, info: Mapping[str, Any], settings: Mapping[str, str]) -> None:
    """`stack.json` and `stack.env`, for whoever wants to join the stack."""
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in sorted(settings.items())]
    write_private(folder / STACK_ENV, "".join(lines))
    write_private(folder / STACK_JSON, json.dumps(info, indent=2) + "\n")


def remove_stack(folder: Path) -> None:
    """Take both away: there is no stack to join any more."""
    for name in (STACK_JSON, STACK_ENV):
        (folder / name).unlink(missing_ok=True)
