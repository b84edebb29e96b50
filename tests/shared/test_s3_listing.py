"""Listings as a server writes them."""

import pytest

from shared import s3_listing
from shared.errors import StorageUnavailable
from shared.object_store import S3ObjectStore, StoredObject
from shared.s3_listing import LISTED


@pytest.fixture
def store(servers):
    return S3ObjectStore(servers.settings, retry_s=1)


@pytest.mark.parametrize(
    "name", ["a b.jpg", "ü%20x+y", "x#1?~*&=", "[x]{y}|z^`", "%2F", "'<>&amp;", "\t", "\x01", "ا"]
)
def test_any_name_is_listed_as_it_is(store, prefix, name):
    store.put(prefix + name, b"12345", "text/plain")
    head = store.head(prefix + name)
    assert list(store.list(prefix)) == [StoredObject(prefix + name, 5, head.modified_at)]


def test_a_time_and_names_as_aws_and_minio_write_them():
    for encoding, key in (
        ("", "a+b &amp; c%20"),
        ("<EncodingType>url</EncodingType>", "a%2Bb+%26+c%2520"),
    ):
        body = f"""<?xml version="1.0" encoding="UTF-8"?>
            <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
            <Name>b</Name><IsTruncated>true</IsTruncated>{encoding}
            <NextContinuationToken>t</NextContinuationToken><Contents><Key>{key}</Key>
            <LastModified>2026-01-02T03:04:05.678Z</LastModified><ETag>"1"</ETag><Size>7</Size>
            <StorageClass>STANDARD</StorageClass></Contents></ListBucketResult>"""
        answer, page = {"status_code": 200, "body": body.encode()}, {}
        s3_listing._read(answer, page)
        assert page[LISTED] == [("a+b & c%20", 7, 1767323045678)]
        assert b"NextContinuationToken" in answer["body"]
        assert b"Contents" not in answer["body"]


@pytest.mark.parametrize(
    "damage",
    [b"<a", b"<a/>", b"<ListBucketResult><Contents><Key>k</Key></Contents></ListBucketResult>"],
)
def test_what_is_no_listing_is_told(store, damage, monkeypatch):
    read = s3_listing._read

    def damaged(response_dict, **rest):
        response_dict["body"] = damage
        read(response_dict, **rest)

    events = store._client().meta.events
    events.unregister("before-parse.s3.ListObjectsV2", read)
    events.register("before-parse.s3.ListObjectsV2", damaged)
    with pytest.raises(StorageUnavailable, match="a damaged listing"):
        list(store.list("a"))
