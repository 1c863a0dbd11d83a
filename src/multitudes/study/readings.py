"""A file of transcripts through a reader: every turn, each conversation in numbers, and the line above it all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from multitudes.axis.axis import Axis
from multitudes.axis.errors import NothingToRead
from multitudes.axis.project import Side, axis_id, need_scale, need_taps
from multitudes.axis.reader import ReaderProjection, read_conversation, reader_label, table_of_readings
from multitudes.core.canonical import strict_values
from multitudes.core.errors import GaugeError
from multitudes.core.records import Conversation
from multitudes.measure.drift import conversation_drift, pooled_drift
from multitudes.models.base import ChatModel
from multitudes.study.cross_read import validation
from multitudes.study.taps import limit_of


async def read_file(
    reader: ChatModel, axis: Axis, folder: Path, conversations: Sequence[Conversation], *, author: str,
    speaker: Side = "assistant", system: str = "", window: int | None = None, seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Readings of all conversations as plain JSON, under their label.

    Args:
        reader: A local model.
        axis: Its axis, from ``folder``.
        folder: Where checks of this reader are kept.
        conversations: What is read; those in which the speaker has no turn are listed as left out.
        author: Who wrote.
        speaker: Whose turns are read.
        system: See ``axis.reader.read_conversation``.
        window: See there.
        seed: Seed of the bands.

    Raises:
        GaugeError: Nothing could be read in any of them.
        ConfigError, Unsupported, AxisMismatch: See ``axis.reader.read_conversation``.
    """
    need_taps(reader)
    need_scale(axis)
    axis.fits(reader)
    readings: list[tuple[Conversation, ReaderProjection]] = []
    left_out: list[dict[str, str]] = []
    for c in conversations:
        try:
            reading = await read_conversation(
                reader, axis, c, author=author, speaker=speaker, system=system, window=window
            )
        except NothingToRead as error:
            left_out.append({"id": c.id, "why": error.what})
            continue
        readings.append((c, reading))
    if not readings:
        why = sorted({x["why"] for x in left_out}) or ["there are none"]
        raise GaugeError(
            "no conversation could be read", found="; ".join(why), expected=f"turns of the {speaker}",
            hint="give the other side with --speaker",
        )  # fmt: skip
    table = table_of_readings([r for _, r in readings])
    limit = limit_of(axis)
    drift = conversation_drift(table, limit=limit)
    pooled = pooled_drift(table, seed=seed, views=["reader"] * len(table))
    told, check = validation(folder, axis, author=author)
    rows = [
        {
            "id": c.id, "turns": list(r.turns), "tokens": r.n_tokens.tolist(), "z": r.z_at_layer.tolist(),
            "mean_z": float(np.nanmean(r.z_at_layer)) if np.isfinite(r.z_at_layer).any() else float("nan"),
            "slope": float(drift.slope[i]), "change": float(drift.change[i]),
            "outside": None if np.isnan(limit) else float(drift.outside[i]), "system_used": r.system_used,
        }
        for i, (c, r) in enumerate(readings)
    ]  # fmt: skip
    result = {
        "schema": 1, "kind": "reading", "view": "reader", "label": reader_label(reader.info.name, author),
        "reader": reader.info.name, "author": author, "speaker": speaker, "window": window, "validated": told,
        "check": check, "axis": {"id": axis_id(axis), "layer": axis.layer, "method": axis.method, "limit": limit},
        "small_model": reader.info.small_model, "conversations": rows, "left_out": left_out,
        "curve": {
            "turn": [int(x) + 1 for x in pooled.curve.x], "z": pooled.curve.value.tolist(),
            "low": pooled.curve.low.tolist(), "high": pooled.curve.high.tolist(), "n": pooled.curve.n.tolist(),
        },
    }  # fmt: skip
    plain: dict[str, Any] = strict_values(result)
    return plain
