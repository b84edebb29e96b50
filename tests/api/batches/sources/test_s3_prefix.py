import pytest

from shared.errors import InvalidRequest, NotFound


def test_pictures_and_nothing_else(source_world):
    for path in ("a.jpg", "b c/ü#1+2.PNG", "b c/d/e.webp", "notes.txt", ".hidden.png", "z.tiff"):
        source_world.put(f"in/{path}", b"1234")
    source_world.put("inner/no.jpg")
    found = source_world.lines(type="s3_prefix", url=source_world.url + "in/")
    assert {line.custom_id for line in found} == {
        "a.jpg",
        "b c/ü#1+2.PNG",
        "b c/d/e.webp",
        "z.tiff",
    }
    line = next(line for line in found if line.custom_id.startswith("b c/ü"))
    image = f"{source_world.url}in/b c/ü#1+2.PNG"
    assert (line.variables, line.bytes) == ({"image": image, "name": "b c/ü#1+2"}, 4)
    assert source_world.content(image) == b"1234"
    flat = source_world.lines(type="s3_prefix", url=source_world.url + "in/", recursive=False)
    assert [line.custom_id for line in flat] == ["a.jpg", "z.tiff"]
    assert source_world.lines(type="s3_prefix", url=source_world.url + "empty/") == []


def test_what_may_not_be_read(source_world):
    with pytest.raises(InvalidRequest, match="not under a prefix"):
        source_world.lines(type="s3_prefix", url="s3://imagemill/files/")
    allow = {"s3_input_prefixes": ("s3://no-such-bucket/",)}
    settings = source_world.services.settings.model_copy(update=allow)
    source_world.allow(settings)
    with pytest.raises(NotFound, match="s3://no-such-bucket/a/ is not there or may not be read"):
        source_world.lines(type="s3_prefix", url="s3://no-such-bucket/a/")
