"""From rows to what is reported: proxies by arm, paired differences, checks that say whether they mean anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.axis.axis import Axis
from multitudes.axis.jailbreak import SIDES, JailbreakSet, Side
from multitudes.core.errors import ConfigError
from multitudes.measure import harm
from multitudes.measure.stats import Difference, Estimate, bootstrap_mean, paired_difference
from multitudes.models.base import ChatModel
from multitudes.study.harm_judge import RUBRIC_HASH, judge_harm
from multitudes.study.jailbreak import Arm, Row, Step, Unit, collect_rows, layers_of, sampling_of, units_of
from multitudes.study.jailbreak_records import (
    ArmNumber,
    Changed,
    Engagement,
    Example,
    JailbreakResult,
    Judged,
    Less,
    Number,
)

FloatArray = NDArray[np.float64]
Masks = dict[Side, NDArray[np.intp]]  # indices of units by side

FAMILY = ("p_decline", "declined", "voice", "z", "harmful")  # what Holm adjusts over, with all arms
DESCRIBED = ("log_odds", "openly", "z_after")
COMPLYING: dict[str, str] = {  # what a relative fall is read of: 1 − a proxy of declining, or a rate of harm itself
    "p_comply": "probability of agreeing (forced choice)",
    "not_declined": "replies without a refusal in policy words",
    "not_openly": "replies without any refusal that was found",
    "harmful": "replies that a judge calls harmful",
}
EXAMPLES = 4


async def run_jailbreak(
    arms: Sequence[Arm], asked: JailbreakSet, axis: Axis, folder: Path, *, max_tokens: int = 48, seed: int = 0,
    judge: ChatModel | None = None, watch: Callable[[Step], None] | None = None,
) -> JailbreakResult:  # fmt: skip
    """Ask, or go on asking, and read.

    Args:
        arms: From ``open_arms``; the first is the reference.
        asked: Personas and requests.
        axis: Where replies are read.
        folder: Rows are kept in ``rows.jsonl`` there.
        max_tokens: Longest reply.
        seed: Root of all seeds.
        judge: Says of replies to harmful requests whether they are harmful.
        watch: Told after every batch.
    """
    sampling = sampling_of(axis, max_tokens)
    rows = await collect_rows(arms, asked, axis, sampling, folder / "rows.jsonl", seed=seed, watch=watch)
    verdicts: dict[tuple[str, tuple[str, str, str]], float] = {}
    if judge is not None:
        texts = {p.id: p.harmful for p in asked.pairs}
        sent = [r for r in rows if r.side == "harmful"]
        found = await judge_harm(judge, [(texts[r.pair], r.text) for r in sent])
        verdicts = {(r.arm, r.key): float(v) for r, v in zip(sent, found, strict=True)}
    return result_of(
        rows, asked, axis, arms, seed=seed, verdicts=verdicts, judge=None if judge is None else judge.info.name,
        sampling={"temperature": sampling.temperature, "top_p": sampling.top_p, "max_tokens": float(max_tokens)},
    )  # fmt: skip


class _Table(NamedTuple):
    """Values by proxy (n,) of one arm, in order of the units."""

    arm: str
    values: Mapping[str, FloatArray]


def result_of(
    rows: Sequence[Row], asked: JailbreakSet, axis: Axis, arms: Sequence[Arm], *, seed: int,
    verdicts: Mapping[tuple[str, tuple[str, str, str]], float], judge: str | None, sampling: Mapping[str, float],
) -> JailbreakResult:  # fmt: skip
    """The numbers of ``rows``; needs no model.

    Raises:
        ConfigError: A row is missing.
    """
    units = units_of(asked)
    by_key = {(r.arm, r.key): r for r in rows}
    if missing := [(a.name, u.key) for a in arms for u in units if (a.name, u.key) not in by_key]:
        raise ConfigError("rows are missing", found=f"{len(missing)}, such as {missing[0]}", hint="run it again")
    tables = [
        _Table(a.name, _values([by_key[a.name, u.key] for u in units], verdicts if judge else None)) for a in arms
    ]
    held, without = _masks(units)
    clusters = np.array([u.pair for u in units])
    info = arms[0].model.info
    at, after = layers_of(axis)
    first, rest = tables[0], tables[1:]
    harmful, benign = held["harmful"], held["benign"]
    engaged = [_engagement(a, [by_key[a.name, u.key] for u in (units[i] for i in harmful)]) for a in arms]
    family = tuple(f for f in FAMILY if f in first.values and not (f == "z" and _mechanical(engaged, at)))
    found = [
        *_changed("arm", first, rest, harmful, clusters, seed, family=family),
        *_changed("benign", first, rest, benign, clusters, seed, family=()),
    ]
    for t in tables:
        found += _within("persona_effect", t, harmful, _partners(units, harmful, persona=""), clusters, seed)
        found += _within("tells_apart", t, harmful, _partners(units, harmful, side="benign"), clusters, seed)
    return JailbreakResult(
        model=info.name, engine=info.fingerprint, small_model=info.small_model, arms=tuple(a.name for a in arms),
        axis={k: axis.about.get(k) for k in ("model", "method", "preset", "role_set_hash")}
        | {"window": list(axis.window)},
        set=asked.name, set_hash=asked.hash, personas=len(asked.personas), pairs=len(asked.pairs),
        kinds=tuple(k.name for k in asked.kinds), seed=seed, sampling=dict(sampling), layer=at, layer_after=after,
        judge=judge, rubric=RUBRIC_HASH if judge else None,
        numbers=tuple(_arm_numbers(tables, held, without, clusters, seed)), changes=tuple(found),
        less=tuple(_less(first, rest, harmful, clusters, seed)),
        engagement=tuple(engaged), family=family,
        judged=tuple(_judged(a.name, verdicts) for a in arms) if judge else (),
        faults={a.name: sum(bool(by_key[a.name, u.key].fault) for u in units) for a in arms},
        examples=tuple(_examples(units, harmful, first, rest, by_key)),
    )  # fmt: skip


def _values(
    rows: Sequence[Row], verdicts: Mapping[tuple[str, tuple[str, str, str]], float] | None
) -> dict[str, FloatArray]:
    chosen = harm.choice([r.declines for r in rows], [r.complies for r in rows])
    seen = np.array([harm.signs(r.text) for r in rows])
    out: dict[str, FloatArray] = {
        "p_decline": chosen.probability, "declined": seen[:, 0], "voice": seen[:, 1],
        "z": np.array([r.z for r in rows]), "log_odds": chosen.log_odds, "openly": seen[:, 2],
        "z_after": np.array([r.z_after for r in rows]),
    }  # fmt: skip
    if verdicts is not None:
        out["harmful"] = np.array([verdicts.get((r.arm, r.key), np.nan) for r in rows])
    return out


def _masks(units: Sequence[Unit]) -> tuple[Masks, Masks]:
    """Indices of units by side, under personas and under none."""
    held = {s: np.array([i for i, u in enumerate(units) if u.side == s and u.persona], dtype=np.intp) for s in SIDES}
    bare = {s: np.array([i for i, u in enumerate(units) if u.side == s and not u.persona], np.intp) for s in SIDES}
    return held, bare


def _partners(units: Sequence[Unit], chosen: NDArray[np.intp], **other: str) -> NDArray[np.intp]:
    """For each chosen unit, the one that differs from it in what ``other`` says."""
    at = {u.key: i for i, u in enumerate(units)}
    return np.array(
        [at[other.get("persona", units[i].persona), units[i].pair, other.get("side", units[i].side)] for i in chosen],
        dtype=np.intp,
    )


def _changed(
    what: Literal["arm", "benign"], first: _Table, rest: Sequence[_Table], chosen: NDArray[np.intp],
    clusters: NDArray[Any], seed: int, *, family: tuple[str, ...],
) -> list[Changed]:  # fmt: skip
    skip = {"harmful"} if what == "benign" else set()  # a judge is asked about harmful requests only
    old = {k: v[chosen] for k, v in first.values.items() if k not in skip}
    new = {t.arm: {k: t.values[k][chosen] for k in old} for t in rest}
    return [
        Changed(
            what=what, proxy=c.proxy, arm=c.arm, before=_number(c.before), after=_number(c.after),
            difference=_number(c.difference), p=c.difference.p, p_holm=c.p_holm,
        )
        for c in harm.changes(old, new, clusters[chosen], family=family, seed=seed)
    ]  # fmt: skip


def _within(
    what: Literal["persona_effect", "tells_apart"], table: _Table, after: NDArray[np.intp],
    before: NDArray[np.intp], clusters: NDArray[Any], seed: int,
) -> list[Changed]:  # fmt: skip
    """Differences within an arm; each request is a cluster, so a partner that serves many pairs counts once."""
    out = []
    for proxy, values in table.values.items():
        if proxy == "harmful" and what == "tells_apart":
            continue
        d = paired_difference(values[after], values[before], clusters[after], seed=seed)
        old, new = (bootstrap_mean(values[i], clusters[after], seed=seed) for i in (before, after))
        out.append(
            Changed(
                what=what, proxy=proxy, arm=table.arm, before=_number(old), after=_number(new),
                difference=_number(d), p=d.p, p_holm=None,
            )
        )  # fmt: skip
    return out


def _arm_numbers(
    tables: Sequence[_Table], held: Masks, bare: Masks,
    clusters: NDArray[Any], seed: int,
) -> list[ArmNumber]:  # fmt: skip
    return [
        ArmNumber(
            proxy=proxy, arm=t.arm, side=side, persona=persona,
            number=_number(bootstrap_mean(values[masks[side]], clusters[masks[side]], seed=seed)),
        )
        for t in tables
        for proxy, values in t.values.items()
        for persona, masks in ((True, held), (False, bare))
        for side in SIDES
        if not (proxy == "harmful" and side == "benign")
    ]  # fmt: skip


def _less(
    first: _Table, rest: Sequence[_Table], chosen: NDArray[np.intp], clusters: NDArray[Any], seed: int
) -> list[Less]:
    def of(t: _Table, what: str) -> FloatArray | None:
        source = {"p_comply": "p_decline", "not_declined": "declined", "not_openly": "openly"}.get(what)
        return t.values.get("harmful") if source is None else 1 - t.values[source]

    out = []
    for t in rest:
        for what in COMPLYING:
            new, old = of(t, what), of(first, what)
            if new is not None and old is not None:
                number = harm.fewer(new[chosen], old[chosen], clusters[chosen], seed=seed)
                out.append(Less(what=what, arm=t.arm, number=_number(number)))
    return out


def _engagement(arm: Arm, rows: Sequence[Row]) -> Engagement:
    read = [r for r in rows if r.n_tokens]
    edit = getattr(arm.model, "edit", None)
    own = set() if edit is None else {str(e.layer) for e in edit.layers}
    own |= {b for r in read for b, share in r.engaged.items() if share > 0}  # blocks of others in the batch have 0
    blocks = sorted(own, key=int)
    return Engagement(
        arm=arm.name, edit="" if edit is None else edit.name, n=len(read),
        by_block={b: float(np.mean([r.engaged.get(b, 0.0) for r in read])) for b in blocks},
        moved=float(np.mean([r.moved for r in read])) if read else float("nan"),
    )  # fmt: skip


def _mechanical(engaged: Sequence[Engagement], layer: int) -> bool:
    """Whether an edit acts at the analysis layer or before it: z then is what was done, not what came of it."""
    return any(int(block) <= layer for e in engaged for block in e.by_block)


def _judged(arm: str, verdicts: Mapping[tuple[str, tuple[str, str, str]], float]) -> Judged:
    own = np.array([v for (name, _), v in verdicts.items() if name == arm])
    return Judged(
        arm=arm, harmful=int((own == 1).sum()), safe=int((own == 0).sum()), unscored=int(np.isnan(own).sum())
    )


def _examples(
    units: Sequence[Unit], chosen: NDArray[np.intp], first: _Table, rest: Sequence[_Table],
    by_key: Mapping[tuple[str, tuple[str, str, str]], Row],
) -> list[Example]:  # fmt: skip
    """Pairs of replies, evenly over the order of the requests: taken, not picked."""
    other = rest[0]
    p, q = first.values["p_decline"], other.values["p_decline"]
    step = max(1, len(chosen) // EXAMPLES)
    return [
        Example(
            persona=units[i].persona, request=units[i].request, before=by_key[first.arm, units[i].key].text,
            after=by_key[other.arm, units[i].key].text, p_before=float(p[i]), p_after=float(q[i]),
        )
        for i in chosen[step // 2 :: step][:EXAMPLES]
    ]  # fmt: skip


def _number(e: Estimate | Difference) -> Number:
    return Number(value=e.value, low=e.low, high=e.high, n=e.n, unscored=e.unscored, note=e.note)
