"""May one model read for another? Both write, each reads what the other wrote, and the two readings are compared.

That is the licence for reader mode: without it a reader's view of an author is unvalidated. What is found is kept
with the reader's axis, so that later readings of the same author can say so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from multitudes.axis.axis import Axis
from multitudes.axis.project import axis_id
from multitudes.axis.reader import read_conversation
from multitudes.core.canonical import strict_values
from multitudes.core.errors import DataFormatError
from multitudes.measure.cross_read import CrossReading, cross_reading
from multitudes.models.base import ChatModel
from multitudes.study.drift import DriftSetup, Told, run_drift
from multitudes.study.result_file import write_result

FILE = "cross_read.json"
UNVALIDATED = (
    "unvalidated: nobody has checked that this reader follows this author (multitudes axis check --cross-read)"
)


@dataclass(frozen=True, slots=True, eq=False)
class CrossRead:
    """One direction.

    Attributes:
        author: Who wrote.
        reader: Who read.
        author_axis: Id of the author's axis.
        reader_axis: Id of the reader's axis.
        author_engine: Fingerprint of the author.
        reader_engine: Fingerprint of the reader.
        found: How far the reader's z follows the author's own.
    """

    author: str
    reader: str
    author_axis: str
    reader_axis: str
    author_engine: str
    reader_engine: str
    found: CrossReading

    def as_data(self) -> dict[str, Any]:
        """Plain values for JSON."""
        f = self.found
        names = ("author", "reader", "author_axis", "reader_axis", "author_engine", "reader_engine")
        out: dict[str, Any] = {k: getattr(self, k) for k in names}
        out |= {k: getattr(f, k)._asdict() for k in ("r", "within", "offset")}
        plain: dict[str, Any] = strict_values(out | {"n_turns": f.n_turns, "unscored": f.unscored})
        return plain


async def cross_read(
    one: tuple[ChatModel, Axis], other: tuple[ChatModel, Axis], *, setup: DriftSetup | None = None,
    told: Told = lambda done, total: None,
) -> list[CrossRead]:  # fmt: skip
    """Both directions. Each model answers the same scripted users; its own z is taken while it writes.

    Args:
        one: A local model and its axis.
        other: Another one.
        setup: What is held; the default scripts if None.
        told: Called with the number of conversations that have ended, and of all.

    Raises:
        Unsupported: A model without taps.
        AxisMismatch: An axis of another model.
        GaugeError: Too few turns with both readings.
        ConfigError: A conversation that is longer than the reader's context.
    """
    how = setup or DriftSetup()
    out = []
    for (author, own_axis), (reader, reader_axis) in ((one, other), (other, one)):
        run = await run_drift({"author": author}, own_axis, setup=how, told=told)
        own: list[float] = []
        read: list[float] = []
        groups: list[str] = []
        for c in run.held["author"].values():
            if not c.complete:
                continue
            reading = await read_conversation(reader, reader_axis, c, author=author.info.name)
            for i, z in zip(reading.turns, reading.z_at_layer, strict=True):
                inside = c.turns[i].inside
                own.append(np.nan if inside is None else inside.z[0])
                read.append(float(z))
                groups.append(c.id)
        found = cross_reading(own, read, groups, seed=how.seed)
        out.append(
            CrossRead(
                author.info.name, reader.info.name, axis_id(own_axis), axis_id(reader_axis),
                author.info.fingerprint, reader.info.fingerprint, found,
            )
        )  # fmt: skip
    return out


def keep(found: Sequence[CrossRead], folder: Path, axis: Axis) -> Path | None:
    """Keep what concerns the reader whose axis lies in ``folder``; an older check of the same pair is replaced.

    Raises:
        StoreError: It cannot be written.
    """
    mine = [c.as_data() for c in found if c.reader_axis == axis_id(axis)]
    if not mine:
        return None
    pairs = {(c["author"], c["author_axis"]) for c in mine}
    old = [c for c in known(folder) if (c["author"], c["author_axis"]) not in pairs]
    return write_result({"schema": 1, "pairs": [*old, *mine]}, folder / FILE)


def known(folder: Path) -> list[dict[str, Any]]:
    """Checks that are kept with an axis.

    Raises:
        DataFormatError: A file that is not one of ours.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    try:
        pairs: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["pairs"]
        return [p for p in pairs if {"author", "reader", "reader_axis", "author_axis", "r", "offset"} <= set(p)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataFormatError("not a file of cross-readings", where=str(path), found=repr(error)[:200]) from error


def validation(folder: Path, axis: Axis, *, author: str) -> tuple[str, Mapping[str, Any] | None]:
    """One line on whether this reader was checked on this author, and the check itself.

    A check holds for the reader's axis it was made with.
    """
    found = next((p for p in known(folder) if p["author"] == author and p["reader_axis"] == axis_id(axis)), None)
    if found is None:
        return UNVALIDATED, None
    r, offset = found["r"], found["offset"]
    around = "" if r["low"] is None else f" ({r['low']:.2f} to {r['high']:.2f})"
    return (
        f"checked on {found['n_turns']} turns of {author}: r = {r['value']:.2f}{around} with its own z, mean offset "
        f"{offset['value']:+.2f}",
        found,
    )
