"""What a picture may be given as."""

import pytest

from shared.errors import InvalidRequest
from shared.references import Member, Reference


def test_an_upload_an_object_and_members_of_either() -> None:
    assert Reference.parse("file_1a") == Reference(file_id="file_1a")
    assert Reference.parse("s3://photos/a/b.png") == Reference(bucket="photos", key="a/b.png")
    assert Reference.parse("file_1a#512+99") == Reference(file_id="file_1a", member=Member(512, 99))
    assert Reference.parse("s3://photos/a.zip#0+7+zip+30") == Reference(
        bucket="photos", key="a.zip", member=Member(0, 7, 30)
    )


def test_a_key_may_hold_what_looks_like_a_member() -> None:
    assert Reference.parse("s3://photos/#1+2.png").key == "#1+2.png"
    found = Reference.parse("s3://photos/#1+2#3+4")
    assert (found.key, found.member) == ("#1+2", Member(3, 4))


@pytest.mark.parametrize("text", ["", "photo.png", "s3://", "s3://photos", "s3://photos/", "#1+2"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="not an image reference"):
        Reference.parse(text)
