"""A run as flat tables that other tools read."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from multitudes.core.canonical import canonical_json
from multitudes.core.errors import MissingExtra, StoreError
from multitudes.study.data import RunData

Form = Literal["jsonl", "csv", "parquet"]
FORMATS: tuple[str, ...] = ("jsonl", "csv", "parquet")
Row = dict[str, Any]


def tables(run: RunData) -> dict[str, list[Row]]:
    """People, conversations (chat messages), turns, answers and scores, one flat row each."""
    return {
        "people": [
            {
                "id": p.id,
                "name": p.name,
                "text": p.text,
                "facts": json.dumps(p.facts, ensure_ascii=False),
                "fallback": p.fallback,
                **{f"target_{k}": v.target for k, v in p.placement.items()},
            }
            for p in run.population.personas
        ],
        "conversations": [
            {
                "id": c.id,
                "persona_id": c.persona_id,
                "scenario_id": c.scenario_id,
                "replicate": c.replicate,
                "stop_reason": c.stop_reason,
                "fault": c.fault.kind if c.fault else None,
                "messages": [
                    {"role": "user" if t.speaker == "user" else "assistant", "content": t.text} for t in c.turns
                ],
            }
            for c in run.conversations
        ],
        "turns": list(_turns(run)),
        "answers": [
            {
                "id": a.id,
                "persona_id": a.persona_id,
                "item_id": a.item_id,
                "arm": a.arm,
                "wording": a.wording,
                "replicate": a.replicate,
                "mode": a.mode,
                "score": a.score,
                "label_mass": a.label_mass,
                "probs": json.dumps(a.probs),
                "fault": a.fault.kind if a.fault else None,
            }
            for a in run.answers
        ],
        "scores": [
            {k: v for k, v in s.model_dump().items() if k != "schema_version"} for r in run.readings for s in r.scores
        ],
    }


def _turns(run: RunData) -> Iterator[Row]:
    for c in run.conversations:
        for i, t in enumerate(c.turns):
            yield {
                "conversation_id": c.id,
                "turn": i,
                "speaker": t.speaker,
                "text": t.text,
                "ends": t.ends,
                "guards": ",".join(t.guards),
                "rejected": len(t.rejected),
                "seed": None if t.call is None or t.call.seed is None else str(t.call.seed),
                "seed_status": t.call.seed_status if t.call else None,
                "tokens_in": t.call.usage.prompt if t.call else None,
                "tokens_out": t.call.usage.completion if t.call else None,
                "z": t.inside.z[0] if t.inside else None,
            }


def export_run(run: RunData, folder: Path, form: Form) -> list[Path]:
    """Write every table of ``run`` that has rows into ``folder``; each file appears whole or not at all.

    Raises:
        StoreError: The folder cannot be written.
        MissingExtra: Parquet without the ``parquet`` extra.
    """
    write = _WRITERS[form]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        out = []
        for name, rows in tables(run).items():
            if rows:
                path = folder / f"{name}.{form}"
                partial = path.with_suffix(f".{form}.part")
                partial.write_bytes(write(rows))
                os.replace(partial, path)
                out.append(path)
        return out
    except OSError as error:
        raise StoreError(
            "cannot write the export", where=str(folder), found=error.strerror or str(error), hint="use --out"
        ) from error


def _flat(rows: Iterable[Row]) -> list[Row]:
    return [{k: json.dumps(v, ensure_ascii=False) if isinstance(v, list) else v for k, v in r.items()} for r in rows]


def _jsonl(rows: list[Row]) -> bytes:
    return "".join(canonical_json(r) + "\n" for r in rows).encode("utf-8", "replace")


def _csv(rows: list[Row]) -> bytes:
    text = io.StringIO()
    flat = _flat(rows)
    writer = csv.DictWriter(text, fieldnames=list(dict.fromkeys(k for r in flat for k in r)), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: _safe_cell(v) for k, v in r.items()} for r in flat)
    return text.getvalue().encode("utf-8", "replace")


def _safe_cell(value: Any) -> Any:
    """Spreadsheets run cells that begin like a formula; model output is not to be run."""
    return "'" + value if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _parquet(rows: list[Row]) -> bytes:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtra("parquet", "writing Parquet") from error
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(_flat(rows)), sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data


_WRITERS: dict[str, Callable[[list[Row]], bytes]] = {"jsonl": _jsonl, "csv": _csv, "parquet": _parquet}
