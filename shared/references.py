"""What a picture of a job may be given as: an upload, an object in S3, or a member of either."""

import re
from dataclasses import dataclass

from shared.errors import InvalidRequest

_MEMBER = re.compile(r"(?P<archive>.+)#(?P<offset>\d+)\+(?P<size>\d+)(\+zip\+(?P<unpacked>\d+))?")


@dataclass(frozen=True)
class Member:
    """A part of an archive: `size` bytes from `offset` on.

    Of a tar these are the picture itself. Of a zip (`unpacked` is given: how many bytes it
    unpacks to) the local header stands at `offset`, and the packed bytes follow it.
    """

    offset: int
    size: int
    unpacked: int | None = None


@dataclass(frozen=True)
class Reference:
    """Where a picture's bytes lie: in the upload `file_id`, or under `key` in a user's bucket."""

    file_id: str = ""
    bucket: str = ""
    key: str = ""
    member: Member | None = None

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """`file_…` or `s3://bucket/key`; for a member of such an archive `#offset+size` follows,
        or `#offset+size+zip+unpacked`. Raises InvalidRequest."""
        member = None
        if found := _MEMBER.fullmatch(text):
            text, unpacked = found["archive"], found["unpacked"]
            member = Member(
                int(found["offset"]), int(found["size"]), int(unpacked) if unpacked else None
            )
        if text.startswith("file_"):
            return cls(file_id=text, member=member)
        bucket, _, key = text.removeprefix("s3://").partition("/")
        if text.startswith("s3://") and bucket and key:
            return cls(bucket=bucket, key=key, member=member)
        raise InvalidRequest(f"not an image reference: {text[:100]}")
