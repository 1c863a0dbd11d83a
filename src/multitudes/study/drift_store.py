"""What a run over the drift domains stores: every conversation in one transaction, as it ends.

A conversation is kept under everything that it depends on: who spoke, under which edit, along which axis it was read,
how words were drawn, what was asked. So a killed run goes on where it was, and a later one in the same folder, with
another arm or more scripts, holds only what is new.
"""

from __future__ import annotations

from collections.abc import Iterable

from multitudes.core.records import Conversation
from multitudes.study.database import Database

_TABLES = "CREATE TABLE talks (key TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;"


class DriftStore(Database):
    """The conversations of drift runs. Arguments and errors as for ``Database``."""

    FILE, VERSION, TABLES = "drift.sqlite", 1, _TABLES
    KIND, COMMAND = "drift run", "multitudes axis drift AXIS --out FOLDER"

    def add(self, key: str, conversation: Conversation) -> None:
        """Store one conversation; one that is there under this key is replaced."""
        self._put("talks", [(key, conversation.model_dump_json())])

    def held(self, keys: Iterable[str]) -> dict[str, Conversation]:
        """By key, the conversations that are there and need not be held again.

        One that ended because a server failed or a budget was spent is nobody's doing: it is left out.
        """
        query = "SELECT record FROM talks WHERE key = ?"
        found = {key: c for key in keys for c in self._records(Conversation, query, key)}
        return {key: c for key, c in found.items() if not _cut_off(c)}


def _cut_off(c: Conversation) -> bool:
    return c.stop_reason == "budget" or (c.fault is not None and c.fault.kind == "provider")
