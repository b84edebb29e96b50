"""Whole objects without boto3, but where it is needed."""

import gzip
import hashlib
import os
from urllib.parse import urlsplit

import pytest

from shared.errors import TooLarge
from shared.object_store import S3ObjectStore
from shared.s3_streams import BLOCK
from tests.faults.proxy import FaultProxy

DATA = b"picture \x00\xff" * 1000


@pytest.fixture
def store(servers):
    """One that has heard of the server's clock."""
    store = S3ObjectStore(servers.settings, retry_s=5)
    store.check()
    return store


def without_boto3(store, monkeypatch, *calls):
    for call in calls:
        monkeypatch.setattr(store._client(), call, lambda **_: 1 / 0)


@pytest.mark.parametrize(
    "name",
    [
        "a b.jpg",
        "ü%20x+y",
        "x#1?~*&=",
        "a//b",
        "[x]{y}|z^`",
        "%2F",
        "'<>",
        "\t",
        "ا",
    ],
)
def test_any_name_is_read_and_written_as_it_is(store, prefix, name):
    key = prefix + name
    store.put(key, key.encode(), "text/plain")
    found = store._client().get_object(Bucket=store._bucket, Key=key)
    assert found["Body"].read() == key.encode()
    assert store.get(key) == key.encode()
    assert store.read(store._bucket, key, 1000) == key.encode()


@pytest.mark.parametrize("name", ["/{}", "{}/", "/{}/"])
def test_another_object_is_not_taken_instead(store, prefix, name):
    store.put(prefix + "a", DATA, "image/png")
    other = name.format(prefix + "a")
    assert store._objects.read(store._bucket, prefix + "a") == DATA
    assert store._objects.read(store._bucket, other) is None
    assert not store._objects.write(store._bucket, other, b"x", "image/png", {})
    assert store.get(prefix + "a") == DATA


@pytest.mark.parametrize("size", [0, 1, 3 * BLOCK, 6 * BLOCK])
def test_any_size(store, prefix, size, monkeypatch):
    data = os.urandom(size)
    without_boto3(store, monkeypatch, "get_object", "put_object")
    store.put(prefix + "a", data, "image/png")
    assert store.get(prefix + "a", sha256=hashlib.sha256(data).hexdigest()) == data
    assert store.read(store._bucket, prefix + "a", size) == data


def test_what_is_said_of_an_object_is_kept(store, prefix, monkeypatch):
    without_boto3(store, monkeypatch, "put_object")
    store.put(prefix + "a", DATA, "image/png", {"job": "job_1"})
    head = store.head(prefix + "a")
    assert (head.bytes, head.media_type) == (len(DATA), "image/png")
    assert head.metadata == {"sha256": hashlib.sha256(DATA).hexdigest(), "job": "job_1"}


def test_the_first_write_is_for_who_learns_the_servers_clock(servers, prefix):
    store = S3ObjectStore(servers.settings)
    assert not store._clock.seen
    store.put(prefix + "a", DATA, "image/png")
    assert store._clock.seen


def test_what_is_damaged_on_its_way_is_not_stored(servers, store, prefix):
    address = urlsplit(servers.settings.s3_endpoint)
    proxy = FaultProxy((address.hostname, address.port))
    try:
        through = {"s3_endpoint": f"http://127.0.0.1:{proxy.port}"}
        damaging = S3ObjectStore(servers.settings.model_copy(update=through))
        proxy.corrupt("request")
        assert not damaging._objects.write(store._bucket, prefix + "a", DATA, "image/png", {})
        assert proxy.corrupted
        assert not store.exists(prefix + "a")
    finally:
        proxy.close()


def test_bytes_come_as_they_are_stored(store, prefix, monkeypatch):
    packed = gzip.compress(DATA)
    store._client().put_object(
        Bucket=store._bucket, Key=prefix + "a", Body=packed, ContentEncoding="gzip"
    )
    without_boto3(store, monkeypatch, "get_object")
    assert store.get(prefix + "a") == packed


def test_more_than_is_wanted_is_not_read(store, prefix, monkeypatch):
    store.put(prefix + "a", DATA, "image/png")
    without_boto3(store, monkeypatch, "get_object")
    with pytest.raises(TooLarge):
        store.read(store._bucket, prefix + "a", len(DATA) - 1)


def test_credentials_may_come_from_where_boto3_finds_them(servers, prefix, monkeypatch):
    settings = servers.settings
    S3ObjectStore(settings).put(prefix + "a", DATA, "image/png")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", settings.s3_access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", settings.s3_secret_key)
    found = settings.model_copy(update={"s3_access_key": "", "s3_secret_key": ""})
    store = S3ObjectStore(found)
    without_boto3(store, monkeypatch, "get_object")
    assert store.get(prefix + "a") == DATA
