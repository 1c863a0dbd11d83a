"""The SQLite file under every run folder: never half-written, and one writer at a time.

WAL with synchronous NORMAL: killed at any moment, the file holds whole transactions. Records are JSON; nothing is
pickled.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import ValidationError

from multitudes.core.canonical import strict_values
from multitudes.core.errors import RunLocked, StoreError

LOCK = "run.lock"
_META = "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"


class Database:
    """A file of records in a run folder. What kind of run it is, a subclass says.

    Args:
        folder: The run folder.
        write: Whether to take the writer's lock; readers need none.

    Raises:
        RunLocked: Another process is writing.
        StoreError: No such run, no room, no rights, or another version of the format.

    Attributes:
        FILE: Name of the file.
        VERSION: Version of its format.
        TABLES: Statements that make its tables, beside ``meta``.
        KIND: What such a run is called.
        COMMAND: What makes one.
    """

    FILE: ClassVar[str]
    VERSION: ClassVar[int]
    TABLES: ClassVar[str]
    KIND: ClassVar[str]
    COMMAND: ClassVar[str]

    def __init__(self, folder: Path, *, write: bool) -> None:
        self.folder, self._write = folder, write
        path = folder / self.FILE
        self._lock = Lock(folder / LOCK) if write else None
        try:
            if not write and not path.is_file():
                raise StoreError(
                    f"no {self.KIND} here", where=str(folder), expected=f"a folder with {self.FILE}",
                    hint=self.COMMAND,
                )  # fmt: skip
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
                for statement in filter(str.strip, (_META + self.TABLES).split(";")):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {self.VERSION}")
        elif version == 0:
            raise StoreError("the run has not begun", where=str(self.folder), hint=f"run it again: {self.COMMAND}")
        elif version != self.VERSION:
            raise StoreError(
                "the run was written by another version", where=str(self.folder / self.FILE),
                found=f"format {version}", expected=f"format {self.VERSION}",
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

    def _put(self, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Insert rows, or replace those with their keys: all or none."""
        with self._transaction():
            if found := list(rows):
                places = ", ".join("?" * len(found[0]))
                self._db.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({places})", found)

    def _rows(self, query: str, *values: str) -> list[Any]:
        with clear_errors(self.folder):
            return self._db.execute(query, values).fetchall()

    def _records(self, kind: Any, query: str, *values: str) -> list[Any]:
        """Records of one kind, from the only column of ``query``."""
        try:
            return [kind.model_validate_json(record) for (record,) in self._rows(query, *values)]
        except ValidationError as error:
            raise StoreError(
                "a stored record cannot be read", where=str(self.folder / self.FILE), found=str(error)[:300]
            ) from error

    def get_meta(self, key: str) -> Any:
        """A JSON value, or None."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", key)
        return json.loads(rows[0][0]) if rows else None

    def put_meta(self, **values: Any) -> None:
        """Set JSON values, all or none; a NaN becomes the string ``"NaN"``."""
        self._put("meta", [(k, json.dumps(strict_values(v), ensure_ascii=False)) for k, v in values.items()])


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
