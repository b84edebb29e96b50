import io
import json

import pyarrow.parquet as pq
import pytest

from api.batches.outputs import parquet
from shared.layout import output_place

DRAW = {"kind": "generate", "input": {"prompt": "$name"}}


def table(keeping, batch):
    bucket, key = output_place(batch, "results.parquet")
    data = keeping.store.read(bucket or keeping.store.bucket, key, 10**9)
    return pq.ParquetFile(io.BytesIO(data))


@pytest.mark.parametrize("output", [None, "s3://photos/out/"])
def test_a_row_for_every_item_in_the_order_of_the_source(keeping, monkeypatch, http, output):
    monkeypatch.setattr(parquet, "ROWS", 50)
    keeping.store.objects["photos", "x"] = b""
    lines = [{"custom_id": f"{n}", "variables": {"name": f"cat {n}"}} for n in range(70)]
    lines[3] = {"custom_id": None, "line": 4, "error": {"code": "invalid_json", "message": "no"}}
    request = {"output": output} if output else {}
    batch_id = keeping.create(lines, job=DRAW, output_format="parquet", **request)
    done = keeping.finish(batch_id, bad=["cat 69"], drawn=["cat 7"])
    found = table(keeping, done)
    assert found.num_row_groups == 2
    rows = found.read().to_pylist()
    assert [row["custom_id"] for row in rows] == [None if n == 3 else str(n) for n in range(70)]
    errors = {3: "invalid_json", 69: "invalid_image"}
    assert [row["error_code"] for row in rows] == [errors.get(n) for n in range(70)]
    assert [row["status"] for row in rows[2:5]] == ["succeeded", "failed", "succeeded"]
    assert rows[3]["kind"] is None
    assert (rows[5]["kind"], rows[5]["caption"], rows[5]["images"]) == ("generate", "of cat 5", [])
    [image] = rows[7]["images"]
    place = f"{output}7" if output else f"s3://imagemill/batches/{batch_id}/images/7"
    assert image["key"] == f"{place}/image-0.png"
    assert (image["name"], image["width"], image["seed"]) == ("image-0.png", 64, 7)
    shown = http.get(f"/v1/batches/{batch_id}").json["outputs"]
    assert (shown["items"], shown["format"]) == (70, "parquet")
    if output:
        assert shown["url"] == "s3://photos/out/results.parquet"
    else:
        answer = http.get(shown["url"])
        assert pq.read_metadata(io.BytesIO(answer.data)).num_rows == 70
        assert len(answer.data) == shown["bytes"]


def test_outputs_are_columns_as_they_occur(keeping, monkeypatch):
    region = {"box": [[0.0, 0.0]], "text": "x", "confidence": 1.0}
    given = {
        "a": {"score": 1, "fits": True, "translation": "عربي", "regions": [region]},
        "b": {"score": 0.5, "fits": False, "translation": ["one", "two"], "answer": None},
    }
    made = keeping._made

    def played(job, number, asked, *fates):
        return made(job, number, asked, *fates).model_copy(
            update={"outputs": given[asked["prompt"]]}
        )

    monkeypatch.setattr(keeping, "_made", played)
    lines = [{"custom_id": name, "variables": {"name": name}} for name in given]
    batch_id = keeping.create(lines, job=DRAW, output_format="parquet")
    found = table(keeping, keeping.finish(batch_id)).read()
    types = {field.name: str(field.type) for field in found.schema}
    assert types.keys() - parquet.FIXED.keys() == {"score", "fits", "translation", "regions"}
    assert (types["score"], types["fits"], types["translation"]) == ("double", "bool", "string")
    first, second = found.to_pylist()
    assert (first["score"], first["fits"], first["translation"]) == (1.0, True, "عربي")
    assert json.loads(first["regions"]) == [region]
    assert json.loads(second["translation"]) == ["one", "two"]
    assert second["regions"] is None


def test_a_canceled_batch_has_its_table(keeping):
    lines = [{"custom_id": f"{n}", "variables": {"name": "cat"}} for n in range(3)]
    batch_id = keeping.create(lines, job=DRAW, output_format="parquet")
    keeping.ledger.cancel_batch(batch_id)
    rows = table(keeping, keeping.finish(batch_id)).read().to_pylist()
    assert [row["error_code"] for row in rows] == ["batch_cancelled"] * 3
