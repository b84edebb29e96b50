"""The page about a batch."""

import re
import shutil
import subprocess

import pytest

from api.batches import report as module
from api.batches.report import report
from shared.batches import BatchProblem
from shared.contracts import ItemOutput, StepOutput
from shared.layout import picture_place
from tests.waiting import PATIENCE_S

NOW = 1_772_366_400_000
OWN = "document.title='owned'"
HOSTILE = f'<img src=x onerror="{OWN}"></title><script>{OWN}</script>'
ARABIC = "قطة على النافذة"
BROWSERS = "chromium-headless-shell", "chromium", "google-chrome"
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.fixture
def page(keeping):
    def of(batch_id):
        return "".join(report(keeping.services, keeping.ledger.batch(batch_id), NOW))

    return of


@pytest.fixture
def translated(keeping, png, monkeypatch):
    """A batch of three items, one of them bad and all with hostile names, whose captions are
    hostile too, and translated."""
    monkeypatch.setattr(keeping, "_made", _captioned)
    given = {"image": "$image", "translate_to": ["arb_Arab", "fra_Latn"]}
    lines = [
        {"custom_id": f"{n}{HOSTILE}", "variables": {"image": f"s3://photos/in/{n}.png"}}
        for n in range(3)
    ]
    for n in (0, 2):
        keeping.store.objects["photos", f"in/{n}.png"] = png("red" if n else "blue")
    job = {"kind": "caption", "input": given}
    batch_id = keeping.create(lines, job=job, metadata={"note": HOSTILE})
    keeping.advance(batch_id)
    [job_id] = keeping.jobs(batch_id)
    keeping.run(job_id, bad=["s3://photos/in/1.png"])
    _translate(keeping.ledger, job_id)
    keeping.finish(batch_id)
    keeping.ledger.note_batch(
        batch_id,
        {
            "examples": {"invalid_image": [{"custom_id": HOSTILE, "message": HOSTILE}]},
            "slowest": [[70, HOSTILE]],
            "points": [],
        },
    )
    return batch_id


def _captioned(job, number, given, bad, drawn):
    if given["image"] in bad:
        error = {"code": "invalid_image", "message": HOSTILE}
        return ItemOutput.model_validate({"number": number, "error": error})
    return ItemOutput(number=number, outputs={"caption": f"of {HOSTILE}"})


def _translate(ledger, job_id):
    fence = ledger.claim(job_id, 1, "w2", "token").fence
    told = {"arb_Arab": ARABIC, "fra_Latn": "un chat"}
    items = tuple(ItemOutput(number=n, outputs={"translations": told}) for n in (0, 2))
    ledger.commit(job_id, 1, fence, StepOutput(items=items, revision="r2"))


def test_everything_that_others_wrote_is_escaped(page, translated):
    text = page(translated)
    assert HOSTILE not in text
    assert "<script" not in text
    assert len(re.findall(r"<img ", text)) == 2
    assert set(re.findall(r'src="(.{11})', text)) == {"data:image/"}
    assert "http://" not in text.partition("<pre>")[0]


def test_translations_have_their_language_and_direction(page, translated):
    text = page(translated)
    assert f'<dd dir="rtl" lang="ar">{ARABIC}</dd>' in text
    assert '<dd dir="ltr" lang="fr">un chat</dd>' in text
    assert '<dd dir="auto">of &lt;img' in text


def test_models_with_their_revisions(page, translated):
    text = page(translated)
    assert "<td>translate</td><td>translator</td><td>tiny</td><td>r2</td>" in text
    assert "invalid_image" in text


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_a_browser_runs_nothing_of_it(page, translated, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(page(translated), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    shown = subprocess.run(
        [BROWSER, *options, "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    ).stdout
    assert f"<title>{translated} · imagemill</title>" in shown
    assert f'<dd dir="rtl" lang="ar">{ARABIC}</dd>' in shown
    assert "<script" not in shown
    assert len(re.findall(r"<img ", shown)) == 2


def test_what_was_drawn_is_shown(page, keeping, png):
    lines = [{"custom_id": name, "variables": {"name": name}} for name in ("cat", "dog")]
    batch_id = keeping.create(lines, job={"kind": "generate", "input": {"prompt": "$name"}})
    batch = keeping.finish(batch_id, drawn=["cat", "dog"])
    _, key = picture_place(batch, "cat", "image-0.png")
    keeping.store.put(key, png(size=(900, 600)), "image/png")
    text = page(batch_id)
    # The dog's is none, which spoils nothing.
    assert (text.count("<img "), text.count("no picture")) == (1, 1)
    assert '<dd dir="auto">dog</dd>' in text


def test_nothing_is_read_that_the_user_may_not_read(page, keeping, png):
    keeping.store.objects["private", "a.png"] = png()
    body = {"kind": "caption", "input": {"image": "s3://private/a.png"}}
    batch_id = keeping.create([{"custom_id": "a", "body": body}], endpoint="/v1/jobs")
    assert "data:image" not in page(batch_id)
    assert keeping.finish(batch_id).counts.failed == 1
    assert "data:image" not in page(batch_id)


def test_items_are_evenly_spread_and_few(page, keeping, monkeypatch):
    monkeypatch.setattr(module, "SAMPLES", 4)
    text = page(keeping.create(keeping.pictures(400)))
    assert re.findall(r"<h3><bdi>(.+?)</bdi>", text) == ["0.png", "100.png", "200.png", "300.png"]
    assert text.count("waiting</span>") == 4


def test_the_curve_falls_where_it_went_slowly(page, keeping):
    batch_id = keeping.create(keeping.pictures(70))
    batch = keeping.finish(batch_id)
    begin = batch.in_progress_at
    points = [[begin + 1000, 10, 0], [begin + 3000, 10, 10], [begin + 4000, 20, 10]]
    record = batch.model_copy(
        update={"notes": {**batch.notes, "points": points}, "finalizing_at": begin + 4000}
    )
    text = "".join(report(keeping.services, record, NOW))
    path = re.search(r'<path d="(.+?)"', text)[1]
    assert path == (
        "M0 160 L0.0 0.0 L180.0 0.0 L180.0 80.0 L540.0 80.0 L540.0 0.0 L720.0 0.0 L720 160 Z"
    )


def test_a_batch_whose_source_was_of_no_use(page, keeping, http):
    batch_id = keeping.record({"job": {"kind": "caption", "input": {}}})
    assert "validating" in page(batch_id)
    problem = BatchProblem(code="empty_source", message="no item", line=3)
    keeping.ledger.fail_batch(batch_id, [problem])
    assert "<b>empty_source</b>, line 3: <bdi>no item</bdi>" in page(batch_id)
    answer = http.get(f"/v1/batches/{batch_id}/report")
    assert answer.mimetype == "text/html"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
