"""What reapers agree on: whose turn it is, how far they have come, and what the ledger knows of."""

from collections.abc import Callable

import pytest

from tests.shared.ledger.world import START_MS, World, new_file


def test_a_turn_is_taken_once_in_its_time(world: World) -> None:
    assert world.ledger.take_turn("sweep", 30)
    assert not world.ledger.take_turn("sweep", 30)
    assert world.ledger.take_turn("another", 30)
    world.advance(29_000)
    assert not world.ledger.take_turn("sweep", 30)
    world.advance(1_000)
    assert world.ledger.take_turn("sweep", 30)
    assert not world.ledger.take_turn("sweep", 30)


def test_a_turn_is_kept_while_it_is_needed(world: World) -> None:
    assert world.ledger.take_turn("sweep", 30)
    world.advance(29_000)
    world.ledger.keep_turn("sweep", 30)
    world.advance(29_000)
    assert not world.ledger.take_turn("sweep", 30)
    world.advance(1_000)
    assert world.ledger.take_turn("sweep", 30)


def test_a_cursor_is_where_it_was_left(world: World) -> None:
    assert world.ledger.cursor("orphans") == ""
    world.ledger.set_cursor("orphans", "jobs/é/")
    world.ledger.set_cursor("others", "z")
    assert world.ledger.cursor("orphans") == "jobs/é/"
    world.ledger.set_cursor("orphans", "")
    assert world.ledger.cursor("orphans") == ""


def ask(world: World) -> None:
    assert world.ledger.knows_since() == START_MS


def upload(world: World) -> None:
    world.ledger.put_file(new_file())


def restore(world: World) -> None:
    record = world.job(world.submit())
    world.lose_everything()
    world.ledger.restore(record, 0)


def restore_file(world: World) -> None:
    world.ledger.restore_file(new_file(expires_at=2 * START_MS))


@pytest.mark.parametrize("first", [ask, World.submit, upload, restore, restore_file])
def test_the_ledger_knows_of_what_came_after_its_first_word(
    world: World, first: Callable[[World], object]
) -> None:
    first(world)
    world.advance(5_000)
    upload(world)
    world.submit()
    assert world.ledger.knows_since() == START_MS


def test_after_a_loss_it_knows_less_until_everything_is_restored(world: World) -> None:
    ask(world)
    world.ledger.knows_everything()
    world.submit()
    assert world.ledger.knows_since() == 0
    world.lose_everything()
    world.advance(7)
    world.submit()
    assert world.ledger.knows_since() == START_MS + 7
    world.ledger.knows_everything()
    assert world.ledger.knows_since() == 0
