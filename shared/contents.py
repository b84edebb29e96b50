"""The bytes behind a reference: of an upload, of a user's own object, or of a member of either."""

from collections.abc import Callable
from functools import partial
from typing import Any

from shared.errors import InvalidArchive, TooLarge
from shared.ledger import Ledger
from shared.object_store import ObjectStore
from shared.references import Member, Reference
from shared.zip_members import zip_content

MB = 2**20


def _at_once(call: Callable[[], Any]) -> Any:
    return call()


class Contents:
    """Reads references. `patiently` makes a call of the store, and may make it again.

    `max_mb` bounds what may be read of a user's own object or of an archive's member.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: ObjectStore,
        max_mb: int,
        patiently: Callable[[Callable[[], Any]], Any] = _at_once,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._max_mb = max_mb
        self._patiently = patiently

    def of(self, reference: Reference) -> bytes:
        """Raises NotFound, TooLarge, InvalidArchive, StorageCorrupt, StorageUnavailable,
        LedgerUnavailable."""
        if reference.member:
            return self._member(reference, reference.member)
        if reference.file_id:
            key, digest, size = self._ledger.file_key(reference.file_id)
            read = partial(self._store.get, key, sha256=digest, size=size)
        else:
            limit = self._max_mb * MB
            read = partial(self._store.read, reference.bucket, reference.key, limit)
        data: bytes = self._patiently(read)
        return data

    def _member(self, reference: Reference, member: Member) -> bytes:
        """A part of an archive, of which no more is fetched."""
        if max(member.size, member.unpacked or 0) > self._max_mb * MB:
            raise TooLarge(f"a file of the archive is larger than {self._max_mb} MB")
        key = reference.key or self._ledger.file_key(reference.file_id)[0]

        def read(offset: int, size: int) -> bytes:
            part = partial(self._store.read_range, key, offset, size, bucket=reference.bucket)
            data: bytes = self._patiently(part)
            return data

        if member.unpacked is not None:
            return zip_content(read, member.offset, member.size, member.unpacked)
        data = read(member.offset, member.size)
        if len(data) != member.size:
            raise InvalidArchive("the archive ends within the file")
        return data
