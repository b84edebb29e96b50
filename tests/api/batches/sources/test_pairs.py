import pytest


@pytest.fixture
def sides(source_world):
    for path in ("photos/a.jpg", "photos/b.jpg", "photos/c.jpg", "styles/a.png", "styles/c.webp"):
        source_world.put(path)
    first, second = (
        {"type": "s3_prefix", "url": f"{source_world.url}{name}/"} for name in ("photos", "styles")
    )
    return {"type": "pairs", "first": first, "second": second}


def test_by_name(source_world, sides):
    a, b, c = source_world.lines(**sides, match="name")
    url = source_world.url
    image, style = f"{url}photos/a.jpg", f"{url}styles/a.png"
    assert a.variables == {"image": image, "first": image, "second": style, "name": "a"}
    assert (b.custom_id, b.error.code) == ("b.jpg", "no_partner")
    assert c.variables["second"] == f"{url}styles/c.webp"


def test_at_random_is_the_same_for_the_same_seed(source_world, sides):
    drawn = {
        seed: tuple(
            line.variables["second"]
            for _ in range(2)
            for line in source_world.lines(**sides, match="random", seed=seed)
        )
        for seed in range(8)
    }
    assert all(pairs[:3] == pairs[3:] for pairs in drawn.values())
    assert len(set(drawn.values())) > 2
    assert {url for pairs in drawn.values() for url in pairs} == {
        f"{source_world.url}styles/a.png",
        f"{source_world.url}styles/c.webp",
    }


def test_nothing_to_pair_with(source_world, sides):
    sides["second"]["url"] = source_world.url + "empty/"
    for match in ("name", "random"):
        found = source_world.lines(**sides, match=match)
        assert [line.error.code for line in found] == ["no_partner"] * 3
