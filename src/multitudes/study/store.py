"""What a study stores in its run folder.

Every conversation and every batch of answers is one transaction: killed at any moment, the file holds whole records,
each once. Records are JSON of ``core.records``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.core.records import Answer, Conversation, Population, Reading
from multitudes.study.database import Database

STORE_VERSION = 1
FILE = "run.sqlite"

_TABLES = """
CREATE TABLE conversations (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE attempts (id TEXT NOT NULL, record TEXT NOT NULL);
CREATE TABLE answers (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE likelihoods (conversation_id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE embeddings (text_hash TEXT, encoder TEXT, vector BLOB, PRIMARY KEY (text_hash, encoder)) WITHOUT ROWID;
CREATE TABLE readings (gauge TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
"""


class Store(Database):
    """The records of one study. Arguments and errors as for ``Database``."""

    FILE, VERSION, TABLES = FILE, STORE_VERSION, _TABLES
    KIND, COMMAND = "run", "multitudes study FILE.toml"

    # --- what was set up ------------------------------------------------------------------------------------

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
        self._put("likelihoods", ((k, json.dumps(v)) for k, v in values))

    def embeddings(self, encoder: str) -> dict[str, NDArray[np.float32]]:
        """Vectors by hash of the text."""
        rows = self._rows("SELECT text_hash, vector FROM embeddings WHERE encoder = ?", encoder)
        return {key: np.frombuffer(vector, dtype=np.float32) for key, vector in rows}

    def add_embeddings(self, encoder: str, values: Iterable[tuple[str, NDArray[np.float32]]]) -> None:
        """Store vectors."""
        self._put("embeddings", ((key, encoder, v.astype(np.float32).tobytes()) for key, v in values))

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
