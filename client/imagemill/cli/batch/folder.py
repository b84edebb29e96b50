"""The pictures of a local folder: found, hashed, uploaded where the service lacks them."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from imagemill import Client
from imagemill.cli.batch.state import Digest, RunState
from imagemill.errors import ApiError, InvalidInput
from imagemill.parallel import in_parallel

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
SLICE = 500  # pictures that are looked up at once
REFUSALS = (400, 413, 415, 422)  # statuses that speak of one file, not of the service


@dataclass(frozen=True)
class Refusal:
    """Why a picture is of no use."""

    code: str
    message: str


Refuse = Callable[[str, Refusal], object]  # of the picture of that name


def pictures(folder: Path, on_error: Callable[[OSError], object] = lambda _: None) -> Iterator[str]:
    """The names of the pictures below the folder, folder by folder and in the order of their
    names. Hidden ones are left out; `on_error` hears of folders that cannot be read."""
    for path, folders, files in os.walk(folder, onerror=on_error):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        for name in sorted(files):
            if name.lower().endswith(PICTURES) and not name.startswith("."):
                yield Path(path, name).relative_to(folder).as_posix()


def upload_pictures(
    client: Client,
    folder: Path,
    state: RunState,
    manifest: IO[str],
    refuse: Refuse,
    on_progress: Callable[[int], object],
) -> int:
    """Writes a line of the manifest for every picture that the service has now; how many.

    `on_progress` is called with the number of pictures looked at. Raises ApiError and
    ServiceUnavailable where it is not about a single picture.
    """
    names, looked_at, written = pictures(folder), 0, 0
    while some := list(islice(names, SLICE)):
        digests = _digests(folder, some, state)
        ids = _ids(client, folder, digests, on_progress, looked_at)
        for name in some:
            digest = digests[name]
            found = digest if isinstance(digest, Refusal) else ids[digest.sha256]
            if isinstance(found, Refusal):
                refuse(shown(name), found)
                continue
            line = {"custom_id": name, "image": found, "name": name.rpartition(".")[0]}
            manifest.write(json.dumps(line, ensure_ascii=False) + "\n")
            written += 1
        state.save()
        looked_at += len(some)
        on_progress(looked_at)
    return written


def shown(name: str) -> str:
    """A file's name, with what is no UTF-8 in it as backslashes and numbers."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _digests(folder: Path, names: Sequence[str], state: RunState) -> dict[str, Digest | Refusal]:
    """By name; files that have not changed since the last time are not read again."""
    found: dict[str, Digest | Refusal] = {}
    unread = []
    for name in names:
        path = folder / name
        try:
            name.encode()
            facts = path.stat()
            size, changed_ns = facts.st_size, facts.st_mtime_ns
            if sha256 := state.digest(str(path), size, changed_ns):
                found[name] = Digest(str(path), size, changed_ns, sha256)
            else:
                unread.append((name, path, size, changed_ns))
        except UnicodeError:
            found[name] = Refusal("invalid_custom_id", "the file's name is not UTF-8")
        except OSError as error:
            found[name] = _unreadable(error)
    found.update(in_parallel(lambda each: (each[0], _digest(*each[1:])), unread))
    state.keep(digest for digest in found.values() if isinstance(digest, Digest))
    return found


def _digest(path: Path, size: int, changed_ns: int) -> Digest | Refusal:
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return _unreadable(error)
    return Digest(str(path), size, changed_ns, sha256)


def _ids(
    client: Client,
    folder: Path,
    digests: dict[str, Digest | Refusal],
    on_progress: Callable[[int], object],
    looked_at: int,
) -> dict[str, str | Refusal]:
    """File ids by SHA-256; what the service does not know is uploaded."""
    paths = {d.sha256: Path(d.path) for d in digests.values() if isinstance(d, Digest)}
    ids: dict[str, str | Refusal] = dict(client.files.known(paths))
    looked_at += len(digests) - len(paths.keys() - ids.keys())
    lacking = [(sha256, path) for sha256, path in paths.items() if sha256 not in ids]
    for sha256, found in in_parallel(lambda each: (each[0], _upload(client, each[1])), lacking):
        ids[sha256] = found
        looked_at += 1
        on_progress(looked_at)
    return ids


def _upload(client: Client, path: Path) -> str | Refusal:
    try:
        return client.files.upload(path).id
    except InvalidInput as error:
        return Refusal("unreadable_file", str(error))
    except ApiError as error:
        if error.status not in REFUSALS:
            raise
        return Refusal(error.code, str(error))


def _unreadable(error: OSError) -> Refusal:
    return Refusal("unreadable_file", error.strerror or type(error).__name__)
