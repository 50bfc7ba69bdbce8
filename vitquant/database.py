"""The SQLite file that holds every run and prediction: opening it, its schema, its errors as sentences.

Several processes use the file at once (the dashboard's server, a run, a terminal), so it is in
write-ahead mode: readers never wait, writers wait for each other. Imports no torch.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from vitquant import paths
from vitquant.errors import InputError, VitquantError

WAIT_FOR_LOCK_S = 30


def m001_file_digests(db: sqlite3.Connection) -> None:
    """Digests of files, so that 345 MB of weights are read once and not at every command."""
    db.execute(
        """
        CREATE TABLE file_digests (
            path TEXT PRIMARY KEY,
            size INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL,
            sha256 TEXT NOT NULL
        ) WITHOUT ROWID
        """
    )


def m002_examples(db: sqlite3.Connection) -> None:
    """A dataset's examples, in the order in which they are measured ("position")."""
    db.execute(
        """
        CREATE TABLE datasets (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL,
            split TEXT NOT NULL,
            digest TEXT NOT NULL,
            added_at TEXT NOT NULL,
            UNIQUE (name, split, digest)
        )
        """
    )
    db.execute(
        """
        CREATE TABLE examples (
            dataset_id INTEGER NOT NULL REFERENCES datasets (id) ON DELETE CASCADE,
            position INTEGER NOT NULL,
            picture INTEGER NOT NULL,  -- place in ImageFolder's order
            path TEXT NOT NULL,
            wnid TEXT NOT NULL,
            class_index INTEGER NOT NULL,
            PRIMARY KEY (dataset_id, position)
        ) WITHOUT ROWID
        """
    )
    db.execute("CREATE UNIQUE INDEX examples_by_picture ON examples (dataset_id, picture)")
    db.execute("CREATE INDEX examples_by_class ON examples (dataset_id, class_index)")


def m003_predictions(db: sqlite3.Connection) -> None:
    """What each variant answered. A series is one variant's answers under one identity."""
    db.execute(
        """
        CREATE TABLE series (
            id INTEGER PRIMARY KEY,
            key TEXT NOT NULL UNIQUE,  -- digest of all that follows down to image_size
            model TEXT NOT NULL,
            weights TEXT NOT NULL,
            weights_digest TEXT NOT NULL,
            variant TEXT NOT NULL,
            recipe_version INTEGER NOT NULL,
            engine TEXT NOT NULL,
            cpu_features TEXT NOT NULL,
            torch_version TEXT NOT NULL,
            dataset_id INTEGER NOT NULL REFERENCES datasets (id) ON DELETE CASCADE,
            image_size INTEGER NOT NULL,
            environment TEXT NOT NULL,  -- JSON, of the machine that began it
            begun_at TEXT NOT NULL,
            measured_at TEXT NOT NULL
        )
        """
    )
    top5 = ", ".join(f"index{k} INTEGER NOT NULL, probability{k} REAL NOT NULL" for k in range(1, 6))
    db.execute(
        f"""
        CREATE TABLE predictions (
            series_id INTEGER NOT NULL REFERENCES series (id) ON DELETE CASCADE,
            position INTEGER NOT NULL,
            {top5},
            true_rank INTEGER NOT NULL,  -- 1: the true class has the highest logit
            true_probability REAL NOT NULL,
            kl_nats REAL,  -- KL(fp32 || this variant), over all 1000 classes
            PRIMARY KEY (series_id, position)
        ) WITHOUT ROWID
        """
    )
    db.execute(
        """
        CREATE TABLE logits (
            series_id INTEGER NOT NULL,
            position INTEGER NOT NULL,
            logits BLOB NOT NULL,  -- 1000 float32, little-endian
            PRIMARY KEY (series_id, position),
            FOREIGN KEY (series_id) REFERENCES series (id) ON DELETE CASCADE
        ) WITHOUT ROWID
        """
    )


def m004_runs(db: sqlite3.Connection) -> None:
    """Measurements asked for: what, in which state, how far, and what came out."""
    db.execute(
        """
        CREATE TABLE runs (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            kind TEXT NOT NULL,
            state TEXT NOT NULL,
            request TEXT NOT NULL,  -- JSON
            identity TEXT NOT NULL,  -- JSON: what it is measured on
            key TEXT NOT NULL,  -- digest of kind, request and identity
            environment TEXT NOT NULL,  -- JSON
            done INTEGER NOT NULL DEFAULT 0,
            total INTEGER NOT NULL DEFAULT 0,
            message TEXT NOT NULL DEFAULT '',
            result TEXT,  -- JSON: the rows
            created_at TEXT NOT NULL,
            started_at TEXT,
            ended_at TEXT,
            process_id INTEGER,
            process_started REAL,
            cancel_requested INTEGER NOT NULL DEFAULT 0
        )
        """
    )
    db.execute("CREATE INDEX runs_by_key ON runs (key, id)")


def m005_shipped(db: sqlite3.Connection) -> None:
    """Results that came with the project rather than being measured here, and the file they were read from."""
    db.execute("ALTER TABLE series ADD COLUMN shipped INTEGER NOT NULL DEFAULT 0")
    db.execute("ALTER TABLE runs ADD COLUMN shipped INTEGER NOT NULL DEFAULT 0")
    db.execute("CREATE TABLE shipped (digest TEXT PRIMARY KEY, read_at TEXT NOT NULL) WITHOUT ROWID")


def m006_attachments(db: sqlite3.Connection) -> None:
    """What belongs to a run and is too large for its rows: every raw time, the profiler's trace."""
    db.execute(
        """
        CREATE TABLE attachments (
            run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            name TEXT NOT NULL,
            content BLOB NOT NULL,
            PRIMARY KEY (run_id, name)
        ) WITHOUT ROWID
        """
    )


def m007_calibrations(db: sqlite3.Connection) -> None:
    """Calibrated recipes: which calibration a series rests on, and what each calibration has found."""
    db.execute("ALTER TABLE series ADD COLUMN calibration TEXT NOT NULL DEFAULT ''")
    db.execute(
        """
        CREATE TABLE fits (
            key TEXT PRIMARY KEY,  -- digest of model, weights, variant, recipe version and calibration
            model TEXT NOT NULL,
            weights_digest TEXT NOT NULL,
            variant TEXT NOT NULL,
            recipe_version INTEGER NOT NULL,
            calibration TEXT NOT NULL,  -- JSON: which pictures
            parameters TEXT NOT NULL,  -- JSON: what was found, for people
            trail TEXT NOT NULL,  -- JSON: every candidate measured
            cure BLOB NOT NULL,  -- cure.Cure.to_bytes
            environment TEXT NOT NULL,  -- JSON
            made_at TEXT NOT NULL,
            shipped INTEGER NOT NULL DEFAULT 0
        ) WITHOUT ROWID
        """
    )
    db.execute("CREATE INDEX fits_of_model ON fits (model, weights_digest)")


MIGRATIONS = (
    m001_file_digests,
    m002_examples,
    m003_predictions,
    m004_runs,
    m005_shipped,
    m006_attachments,
    m007_calibrations,
)


def connect(file: Path | None = None) -> sqlite3.Connection:
    """Open the store (paths.store_file() unless told otherwise), creating or migrating it as needed.

    Every write is on disk before it counts as done (synchronous FULL), so a process killed at any point
    loses what it was measuring at that moment, and nothing that it had stored. Raises InputError where the
    file cannot be used.
    """
    file = file or paths.store_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The store {file} cannot be used: {error.strerror or error}.") from error
    with _sentences(file):
        if not _is_in_wal_mode(file):
            _put_in_wal_mode(file)
        db = sqlite3.connect(file, timeout=WAIT_FOR_LOCK_S, isolation_level=None, check_same_thread=False)
        try:
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            _migrate(db, file)
        except BaseException:
            db.close()
            raise
    return db


def _is_in_wal_mode(file: Path) -> bool:
    """Whether the file's header says so (SQLite's file format, bytes 18 and 19): without opening it, since
    whoever has it open stands in the way of the one that changes the mode."""
    try:
        with file.open("rb") as opened:
            return opened.read(20)[18:] == b"\x02\x02"
    except OSError:
        return False


def _put_in_wal_mode(file: Path) -> None:
    """Change the mode, for good. SQLite does not wait for others there: where several processes create the file
    at once, one does it and the others wait here."""
    try:
        with FileLock(f"{file}.lock", timeout=WAIT_FOR_LOCK_S):
            if _is_in_wal_mode(file):
                return
            db = sqlite3.connect(file, timeout=WAIT_FOR_LOCK_S)
            try:
                db.execute("PRAGMA journal_mode = WAL")
            finally:
                db.close()
    except (OSError, Timeout) as error:
        raise InputError(f"The store {file} cannot be used: {error}.") from error


@contextmanager
def opened(file: Path | None = None) -> Iterator[sqlite3.Connection]:
    """The store, closed again at the end; what SQLite says meanwhile becomes a sentence."""
    db = connect(file)
    try:
        with _sentences(file or paths.store_file()):
            yield db
    finally:
        db.close()


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing. Takes the write lock at once, so that what is read inside still holds."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # SQLite rolls back by itself where the disk is full
            db.execute("ROLLBACK")
        raise


def _migrate(db: sqlite3.Connection, file: Path) -> None:
    if _version(db, file) == len(MIGRATIONS):
        return
    with transaction(db):
        for number in range(_version(db, file), len(MIGRATIONS)):
            MIGRATIONS[number](db)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _version(db: sqlite3.Connection, file: Path) -> int:
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > len(MIGRATIONS):
        raise InputError(
            f"{file} was written by a newer vitquant (schema {version}, this one knows {len(MIGRATIONS)}): "
            "update vitquant, or set VITQUANT_DATA to another folder."
        )
    return version


@contextmanager
def _sentences(file: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if "full" in str(error):
            raise VitquantError(
                f"The disk is full: {file} could not be written. What was measured before is kept; "
                "free some space and start the same run again."
            ) from error
        if "no such" in str(error) or "syntax" in str(error):
            raise  # a mistake of ours, not of the file
        raise InputError(f"The store {file} cannot be used: {error}.") from error
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
            raise
        raise InputError(
            f"{file} is not a store of vitquant's, or is damaged ({error}): move it away, "
            "or set VITQUANT_DATA to another folder."
        ) from error
