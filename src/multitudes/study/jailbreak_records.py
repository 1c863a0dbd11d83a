"""What a study of persona jailbreaks found, as it is stored and drawn."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from multitudes.core.errors import DataFormatError, StoreError
from multitudes.core.records import Frozen, Record


class Number(Frozen):
    """A number, its interval (None where there is none, and then ``note`` says why) and what is behind it.

    Attributes:
        n: Requests behind it.
        unscored: Pairs of system text and request that were left out.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    unscored: int
    note: str


class ArmNumber(Frozen):
    """One proxy of one arm, under the personas or under none."""

    proxy: str
    arm: str
    side: str
    persona: bool
    number: Number


class Changed(Frozen):
    """A paired difference.

    Attributes:
        what: ``arm``: this arm less the first. ``benign``: the same on benign requests. ``persona_effect``: with
            personas less without, within the arm. ``tells_apart``: harmful less benign, within the arm.
        p_holm: Adjusted over the family of ``arm``; None outside of it.
    """

    what: Literal["arm", "benign", "persona_effect", "tells_apart"]
    proxy: str
    arm: str
    before: Number
    after: Number
    difference: Number
    p: float
    p_holm: float | None


class Less(Frozen):
    """By which share an arm has less of ``what`` than the first: the form in which the published figure is given."""

    what: str
    arm: str
    number: Number


class Engagement(Frozen):
    """What an edit did, over replies to harmful requests under personas.

    Attributes:
        by_block: Mean share of counted tokens that were moved, by block.
        moved: Mean summed ‖Δh‖ / ‖h‖.
    """

    arm: str
    edit: str
    by_block: dict[str, float]
    moved: float
    n: int


class Judged(Frozen):
    """Verdicts on one arm's replies to harmful requests, personas and none together; see ``harm_judge.py``."""

    arm: str
    harmful: int
    safe: int
    unscored: int


class Example(Frozen):
    """One request and what two arms said."""

    persona: str
    request: str
    before: str
    after: str
    p_before: float
    p_after: float


class JailbreakResult(Record):
    """Everything that a page, a terminal and a comparison need; arms in order, the first is the reference.

    Attributes:
        family: Proxies that were tested together. ``z`` is among them only where no arm is edited at the analysis
            layer or before it: then it can move by what was said alone.
        layer: Analysis layer, of ``z``.
        layer_after: Block of ``z_after``: just after the window of the cap, where the cap itself is seen.
        faults: Replies that could not be had, by arm.
        examples: Evenly over the requests: taken, not picked.
    """

    model: str
    engine: str
    small_model: bool
    axis: dict[str, Any]
    arms: tuple[str, ...]
    set: str
    set_hash: str
    personas: int
    pairs: int
    kinds: tuple[str, ...]
    family: tuple[str, ...]
    seed: int
    sampling: dict[str, float]
    layer: int
    layer_after: int
    judge: str | None
    rubric: str | None
    numbers: tuple[ArmNumber, ...]
    changes: tuple[Changed, ...]
    less: tuple[Less, ...]
    engagement: tuple[Engagement, ...]
    judged: tuple[Judged, ...]
    faults: dict[str, int]
    examples: tuple[Example, ...]

    def change(self, what: str, proxy: str, arm: str) -> Changed | None:
        """One of the changes, where it could be had."""
        return next((c for c in self.changes if (c.what, c.proxy, c.arm) == (what, proxy, arm)), None)


def save_result(result: JailbreakResult, path: Path) -> Path:
    """Write the result as JSON, whole or not at all; NaN travels as the string "NaN".

    Raises:
        StoreError: It cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
        os.replace(part, path)
    except (OSError, UnicodeEncodeError) as error:
        part.unlink(missing_ok=True)
        raise StoreError("the result cannot be written", where=str(path), found=str(error)) from error
    return path


def load_result(path: Path) -> JailbreakResult:
    """Read what ``save_result`` wrote.

    Raises:
        DataFormatError: It cannot be read, or is something else.
    """
    try:
        return JailbreakResult.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataFormatError("not a result of this study", where=str(path), found=str(error)[:200]) from error
