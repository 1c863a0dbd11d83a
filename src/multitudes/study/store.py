"""A run folder: one SQLite file that is never half-written, and one writer at a time.

Every conversation and every batch of answers is one transaction (WAL, synchronous NORMAL): killed at any moment, the
file holds whole records, each once. Records are JSON of ``core.records``; nothing is pickled.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from multitudes.core.errors import RunLocked, StoreError
from multitudes.core.records import Answer, Conversation, Population, Reading

STORE_VERSION = 1
FILE = "run.sqlite"
LOCK = "run.lock"

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE conversations (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE attempts (id TEXT NOT NULL, record TEXT NOT NULL);
CREATE TABLE answers (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE likelihoods (conversation_id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE embeddings (text_hash TEXT, encoder TEXT, vector BLOB, PRIMARY KEY (text_hash, encoder)) WITHOUT ROWID;
CREATE TABLE readings (gauge TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
"""


class Store:
    """The records of one run.

    Args:
        folder: The run folder.
        write: Whether to take the writer's lock; readers need none.

    Raises:
        RunLocked: Another process is writing.
        StoreError: No such run, no room, no rights, or another version of the format.
    """

    def __init__(self, folder: Path, *, write: bool) -> None:
        self.folder, self._write = folder, write
        path = folder / FILE
        self._lock = Lock(folder / LOCK) if write else None
        try:
            if not write and not path.is_file():
                raise StoreError(
                    "no run here",
                    where=str(folder),
                    expected=f"a folder with {FILE}",
                    hint="multitudes study FILE.toml",
                )
            target = str(path) if write else read_only(path)
            with clear_errors(folder):
                self._db = sqlite3.connect(target, uri=not write, isolation_level=None, check_same_thread=False)
                self._db.execute("PRAGMA busy_timeout = 5000")
                if write:
                    self._db.execute("PRAGMA journal_mode = WAL")
                    self._db.execute("PRAGMA synchronous = NORMAL")
                self._migrate()
        except BaseException:
            if self._lock:
                self._lock.release()
            raise

    def _migrate(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0 and self._write:
            with self._transaction():
                for statement in filter(str.strip, _TABLES.split(";")):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {STORE_VERSION}")
        elif version == 0:
            raise StoreError("the run has not begun", where=str(self.folder), hint="run the study again to go on")
        elif version != STORE_VERSION:
            raise StoreError(
                "the run was written by another version", where=str(self.folder / FILE),
                found=f"format {version}", expected=f"format {STORE_VERSION}",
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and let other writers in."""
        self._db.close()
        if self._lock:
            self._lock.release()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with clear_errors(self.folder):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _rows(self, query: str, *values: str) -> list[Any]:
        with clear_errors(self.folder):
            return self._db.execute(query, values).fetchall()

    # --- what was set up ------------------------------------------------------------------------------------

    def get_meta(self, key: str) -> Any:
        """A JSON value, or None."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", key)
        return json.loads(rows[0][0]) if rows else None

    def put_meta(self, **values: Any) -> None:
        """Set JSON values, all or none."""
        with self._transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                [(k, json.dumps(v, ensure_ascii=False)) for k, v in values.items()],
            )

    def add_wall_s(self, seconds: float) -> None:
        """Count time spent on the run, over all its resumptions."""
        self.put_meta(wall_s=(self.get_meta("wall_s") or 0.0) + seconds)

    def population(self) -> Population | None:
        """Who is simulated, once that is decided."""
        found = self.get_meta("population")
        return None if found is None else Population.model_validate(found)

    # --- what happened --------------------------------------------------------------------------------------

    def add_conversation(self, conversation: Conversation) -> None:
        """Store one conversation; an earlier attempt under the same id is kept apart, without its evidence."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO attempts SELECT id, record FROM conversations WHERE id = ?", (conversation.id,)
            )
            self._db.execute("DELETE FROM likelihoods WHERE conversation_id = ?", (conversation.id,))
            self._db.execute(
                "INSERT OR REPLACE INTO conversations VALUES (?, ?)",
                (conversation.id, conversation.model_dump_json()),
            )

    def add_answers(self, answers: Sequence[Answer]) -> None:
        """Store a batch of answers; an earlier attempt under the same id is kept apart."""
        with self._transaction():
            self._db.executemany(
                "INSERT INTO attempts SELECT id, record FROM answers WHERE id = ?", [(a.id,) for a in answers]
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO answers VALUES (?, ?)", [(a.id, a.model_dump_json()) for a in answers]
            )

    def conversations(self) -> list[Conversation]:
        """All conversations, in order of id."""
        return self._records(Conversation, "SELECT record FROM conversations ORDER BY id")

    def answers(self) -> list[Answer]:
        """All answers, in order of id."""
        return self._records(Answer, "SELECT record FROM answers ORDER BY id")

    def _records(self, kind: Any, query: str) -> list[Any]:
        try:
            return [kind.model_validate_json(record) for (record,) in self._rows(query)]
        except ValidationError as error:
            raise StoreError(
                "a stored record cannot be read", where=str(self.folder / FILE), found=str(error)[:300]
            ) from error

    def n_attempts(self) -> int:
        """Conversations and answers that were begun again after a fault."""
        return int(self._rows("SELECT COUNT(*) FROM attempts")[0][0])

    def attempts(self) -> list[tuple[str, Any]]:
        """Id and JSON record of what was begun again, in the order in which that happened."""
        return [(key, json.loads(record)) for key, record in self._rows("SELECT id, record FROM attempts")]

    # --- what models said about it --------------------------------------------------------------------------

    def likelihoods(self) -> dict[str, Any]:
        """Listener evidence by conversation id."""
        rows = self._rows("SELECT conversation_id, record FROM likelihoods")
        return {key: json.loads(record) for key, record in rows}

    def add_likelihoods(self, values: Iterable[tuple[str, Any]]) -> None:
        """Store listener evidence."""
        with self._transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO likelihoods VALUES (?, ?)", [(k, json.dumps(v)) for k, v in values]
            )

    def embeddings(self, encoder: str) -> dict[str, NDArray[np.float32]]:
        """Vectors by hash of the text."""
        rows = self._rows("SELECT text_hash, vector FROM embeddings WHERE encoder = ?", encoder)
        return {key: np.frombuffer(vector, dtype=np.float32) for key, vector in rows}

    def add_embeddings(self, encoder: str, values: Iterable[tuple[str, NDArray[np.float32]]]) -> None:
        """Store vectors."""
        with self._transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)",
                [(key, encoder, vector.astype(np.float32).tobytes()) for key, vector in values],
            )

    # --- what was measured ----------------------------------------------------------------------------------

    def put_readings(self, readings: Sequence[Reading]) -> None:
        """Replace all readings."""
        with self._transaction():
            self._db.execute("DELETE FROM readings")
            self._db.executemany(
                "INSERT INTO readings VALUES (?, ?)", [(r.gauge, r.model_dump_json()) for r in readings]
            )

    def readings(self) -> list[Reading]:
        """All readings, by gauge."""
        return self._records(Reading, "SELECT record FROM readings ORDER BY gauge")


class Lock:
    """An advisory lock on a file, let go by the system when its process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        with clear_errors(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+")
        try:
            _lock_file(self._file)
        except OSError as error:
            self._file.seek(0)
            holder = self._file.read(40).strip() or "unknown"
            self._file.close()
            raise RunLocked(
                "another process is writing to this run", where=str(path.parent), found=f"process {holder}",
                hint="wait for it, or give this run another folder with --out",
            ) from error  # fmt: skip
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        """Let others in."""
        self._file.close()


def _lock_file(file: Any) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        return
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def read_only(path: Path) -> str:
    """The file's address for reading. Where nothing can be written, a reader must not look for WAL's side files."""
    alone = not os.access(path.parent, os.W_OK) and not path.with_name(path.name + "-wal").exists()
    return path.resolve().as_uri() + "?mode=ro" + ("&immutable=1" if alone else "")


@contextmanager
def clear_errors(folder: Path) -> Iterator[None]:
    """Disk full, read-only folders and damaged files as one kind of error that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        text = str(error)
        hint = "what was stored so far can be read; free the cause and run the same command again"
        if (isinstance(error, sqlite3.DatabaseError) and "malformed" in text) or "not a database" in text:
            hint = "the file is damaged; give the run another folder with --out"
        raise StoreError("the run folder cannot be used", where=str(folder), found=text, hint=hint) from error
    except OSError as error:
        raise StoreError(
            "the run folder cannot be used", where=str(folder), found=error.strerror or str(error),
            hint="give the run another folder with --out",
        ) from error  # fmt: skip
