"""What a pressure run stores: every conversation in one transaction, so that a killed run goes on where it was.

Records are JSON of ``simulate.press``; arrays (edits) are npz without pickles.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.core.canonical import strict_values
from multitudes.simulate.press import Pressed
from multitudes.study.database import Database

FILE = "pressure.sqlite"
VERSION = 1
JUDGED, REFUSED = "#judge", "#refusal"  # end the keys of what a judge says about a conversation
PROSE = "prose:"  # begins the key of what was read of a window of running text
_TABLES = """
CREATE TABLE talks (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE evidence (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE arrays (key TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
"""


class PressureStore(Database):
    """The records of one pressure run. Arguments and errors as for ``Database``."""

    FILE, VERSION, TABLES = FILE, VERSION, _TABLES
    KIND, COMMAND = "pressure run", "multitudes pressure run --out FOLDER"

    # --- what was decided -------------------------------------------------------------------------------------

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
        return self._records(Pressed, "SELECT record FROM talks ORDER BY id")

    def add_evidence(self, rows: Iterable[tuple[str, Any]]) -> None:
        """Store what the plain model says about conversations, by id."""
        self._put("evidence", [(k, json.dumps(strict_values(v))) for k, v in rows])

    def evidence_ids(self) -> set[str]:
        """Keys of the evidence that is there."""
        return {row[0] for row in self._rows("SELECT id FROM evidence")}

    def evidence(self) -> dict[str, Any]:
        """Evidence by conversation."""
        return {k: json.loads(v) for k, v in self._rows("SELECT id, record FROM evidence ORDER BY id")}
