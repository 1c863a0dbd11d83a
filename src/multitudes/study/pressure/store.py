"""What a pressure run stores: every conversation in one transaction, so that a killed run goes on where it was.

Records are JSON of ``simulate.press``; arrays (edits) are npz without pickles.
"""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from multitudes.core.canonical import strict_values
from multitudes.core.errors import StoreError
from multitudes.simulate.press import Pressed
from multitudes.study.store import LOCK, Lock, clear_errors, read_only

FILE = "pressure.sqlite"
VERSION = 1
JUDGED, REFUSED = "#judge", "#refusal"  # end the keys of what a judge says about a conversation
PROSE = "prose:"  # begins the key of what was read of a window of running text
_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE talks (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE evidence (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE arrays (key TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
"""


class PressureStore:
    """The records of one pressure run.

    Args:
        folder: The run folder.
        write: Whether to take the writer's lock; readers need none.

    Raises:
        RunLocked: Another process is writing.
        StoreError: No such run, no room, no rights, or another version of the format.
    """

    def __init__(self, folder: Path, *, write: bool) -> None:
        self.folder = folder
        path = folder / FILE
        if not write and not path.is_file():
            raise StoreError("no pressure run here", where=str(folder), expected=f"a folder with {FILE}",
                             hint="multitudes pressure run --out FOLDER")  # fmt: skip
        self._lock = Lock(folder / LOCK) if write else None
        try:
            with clear_errors(folder):
                target = str(path) if write else read_only(path)
                self._db = sqlite3.connect(target, uri=not write, isolation_level=None, check_same_thread=False)
                self._db.execute("PRAGMA busy_timeout = 5000")
                if write:
                    self._db.execute("PRAGMA journal_mode = WAL")
                    self._db.execute("PRAGMA synchronous = NORMAL")
                self._check_version(write)
        except BaseException:
            if self._lock:
                self._lock.release()
            raise

    def _check_version(self, write: bool) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0 and write:
            self._db.execute("BEGIN IMMEDIATE")
            for statement in filter(str.strip, _TABLES.split(";")):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {VERSION}")
            self._db.execute("COMMIT")
        elif version != VERSION:
            raise StoreError("the run has not begun, or another version wrote it", where=str(self.folder / FILE),
                             found=f"format {version}", expected=f"format {VERSION}")  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and let other writers in."""
        self._db.close()
        if self._lock:
            self._lock.release()

    def _put(self, table: str, rows: Iterable[tuple[str, Any]]) -> None:
        with clear_errors(self.folder):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", list(rows))
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _rows(self, query: str, *values: str) -> list[Any]:
        with clear_errors(self.folder):
            return self._db.execute(query, values).fetchall()

    # --- what was set up and decided --------------------------------------------------------------------------

    def get_meta(self, key: str) -> Any:
        """A JSON value, or None."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", key)
        return json.loads(rows[0][0]) if rows else None

    def put_meta(self, **values: Any) -> None:
        """Set JSON values, all or none."""
        self._put("meta", [(k, json.dumps(strict_values(v), ensure_ascii=False)) for k, v in values.items()])

    def arrays(self, key: str) -> dict[str, NDArray[Any]] | None:
        """Arrays under a key, or None."""
        rows = self._rows("SELECT data FROM arrays WHERE key = ?", key)
        if not rows:
            return None
        with np.load(io.BytesIO(rows[0][0]), allow_pickle=False) as found:
            return {name: found[name] for name in found.files}

    def put_arrays(self, key: str, values: Mapping[str, NDArray[Any]]) -> None:
        """Store arrays under a key."""
        data = io.BytesIO()
        np.savez(data, **values)  # type: ignore[arg-type]
        self._put("arrays", [(key, data.getvalue())])

    # --- what happened ----------------------------------------------------------------------------------------

    def add_talk(self, talk: Pressed) -> None:
        """Store one conversation."""
        self._put("talks", [(talk.id, talk.model_dump_json())])

    def talk_ids(self) -> set[str]:
        """Ids of the conversations that are there."""
        return {row[0] for row in self._rows("SELECT id FROM talks")}

    def talks(self) -> list[Pressed]:
        """All conversations, in order of id."""
        try:
            return [Pressed.model_validate_json(r) for (r,) in self._rows("SELECT record FROM talks ORDER BY id")]
        except ValidationError as error:
            raise StoreError("a stored conversation cannot be read", where=str(self.folder / FILE),
                             found=str(error)[:300]) from error  # fmt: skip

    def add_evidence(self, rows: Iterable[tuple[str, Any]]) -> None:
        """Store what the plain model says about conversations, by id."""
        self._put("evidence", [(k, json.dumps(strict_values(v))) for k, v in rows])

    def evidence_ids(self) -> set[str]:
        """Keys of the evidence that is there."""
        return {row[0] for row in self._rows("SELECT id FROM evidence")}

    def evidence(self) -> dict[str, Any]:
        """Evidence by conversation."""
        return {k: json.loads(v) for k, v in self._rows("SELECT id, record FROM evidence ORDER BY id")}
