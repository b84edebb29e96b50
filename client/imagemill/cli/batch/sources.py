"""What the items of a batch are made of: local folders and files, and places in S3."""

import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from imagemill import Client
from imagemill.cli.batch.folder import Refuse, pictures, upload_pictures
from imagemill.cli.batch.state import RunState
from imagemill.cli.show import note
from imagemill.errors import ImagemillError, InvalidInput

Form = Literal["folder", "manifest", "archive", "s3_prefix"]

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
BATCH = "batch"  # the purpose of an upload that is a source


def form_of(text: str) -> Form:
    """What a source is, by its name. Raises InvalidInput."""
    name = text.lower()
    if name.startswith("s3://") and name.endswith("/"):
        return "s3_prefix"
    if not name.startswith("s3://"):
        path = Path(text)
        if path.is_dir():
            return "folder"
        if not path.exists():
            raise InvalidInput(f"{text}: No such file or directory")
    if name.endswith(".jsonl"):
        return "manifest"
    if name.endswith(ARCHIVES):
        return "archive"
    raise InvalidInput(
        f"{text}: expected a folder, a zip, tar or tar.gz, a .jsonl file, or s3://bucket/prefix/"
    )


def count(text: str) -> int:
    """The pictures in a folder. Raises InvalidInput where there are none."""

    def tell(error: OSError) -> None:
        note(f"{error.filename}: {error.strerror}")

    found = sum(1 for _ in pictures(Path(text), tell))
    if not found:
        raise InvalidInput(f"{text}: no pictures in it")
    return found


def source_of(
    client: Client,
    text: str,
    state: RunState,
    refuse: Refuse,
    on_progress: Callable[[int], object],
) -> dict[str, Any]:
    """The `source` of a batch, with all of it uploaded that lies on this machine.

    Raises InvalidInput, ApiError, ServiceUnavailable, and ImagemillError where no picture of a
    folder is of any use.
    """
    form = form_of(text)
    if form == "folder":
        folder = Path(text)
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch, f"{folder.resolve().name or 'pictures'}.jsonl")
            with path.open("w", encoding="utf-8") as manifest:
                lines = upload_pictures(client, folder, state, manifest, refuse, on_progress)
            if not lines:
                raise ImagemillError(f"{text}: none of its pictures could be uploaded")
            return {"type": "manifest", "file_id": upload_source(client, path)}
    if text.startswith("s3://"):
        return {"type": form, "url": text}
    return {"type": form, "file_id": upload_source(client, Path(text))}


def upload_source(client: Client, path: Path) -> str:
    """The id of a file of any size, uploaded unless the service has it. Raises InvalidInput."""
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}") from None
    known = client.files.known([sha256], BATCH)
    return known.get(sha256) or client.files.upload(path, BATCH).id


def endpoint_of(text: str) -> str:
    """The endpoint that a file of request lines is for: its first line's. Raises InvalidInput."""
    try:
        with Path(text).open(encoding="utf-8-sig") as lines:
            url = json.loads(lines.readline())["url"]
    except OSError as error:
        raise InvalidInput(f"{text}: {error.strerror}") from None
    except (ValueError, LookupError, TypeError):
        url = None
    if not isinstance(url, str):
        raise InvalidInput(
            f"{text}: its first line is no request with a url; of a manifest, say the --kind"
        )
    return url
