import errno
import sqlite3

import pytest

from api.batches.disk import told_when_full
from api.batches.sources.disk_table import DiskTable
from shared.errors import DiskFull


def test_a_table_on_a_full_disk_is_to_be_filled_again_later():
    table = DiskTable()
    table._database.execute("PRAGMA max_page_count = 20")  # SQLite says the same then
    with pytest.raises(DiskFull, match="disk is full"):
        list(map(table.add, map(str, range(10_000))))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_file_on_a_full_disk(number):
    with pytest.raises(DiskFull), told_when_full():
        raise OSError(number, "no space")


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "no"), sqlite3.OperationalError("locked")])
def test_other_errors_stay_what_they_are(error):
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    with pytest.raises(type(error)), told_when_full():
        raise error
