"""A study that is read along an axis while it runs: who can be read, and what is kept beside the turns."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from multitudes.axis.artifact import load_axis
from multitudes.axis.axis import Axis
from multitudes.axis.errors import AxisMismatch
from multitudes.axis.project import axis_id, need_scale
from multitudes.axis.remedy import has_taps
from multitudes.axis.watch import Tapped, watched_layers
from multitudes.core.records import Conversation, Scenario, Speaker
from multitudes.core.seeds import derive_rng, derive_seed
from multitudes.models.base import ChatModel, Message, Request
from multitudes.simulate.drift_domains import neutral_lines
from multitudes.simulate.targets import ModelTarget, Target
from multitudes.simulate.views import view
from multitudes.study.spec import StudySpec
from multitudes.study.store import Store

AT_ONCE = 64  # everyday questions in one batch and one write
NO_TAPS = "its engine has no taps"


class Taps(NamedTuple):
    """An axis, and the voices of a study that can be read along it.

    Attributes:
        axis: The axis.
        simulator: The model that plays the people, tapped; None where it cannot be read.
        target: The target, tapped.
        why: By side, why it cannot be read.
    """

    axis: Axis
    simulator: Tapped | None
    target: ModelTarget | None
    why: Mapping[Speaker, str]

    @property
    def about(self) -> dict[str, Any]:
        """What the gauge and the report need to know of the axis, as plain data."""
        axis = self.axis
        return {
            "id": axis_id(axis), "layer": axis.layer, "layers": list(watched_layers(axis)), "limit": limit_of(axis),
            "model": str(axis.about.get("model", "")), "method": axis.method, "why": dict(self.why),
            "small_model": bool(axis.about.get("small_model")),
        }  # fmt: skip


def limit_of(axis: Axis, layer: int | None = None) -> float:
    """The z of the 5 % quantile of default responses: below it a turn is outside. NaN if it was never calibrated."""
    k = axis.layer if layer is None else layer
    return float(axis.z(axis.low_default[k : k + 1], [k])[0])


def open_taps(spec: StudySpec, simulator: ChatModel, target: Target, *, base: Path) -> Taps | None:
    """Tap whoever can be read along the study's axis; None for a study that names none.

    A side whose engine has no taps, or that is another model than the axis was fitted on, is left as it is: the gauge
    says so in its place.

    Raises:
        AxisMismatch: No such axis, or one that fits neither side although a side could be read.
        NoScale: An axis without a scale.
    """
    if spec.measure.axis is None or not spec.scenarios:
        return None
    axis = load_axis(base / spec.measure.axis)
    need_scale(axis)
    why: dict[Speaker, str] = {}
    misfit: AxisMismatch | None = None
    tapped: dict[Speaker, Tapped] = {}
    sides: tuple[tuple[Speaker, ChatModel | None], ...] = (
        ("user", simulator),
        ("target", target.model if isinstance(target, ModelTarget) else None),
    )
    for side, model in sides:
        if model is None or not has_taps(model):
            why[side] = NO_TAPS
            continue
        try:
            tapped[side] = Tapped(model, axis)
        except AxisMismatch as error:
            misfit, why[side] = error, f"{error.what}: {error.found}"
    if misfit is not None and not tapped:
        raise misfit
    heard = tapped.get("target")
    return Taps(
        axis, tapped.get("user"), target.over(heard) if heard and isinstance(target, ModelTarget) else None, why
    )


async def ask_neutral(store: Store, taps: Taps, spec: StudySpec) -> None:
    """Ask every target that was read an everyday question in a side branch after its last answer, once.

    The conversation does not know of it. What is kept is where the answer lies on the axis, by axis and conversation,
    with the answer that went before: a conversation that is held again is asked again.
    """
    if taps.target is None or not spec.measure.neutral:
        return
    axis = axis_id(taps.axis)
    kept: dict[str, Any] = store.get_meta("neutral") or {}
    known: dict[str, Any] = dict(kept.get(axis) or {})
    scenarios = {s.id: s for s in spec.scenarios}
    todo = [
        c for c in store.conversations()
        if c.complete and _last_answer(c) and known.get(c.id, {}).get("after") != _last_answer(c)
    ]  # fmt: skip
    for start in range(0, len(todo), AT_ONCE):
        part = todo[start : start + AT_ONCE]
        requests = [_request(c, scenarios, spec, k) for c in part for k in range(spec.measure.neutral)]
        replies = iter(await taps.target.model.reply(requests))
        for c in part:
            found = [next(replies).inside for _ in range(spec.measure.neutral)]
            z = [i.z[0] for i in found if i is not None and not math.isnan(i.z[0])]
            known[c.id] = {"after": _last_answer(c), "z": sum(z) / len(z) if z else None}
        store.put_meta(neutral={**kept, axis: known})


def neutral_of(store: Store, conversations: Sequence[Conversation]) -> dict[str, float]:
    """By conversation, where its answers to everyday questions lie on the study's axis; without those too short."""
    about = store.get_meta("axis") or {}
    found = (store.get_meta("neutral") or {}).get(about.get("id")) or {}
    asked = [(c.id, found[c.id]) for c in conversations if c.id in found]
    after = {c.id: _last_answer(c) for c in conversations}
    return {k: float(v["z"]) for k, v in asked if v["z"] is not None and v["after"] == after[k]}


def _request(c: Conversation, scenarios: Mapping[str, Scenario], spec: StudySpec, k: int) -> Request:
    scenario = scenarios.get(c.scenario_id or "")
    lines = neutral_lines()
    turns = c.turns if c.turns[-1].speaker == "target" else c.turns[:-1]
    line = lines[int(derive_rng(spec.root, "neutral", c.id).permutation(len(lines))[k])]
    messages = view(turns, "target", system=scenario.target_system if scenario else "")
    seed = derive_seed(spec.root, "neutral", c.id, k)
    return Request((*messages, Message("user", line)), spec.target_sampling, seed=seed, keep=False)


def _last_answer(c: Conversation) -> str:
    """Hash of the target's last words; empty where it said nothing."""
    text = next((t.text for t in reversed(c.turns) if t.speaker == "target"), "")
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16] if text else ""


def tapped_sides(taps: Taps | None, simulator: ChatModel, target: Target) -> tuple[ChatModel, Target]:
    """The voices of a conversation: tapped where they can be."""
    if taps is None:
        return simulator, target
    return taps.simulator or simulator, taps.target or target
