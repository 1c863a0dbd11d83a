"""Calls that were already paid for: a SQLite file from the hash of a call to its reply."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from multitudes.core.canonical import content_hash
from multitudes.core.errors import StoreError
from multitudes.core.records import Usage
from multitudes.models.base import Reply, Request

CACHE_VERSION = 1  # part of every key: a new version never meets an old entry
BUSY_S = 10.0  # how long to wait for another process that writes to the same file


def call_key(request: Request, *, endpoint: str, model: str, revision: str | None) -> str:
    """The name of a call: everything that decides its reply, and nothing else. Never a key to an account.

    Args:
        request: What is asked. Its ``call_id`` does not count.
        endpoint: Where.
        model: Of whom.
        revision: Version of the model as its user declares it; a local engine's fingerprint.
    """
    return content_hash(
        {
            "schema_version": CACHE_VERSION,
            "endpoint": endpoint,
            "model": model,
            "revision": revision,
            "messages": [list(m) for m in request.messages],
            "sampling": asdict(request.sampling),
            "seed": request.seed,
            "replicate": request.replicate,
            "schema": None if request.schema is None else dict(request.schema),
        }
    )


class CallCache:
    """Replies by ``call_key``. One connection, used from the event loop's thread; several processes may share a file.

    Whoever opens a cache closes it; models that share one do not.

    Raises:
        StoreError: The file cannot be opened, or is something else.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            # Made where the user is, used on the loop: SQLite itself serialises, so the thread check is off.
            self._db = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise StoreError("the call cache cannot be opened", where=str(self.path), found=str(error)) from error
        self._run("PRAGMA journal_mode=WAL")
        self._run("PRAGMA synchronous=NORMAL")
        self._run(
            "CREATE TABLE IF NOT EXISTS calls (key TEXT PRIMARY KEY, engine TEXT NOT NULL, reply TEXT NOT NULL)"
        )

    def __len__(self) -> int:
        return int(self._run("SELECT count(*) FROM calls")[0][0])

    def get(self, key: str) -> Reply | None:
        """The stored reply, marked as a hit that cost nothing, with its original latency; None if there is none."""
        rows = self._run("SELECT reply FROM calls WHERE key = ?", key)
        return replace(_from_json(rows[0][0]), cache_hit=True, cost_usd=0.0) if rows else None

    def put(self, key: str, reply: Reply) -> None:
        """Store a reply, with the fingerprint of what spoke. A fault is not stored: the next run tries again."""
        if reply.fault is None:
            self._run("INSERT OR REPLACE INTO calls VALUES (?, ?, ?)", key, reply.engine, _to_json(reply))

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _run(self, sql: str, *values: str) -> list[Any]:
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(
                "the call cache cannot be used", where=str(self.path), found=str(error),
                hint="name another file, or delete this one if it is a call cache",
            ) from error  # fmt: skip


def _to_json(reply: Reply) -> str:
    """Python's own JSON, which writes NaN as a number: the file is private, and nothing is lost."""
    fields = {name: getattr(reply, name) for name in Reply.__dataclass_fields__ if name != "fault"}
    return json.dumps(fields | {"usage": reply.usage.model_dump()})


def _from_json(text: str) -> Reply:
    fields = json.loads(text)
    for name in ("token_ids", "logprobs"):
        if fields[name] is not None:
            fields[name] = tuple(fields[name])
    return Reply(**fields | {"usage": Usage(**fields["usage"])})
