"""What is to be expected of a batch, and how right that was."""

import pytest

from api.batches.forecast import at_start, forecast, tell_outcome
from api.batches.planning import look, signature
from api.batches.shards import source_lines
from shared.contracts import WorkerRecord

NOON = 12 * 3_600_000  # of the first day of 1970
MINUTE = 60_000


@pytest.fixture
def expected(keeping):
    """The forecast of a batch, at noon where no other time is said."""

    def of(batch_id, now=NOON):
        return forecast(keeping.services, keeping.ledger.batch(batch_id), now)

    return of


@pytest.fixture
def announce(keeping):
    def heartbeat(*held):
        keeping.ledger.heartbeat(
            WorkerRecord(
                name="captioner@here",
                host="here",
                pid=1,
                family="captioner",
                device="cpu",
                models={"tiny": "r1"},
                queues=(),
                slots=1,
                busy=0,
                started_at=0,
                held=held,
            )
        )

    return heartbeat


def kind_of_work(keeping, batch_id):
    lines = source_lines(keeping.store, batch_id, 0)
    [checked, *_] = look(keeping.services, keeping.ledger.batch(batch_id), lines)
    return signature(checked.kind.name, checked.planned({})[1])


def test_nothing_was_measured_yet(keeping, expected):
    found = expected(keeping.create(keeping.pictures(100)))
    assert (found.items, found.items_left, found.basis) == (100, 100, "none yet")
    assert found.rate is found.run_s is found.finish_at is found.write_bytes is None


def test_before_it_is_indexed(keeping, expected):
    found = expected(keeping.record({"job": {"kind": "caption"}, "source": {}}))
    assert (found.items, found.items_left, found.models, found.finish_at) == (None, None, [], None)


def test_by_what_the_same_work_took_before(keeping, expected):
    batch_id = keeping.create(keeping.pictures(1200))
    keeping.ledger.note_pace(kind_of_work(keeping, batch_id), items=60, ms=MINUTE)
    found = expected(batch_id)
    assert found.basis == "measured for the same kind and models before"
    assert (found.rate, found.run_s, found.seconds) == (1.0, 1200.0, 1200.0)
    assert found.finish_at == (NOON + 20 * MINUTE) // 1000


def test_only_the_known_share_of_mixed_work_counts(keeping, expected):
    bodies = [
        {"kind": "caption", "input": {"image": "file_1"}},
        {"kind": "translate", "input": {"text": "a cat", "target": "arb_Arab"}},
    ]
    lines = [{"custom_id": f"r{n}", "body": bodies[n % 4 == 0]} for n in range(128)]
    batch_id = keeping.create(lines, endpoint="/v1/jobs")
    keeping.ledger.note_pace(kind_of_work(keeping, batch_id), items=10, ms=1000)
    assert expected(batch_id).rate == 10.0


def test_a_window_of_the_day_stretches_it(keeping, expected):
    batch_id = keeping.create(keeping.pictures(1200), window="22:00–06:00")
    keeping.ledger.note_pace(kind_of_work(keeping, batch_id), items=1, ms=MINUTE)
    found = expected(batch_id)
    assert found.run_s == 20 * 3600
    # Eight hours in each of two nights, and four in the third.
    assert found.finish_at == (2 * 24 + 26) * 3600
    assert found.seconds == (2 * 24 + 14) * 3600


def test_models_that_must_be_loaded(keeping, expected, announce):
    batch_id = keeping.create(
        keeping.pictures(2),
        job={"kind": "caption", "input": {"image": "$image", "translate_to": ["arb_Arab"]}},
    )
    announce()
    found = expected(batch_id)
    [captioner, translator] = found.models
    assert (captioner.model, captioner.served, captioner.held) == ("tiny", True, False)
    assert (translator.family, translator.served) == ("translator", False)
    assert found.model_loads == 2
    announce("tiny")
    assert expected(batch_id).model_loads == 1


def test_measured_in_the_batch_itself_and_judged_at_its_end(keeping, expected):
    batch_id = keeping.create(keeping.pictures(100))
    keeping.ledger.note_pace(kind_of_work(keeping, batch_id), items=100, ms=MINUTE)
    told = at_start(keeping.services, keeping.ledger.batch(batch_id), NOON)
    keeping.ledger.note_batch(batch_id, {"forecast": told})
    keeping.advance(batch_id)
    first, *_ = keeping.jobs(batch_id)
    keeping.run(first)
    keeping.advance(batch_id)
    keeping.ledger.note_batch(batch_id, {"ran": 64, "run_ms": 64_000, "written": 640})
    found = expected(batch_id)
    assert (found.basis, found.items_left, found.run_s) == ("measured in this batch", 36, 36.0)
    assert found.write_bytes == 360
    assert found.at_start.run_s == 60.0
    keeping.ledger.note_batch(batch_id, {"reused": 64})
    assert expected(batch_id).run_s == 18.0
    keeping.ledger.note_batch(batch_id, {"reused": 0})
    done = keeping.finish(batch_id)
    keeping.ledger.note_batch(batch_id, {"ran": 100, "run_ms": 90_000, "written": 1000})
    for _ in range(2):
        tell_outcome(keeping.services, keeping.ledger.batch(done.id))
    following = keeping.create(keeping.pictures(10))
    truth = expected(following).truth
    assert [outcome.ratio for outcome in truth.earlier] == [1.5]
    assert truth.median_ratio == 1.5
    assert expected(following).write_bytes == 100
    assert expected(batch_id).items_left == 0


def test_a_batch_that_was_not_run_as_a_whole_says_nothing(keeping, expected):
    batch_id = keeping.create(keeping.pictures(100))
    told = at_start(keeping.services, keeping.ledger.batch(batch_id), NOON)
    keeping.ledger.note_batch(batch_id, {"forecast": told, "ran": 1, "run_ms": 1, "written": 0})
    keeping.ledger.cancel_batch(batch_id)
    tell_outcome(keeping.services, keeping.finish(batch_id))
    assert expected(batch_id).truth.earlier == []


def test_whether_it_ends_in_time(keeping, expected, http):
    batch_id = keeping.create(keeping.pictures(60))
    keeping.ledger.note_pace(kind_of_work(keeping, batch_id), items=1, ms=1000)
    assert expected(batch_id).in_time is None
    shown = http.get(f"/v1/batches/{batch_id}/forecast").json
    assert (shown["object"], shown["run_s"]) == ("batch.forecast", 60.0)
    deadline = keeping.ledger.batch(batch_id).model_copy(update={"deadline_at": NOON + MINUTE})
    assert forecast(keeping.services, deadline, NOON).in_time
    assert not forecast(keeping.services, deadline, NOON + 1).in_time
