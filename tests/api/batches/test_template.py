from api.batches.template import fill, lone, names

DOCUMENT = {
    "image": "$image",
    "prompt": "${name} for $5 or $$6, $unknown",
    "edits": [{"append": "$index"}, 3, None],
    "seed": 4,
}


def test_variables_are_filled_in_wherever_a_string_is():
    filled = fill(DOCUMENT, {"image": "s3://a/$name.png", "name": "cat", "index": "7"})
    assert filled == {
        "image": "s3://a/$name.png",  # a value is no template
        "prompt": "cat for $5 or $6, $unknown",
        "edits": [{"append": "7"}, 3, None],
        "seed": 4,
    }
    assert DOCUMENT["image"] == "$image"


def test_names():
    assert names(DOCUMENT) == {"image", "name", "unknown", "index"}
    assert lone(DOCUMENT) == {"image", "index"}
    assert lone({"a": "${style}", "b": "$style!"}) == {"style"}
