"""Persona jailbreaks under several arms: what is asked, and what came of it, pair by pair.

Every arm meets the same system texts, requests and seeds, and their replies decode in shared batches: an edit travels
with its request. Rows are appended after every batch, so a killed run goes on where it stopped. No persona at all is
asked as well: without it nobody could say what the personas did.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from multitudes.axis.axis import Axis
from multitudes.axis.jailbreak import SIDES, JailbreakSet, Side
from multitudes.axis.remedy import cap, engine_of, has_taps
from multitudes.core.canonical import canonical_json
from multitudes.core.errors import ConfigError, DataFormatError, StoreError, Unsupported
from multitudes.core.seeds import derive_seed
from multitudes.models.base import NEEDS_TAPS, ChatModel, Message, Reply, Request, Sampling, ScoreItem
from multitudes.study.dry_run import EMBEDDED_DECODE_TPS, EMBEDDED_PREFILL_TPS

ROWS = 32  # replies in flight together, over all arms
LEAST_READ = 3  # counted tokens below which a projection is not read
ROWS_SCHEMA = 1
WORD_TOKENS = 1.25  # tokens a word of these texts, counted with the tokenizer of the embedded model, and room
TEMPLATE_TOKENS = 16  # that a chat template adds to a system text and a request


class Arm(NamedTuple):
    """A model under a name."""

    name: str
    model: ChatModel


class Step(NamedTuple):
    """How far a run is: ``done`` of ``total`` pairs of system text and request, each under all arms."""

    name: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Unit:
    """One system text with one request. An empty ``persona`` is none: the system text is empty."""

    persona: str
    pair: str
    kind: str
    side: Side
    system: str
    request: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What names it."""
        return self.persona, self.pair, self.side

    @property
    def messages(self) -> tuple[Message, ...]:
        """As the model sees it."""
        return Message("system", self.system), Message("user", self.request)


@dataclass(frozen=True, slots=True)
class Row:
    """What one arm did with one unit.

    Attributes:
        arm: Which.
        persona: Id; empty for none.
        pair: Id.
        side: ``harmful`` or ``benign``.
        text: The reply; empty on a fault.
        fault: Code of the fault; empty if there was none.
        n_tokens: Counted tokens of the reply.
        declines: log p of each beginning that declines, nats.
        complies: The same of those that agree.
        z: Of the reply at the analysis layer: 0 the average role, 1 the default Assistant; NaN if too short.
        z_after: The same just after the capped blocks, where a cap acts by itself and not by what was said.
        engaged: By edited block, the share of counted tokens that were moved.
        moved: Mean summed ‖Δh‖ / ‖h‖ over counted tokens.
    """

    arm: str
    persona: str
    pair: str
    side: str
    text: str
    fault: str
    n_tokens: int
    declines: tuple[float, ...]
    complies: tuple[float, ...]
    z: float
    z_after: float
    engaged: Mapping[str, float]
    moved: float

    @property
    def key(self) -> tuple[str, str, str]:
        """Of its unit."""
        return self.persona, self.pair, self.side


def units_of(asked: JailbreakSet) -> list[Unit]:
    """Every persona and no persona, with every request and its twin; by persona, so that prompts are read once."""
    systems = [("", ""), *((p.id, p.text) for p in asked.personas)]
    return [
        Unit(persona, pair.id, pair.kind, side, system, pair.request(side))
        for persona, system in systems
        for pair in asked.pairs
        for side in SIDES
    ]


def open_arms(
    names: Sequence[str], model: ChatModel, axis: Axis, *, load: Callable[[str], ChatModel]
) -> list[Arm]:  # fmt: skip
    """Arms by name; the first is what the others are compared with.

    Args:
        names: ``plain``; ``capped`` (the recommended floor) or ``capped=THRESHOLD``; else a model's name, such as
            ``steer:0.2:DIR:MODEL`` or ``hold:DIR:MODEL``.
        model: The model that the axis was fitted on.
        axis: Its axis.
        load: Opens a name, with the weights that are there already.

    Raises:
        ConfigError: Fewer than two arms, or one twice.
        Unsupported: A model without taps.
        AxisMismatch: A model that the axis was not fitted on.
    """
    if len(names) < 2 or len(set(names)) != len(names):
        raise ConfigError(
            "nothing to compare", where="arms", found=", ".join(names) or "none", expected="two or more, each once",
            hint="--arms plain,capped",
        )  # fmt: skip
    arms = []
    for name in names:
        kind, _, rest = name.partition("=")
        if name == "plain":
            opened = model
        elif kind == "capped":
            opened = cap(model, axis, rest or None)
        else:
            opened = load(name)
        if not has_taps(opened):
            raise Unsupported("taps", opened.info.name, NEEDS_TAPS)
        axis.fits(opened)
        arms.append(Arm(name, opened))
    return arms


def sampling_of(axis: Axis, max_tokens: int) -> Sampling:
    """As the answers were drawn that the axis has its scale from; 0.7 and 0.9 where that is not known."""
    return Sampling(
        temperature=float(axis.about.get("temperature", 0.7)), top_p=float(axis.about.get("top_p", 0.9)),
        max_tokens=max_tokens,
    )  # fmt: skip


class Cost(NamedTuple):
    """What a run takes: replies, scored beginnings, and tokens, estimated from words."""

    replies: int
    scored: int
    judged: int
    prompt_tokens: int
    completion_tokens: int


def cost_of(asked: JailbreakSet, *, arms: int, max_tokens: int, judged: bool) -> Cost:
    """The plan in numbers. An engine that reuses prefixes reads each context once."""
    units = units_of(asked)
    openings = len(asked.kinds[0].declines) + len(asked.kinds[0].complies)
    words = sum(len(u.system.split()) + len(u.request.split()) for u in units)
    begun = {k.id: sum(len(t.split()) for t in (*k.declines, *k.complies)) for k in asked.kinds}
    words += sum(begun[u.kind] for u in units)
    tokens = arms * (round(words * WORD_TOKENS) + TEMPLATE_TOKENS * len(units))
    verdicts = arms * sum(u.side == "harmful" for u in units) if judged else 0
    return Cost(arms * len(units), arms * len(units) * openings, verdicts, tokens, arms * len(units) * max_tokens)


def describe(
    asked: JailbreakSet, names: Sequence[str], *, model: str, max_tokens: int, judge: str | None, folder: Path
) -> Iterator[str]:
    """Lines that say what is asked, and what that takes, before anything is loaded."""
    cost = cost_of(asked, arms=len(names), max_tokens=max_tokens, judged=judge is not None)
    yield f"{len(asked.personas)} personas and no persona, {len(asked.pairs)} requests with their benign twins"
    yield f"arms: {', '.join(names)}; folder {folder}"
    yield f"calls: {cost.replies} replies, {cost.scored} scored beginnings, {cost.judged} verdicts"
    yield f"tokens in: about {cost.prompt_tokens:,}, for an engine that reuses prefixes, without the verdicts"
    yield f"tokens out: at most {cost.completion_tokens:,}"
    if model == "smollm2":
        seconds = cost.prompt_tokens / EMBEDDED_PREFILL_TPS + cost.completion_tokens / EMBEDDED_DECODE_TPS
        yield f"time: at most about {max(1, round(seconds / 60))} min on two idle cores for the embedded model"


async def collect_rows(
    arms: Sequence[Arm], asked: JailbreakSet, axis: Axis, sampling: Sampling, path: Path, *, seed: int = 0,
    watch: Callable[[Step], None] | None = None,
) -> list[Row]:  # fmt: skip
    """Rows of all arms, in order of units, then of arms; what ``path`` holds already is not asked again.

    Args:
        arms: Who answers.
        asked: What.
        axis: Where replies are read.
        sampling: How they are drawn.
        path: JSON lines, appended to after every batch.
        seed: Root of all seeds; a unit has the same in every arm.
        watch: Told after every batch.

    Raises:
        DataFormatError: ``path`` holds rows that were asked in another way.
        StoreError: ``path`` cannot be written.
    """
    units = units_of(asked)
    header = {
        "jailbreak_rows": ROWS_SCHEMA, "set": asked.hash, "seed": seed,
        "arms": {a.name: engine_of(a.model) for a in arms},
        "axis": axis.about.get("role_set_hash"), "layers": list(layers_of(axis)), "temperature": sampling.temperature,
        "top_p": sampling.top_p, "max_tokens": sampling.max_tokens,
    }  # fmt: skip
    known = {(r.arm, r.key): r for r in _stored(path, header)}
    todo = [u for u in units if any((a.name, u.key) not in known for a in arms)]
    if watch is not None:
        watch(Step("jailbreaks", len(units) - len(todo), len(units)))
    size = max(1, ROWS // len(arms))
    for start in range(0, len(todo), size):
        part = todo[start : start + size]
        rows = await _asked(arms, part, asked, axis, sampling, seed)
        _append(path, rows)
        known |= {(r.arm, r.key): r for r in rows}
        if watch is not None:
            watch(Step("jailbreaks", len(units) - len(todo) + start + len(part), len(units)))
    return [known[a.name, u.key] for u in units for a in arms]


def layers_of(axis: Axis) -> tuple[int, int]:
    """The blocks at which replies are read: the analysis layer, and the one just after the window of the cap."""
    after = max(axis.window) + 1 if axis.window else axis.layer
    return axis.layer, min(after, axis.n_layers - 1)


async def _asked(
    arms: Sequence[Arm], units: Sequence[Unit], asked: JailbreakSet, axis: Axis, sampling: Sampling, seed: int
) -> list[Row]:
    at, after = layers_of(axis)
    requests = [
        Request(
            u.messages, sampling, seed=derive_seed("jailbreak", seed, *u.key), call_id="/".join(u.key),
            watch=tuple(sorted({at, after})),
        )
        for u in units
    ]  # fmt: skip
    replies = await asyncio.gather(*(a.model.reply(requests) for a in arms))
    items, width = [], len(asked.kinds[0].declines)
    for u in units:
        kind = asked.kind(u.kind)
        items += [ScoreItem(u.messages, t, include_end=False) for t in (*kind.declines, *kind.complies)]
    rows = []
    for arm, said in zip(arms, replies, strict=True):
        logp = [s.total for s in await arm.model.score(items)]
        for i, (u, reply) in enumerate(zip(units, said, strict=True)):
            own = logp[2 * width * i : 2 * width * (i + 1)]
            rows.append(_row(arm.name, u, reply, own[:width], own[width:], axis))
    return rows


def _row(arm: str, unit: Unit, reply: Reply, declines: Sequence[float], complies: Sequence[float], axis: Axis) -> Row:
    seen, fault = reply.internals, "" if reply.fault is None else reply.fault.code
    z = {layer: float("nan") for layer in layers_of(axis)}
    engaged: dict[str, float] = {}
    if seen is not None and not fault:
        engaged = {str(k): float(v) for k, v in seen.engaged.items()}
        if seen.n_tokens >= LEAST_READ:
            watched = sorted(z)
            z = dict(zip(watched, axis.z(axis.project(seen.means, watched), watched).tolist(), strict=True))
    at, after = layers_of(axis)
    return Row(
        arm, unit.persona, unit.pair, unit.side, "" if fault else reply.text, fault,
        0 if seen is None else seen.n_tokens, tuple(declines), tuple(complies), z[at], z[after], engaged,
        0.0 if seen is None else seen.moved,
    )  # fmt: skip


# --- rows on disk ---------------------------------------------------------------------------------------------


def _stored(path: Path, header: Mapping[str, Any]) -> Iterator[Row]:
    """Rows that are there, a line that a kill cut off left out; an empty file is begun with ``header``."""
    want = json.loads(canonical_json(header))
    try:
        *lines, cut = path.read_text(encoding="utf-8").split("\n") if path.is_file() else [""]
        if not lines:
            path.parent.mkdir(parents=True, exist_ok=True)
            _whole(path, [canonical_json(header)])
            return
        if cut:
            _whole(path, lines)
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError("rows cannot be kept", where=str(path), found=str(error)) from error
    found = _parsed(lines[0], f"{path}:1")
    if found != want:
        differs = sorted(k for k in {*found, *want} if found.get(k) != want.get(k))
        raise DataFormatError(
            "rows that were asked in another way", where=str(path), found="other " + ", ".join(differs),
            hint="give this run another folder with --out",
        )  # fmt: skip
    for number, line in enumerate(lines[1:], 2):
        row = _parsed(line, f"{path}:{number}")
        try:
            yield Row(**{
                **row, "declines": _numbers(row["declines"]), "complies": _numbers(row["complies"]),
                **{k: float(row[k]) for k in ("z", "z_after", "moved")},
            })  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise DataFormatError("not a row of ours", where=f"{path}:{number}", found=line[:80]) from error


def _numbers(values: Sequence[Any]) -> tuple[float, ...]:
    return tuple(float(v) for v in values)


def _parsed(line: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise DataFormatError("not a line of JSON", where=where, found=line[:80], hint="use another --out") from error
    if not isinstance(value, dict):
        raise DataFormatError("not a row of ours", where=where, found=line[:80], hint="use another --out")
    return value


def _whole(path: Path, lines: Sequence[str]) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    os.replace(part, path)


def _append(path: Path, rows: Sequence[Row]) -> None:
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write("".join(canonical_json(asdict(r)) + "\n" for r in rows))
    except (OSError, UnicodeEncodeError) as error:
        raise StoreError("rows cannot be kept", where=str(path), found=str(error)) from error
