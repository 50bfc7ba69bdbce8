"""The store: an older file opens, several processes share it, what cannot be used is a sentence."""

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from tests.conftest import ROOT
from vitquant import database
from vitquant.errors import InputError, VitquantError


def schema(db: sqlite3.Connection) -> set[str]:
    return {row[0] for row in db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}


@pytest.mark.parametrize("version", range(len(database.MIGRATIONS)))
def test_a_file_of_every_older_version_opens_as_the_newest(tmp_path: Path, version: int) -> None:
    old = tmp_path / "old.sqlite"
    db = sqlite3.connect(old, isolation_level=None)
    for migration in database.MIGRATIONS[:version]:
        migration(db)
    db.execute(f"PRAGMA user_version = {version}")
    if version:  # what the older version wrote must still be there
        db.execute("INSERT INTO file_digests VALUES ('a', 1, 2, 'abc')")
    db.close()

    with database.opened(old) as migrated, database.opened(tmp_path / "new.sqlite") as new:
        assert schema(migrated) == schema(new)
        assert migrated.execute("SELECT count(*) FROM file_digests").fetchone()[0] == (1 if version else 0)


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "store.sqlite"
    db = sqlite3.connect(file)
    db.execute("PRAGMA user_version = 999")
    db.close()
    with pytest.raises(InputError, match="newer vitquant"), database.opened(file):
        pass


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough to be looked at" * 50, b"SQLite format 3\0" + b"x" * 4096]
)
def test_a_damaged_file_is_a_sentence_that_names_it(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "store.sqlite"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"store\.sqlite"), database.opened(file):
        pass
    assert file.read_bytes() == content


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be used"), database.opened(tmp_path / "file" / "store.sqlite"):
        pass


def test_a_full_disk_is_a_sentence_and_keeps_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "store.sqlite"
    with database.opened(file) as db:
        db.execute("INSERT INTO file_digests VALUES ('kept', 1, 2, 'abc')")
        pages = db.execute("PRAGMA page_count").fetchone()[0]

    def fill(db: sqlite3.Connection) -> None:
        db.execute(f"PRAGMA max_page_count = {pages + 2}")
        with database.transaction(db):
            for i in range(1000):
                db.execute("INSERT INTO file_digests VALUES (?, 1, 2, ?)", (f"row {i}", "x" * 500))

    with pytest.raises(VitquantError, match="disk is full"), database.opened(file) as db:
        fill(db)
    with database.opened(file) as db:
        assert [row["path"] for row in db.execute("SELECT path FROM file_digests")] == ["kept"]


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    def fail_halfway(db: sqlite3.Connection) -> None:
        with database.transaction(db):
            db.execute("INSERT INTO file_digests VALUES ('half', 1, 2, 'abc')")
            raise ZeroDivisionError

    with database.opened(tmp_path / "store.sqlite") as db:
        with pytest.raises(ZeroDivisionError):
            fail_halfway(db)
        assert db.execute("SELECT count(*) FROM file_digests").fetchone()[0] == 0


WRITER = """
import sys
import threading
from pathlib import Path
from vitquant import database
for i in range(100):
    with database.opened(Path(sys.argv[1])) as db, database.transaction(db):
        [n] = db.execute("SELECT count(*) FROM file_digests").fetchone()
        db.execute("INSERT INTO file_digests VALUES (?, ?, 0, '')", (f"{sys.argv[2]}-{i}", n))
"""


def test_four_processes_write_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "store.sqlite"  # not there yet: they race to create it, too
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(file), str(number)], cwd=ROOT)
        for number in range(4)
    ]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0, 0]
    with database.opened(file) as db:
        # Each wrote the count it had seen: all different only if no two transactions overlapped.
        seen = [row["size"] for row in db.execute("SELECT size FROM file_digests ORDER BY size")]
    assert seen == list(range(400))


def test_a_store_that_another_process_is_just_creating_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "store.sqlite"
    opened: list[sqlite3.Connection] = []
    with FileLock(f"{file}.lock"):
        creating = sqlite3.connect(file, isolation_level=None)  # not in write-ahead mode yet, and writing
        creating.execute("BEGIN IMMEDIATE")
        waiting = threading.Thread(target=lambda: opened.append(database.connect(file)))
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive(), "SQLite alone says at once that the database is locked"
        creating.close()
    waiting.join(30)
    [db] = opened
    assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    db.close()
