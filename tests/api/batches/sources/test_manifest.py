import json


def test_variables_are_texts(source_world):
    rows = [
        {"image": "s3://photos/a/b.jpg", "n": 3, "sure": True, "question": "أين؟"},
        {"custom_id": "x", "text": "no picture"},
        {"image": "file_1", "name": "given"},
        {"nested": {}},
        {"not a name": 1},
        {"custom_id": 5},
    ]
    data = "\n".join(json.dumps(row) for row in rows).encode()
    url = source_world.put("manifest.jsonl", data)
    for source in ({"url": url}, {"file_id": source_world.upload(data)}):
        first, second, third, *bad = source_world.lines(type="manifest", **source)
        assert first.custom_id == "line-1"
        assert first.variables == {
            "image": "s3://photos/a/b.jpg",
            "name": "b",
            "n": "3",
            "sure": "true",
            "question": "أين؟",
        }
        assert (second.custom_id, second.variables) == ("x", {"text": "no picture"})
        assert third.variables["name"] == "given"
        assert [line.error and line.error.code for line in bad] == [
            "invalid_line",
            "invalid_line",
            None,
        ]
        assert bad[2].custom_id == 5  # which is refused with the others that are of no use
