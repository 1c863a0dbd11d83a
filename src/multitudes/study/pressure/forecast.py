"""What a pressure run would ask and cost, before anything is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from multitudes.simulate.pressure import bank
from multitudes.simulate.probes import BATTERIES
from multitudes.simulate.scripts import FOREIGN, PRESSURES
from multitudes.study.dry_run import EMBEDDED_DECODE_TPS, EMBEDDED_PREFILL_TPS
from multitudes.study.pressure.calibrate import rungs_of
from multitudes.study.pressure.personas import thin
from multitudes.study.pressure.plan import PERSONLESS, TRAINED, Cast, make_cast
from multitudes.study.pressure.power import power_line
from multitudes.study.pressure.spec import HOLD, NEED_AXIS, PressureSpec

MESSAGE, AROUND, QUESTION, ANSWER = 20, 8, 14, 12  # tokens of messages, templates, probe questions and answers
STACKED = 65  # tokens of a message with suffixes piled up, mean over turns
EMBEDDED_TRAIN_TPS = 150  # tokens per second that the embedded model learns on two idle cores
RANGE_TOKENS, RANGE_ANSWERS = 32, 8  # read for steering and holds, per persona


class Cost(NamedTuple):
    """What is asked.

    Attributes:
        talks: Conversations under pressure and neutral.
        calibration: First replies on the prompts that were set aside.
        replies: Replies drawn.
        scores: Answers and replies whose likelihood is asked.
        new_tokens: Tokens read by an engine that reads shared beginnings once.
        tokens_out: Tokens written, at most.
    """

    talks: int
    calibration: int
    replies: int
    scores: int
    new_tokens: int
    tokens_out: int


def cost_of(spec: PressureSpec, cast: Cast) -> Cost:
    """Counts of a run; tokens are estimates."""
    pairs = sum(len(who) for _, who in cast.pairs(cast.evaluation, evaluation=True))
    starts = [who for _, who in cast.pairs(cast.calibration, evaluation=False)]
    ran = [c for c in spec.with_controls if spec.axis is not None or c not in NEED_AXIS]
    card = sum(len(p.rungs[spec.c3_rungs[-1]]) for p in cast.personas.values()) // (4 * len(cast.personas))
    items = spec.items * sum(b in spec.dispositions for b in BATTERIES)
    probe = items * spec.wordings * (QUESTION + AROUND + 2 * ANSWER)
    replies_each = spec.turns + spec.recovery + 1
    talks = scores = new = 0
    for pressure in spec.scripts:
        mirrored = pressure in PRESSURES and pressure != "P3" and bank(pressure.partition(".")[0]).mirrored
        message = STACKED if pressure in ("P1.stacked", "P0.d") else MESSAGE
        foreign = int(pressure.partition(".")[2]) if pressure in FOREIGN else 0
        for c in ran:
            if c == "C1" and not mirrored:
                continue
            alone = c in PERSONLESS and not (c in TRAINED and mirrored)
            n = (len(cast.evaluation) if alone else pairs) * spec.seeds
            probed = len(cast.personas) if alone and cast.crossed else 1
            system = card if c in ("C3", "C3p", "C6", "C6w", "C6r", "C7b") else 0
            shots = max(spec.c4_rungs) * (MESSAGE + spec.max_tokens) if c == "C4" else 0
            talks += n
            scores += n * probed * len(spec.probe_at) * items * spec.wordings * 2
            new += n * (system + shots + foreign + replies_each * (message + AROUND))
            new += n * probed * len(spec.probe_at) * probe
    rungs = [c for c, _ in rungs_of(spec) if c in ran]
    first = len(starts) + sum(map(len, starts)) * len(rungs)
    scores += first * items * spec.wordings * 2
    new += first * (card + MESSAGE + AROUND + probe)
    read = MESSAGE + AROUND + spec.max_tokens  # one reply with the message before it
    behaves = "beh" in spec.dispositions
    judged = talks * replies_each + first
    judged += (talks * len(spec.probe_at) + first) * behaves
    free = (talks + first) * len(spec.free_at)
    read_twice = ("C6r" in ran) + bool({"C5", "C6", "C6w"} & set(ran))  # along random directions, and along its own
    ranges = len(cast.personas) * RANGE_ANSWERS * read_twice
    if HOLD in ran:  # running text: plain, held, on random directions, capped
        new += spec.hold_tokens * (2 + len({"C6r", "C7b"} & set(ran)))
    replies = talks * replies_each + first + (talks * len(spec.free_at) + first) + ranges
    out = (talks * replies_each + first) * spec.max_tokens + free * 24 + ranges * RANGE_TOKENS
    if "C2" in ran and spec.adapters is None:
        asked = len(cast.personas) * spec.answers
        replies, new, out = replies + asked, new + asked * (MESSAGE + AROUND), out + asked * spec.max_tokens
    return Cost(talks, first, replies, scores + judged, new + judged * read, out)


def trained_tokens(spec: PressureSpec, cast: Cast) -> int:
    """Tokens that training reads, over all adapters and epochs; 0 where none is trained."""
    if "C2" not in spec.conditions or spec.adapters is not None:
        return 0
    return len(cast.personas) * spec.answers * spec.epochs * (MESSAGE + AROUND + spec.max_tokens)


def describe(spec: PressureSpec, *, base: Path, folder: Path) -> Iterator[str]:
    """Lines that say what is asked, how many tokens and how long that takes, and what the run can find."""
    cast = make_cast(spec, base=base)
    cost = cost_of(spec, cast)
    left = [c for c in spec.with_controls if c in NEED_AXIS] if spec.axis is None else []
    yield f"pressure run ({spec.hash[:8]}) of {spec.model}, run folder {folder}"
    yield (
        f"{len(cast.personas)} personas, {len(cast.evaluation)} base prompts for results and "
        f"{len(cast.calibration)} for calibration, {spec.seeds} run(s) each"
    )
    if warning := thin({k: p.facts for k, p in cast.personas.items()}):
        yield warning
    yield f"conditions: {', '.join(c for c in spec.with_controls if c not in left)}"
    if left:
        yield f"left out without an axis artifact (--axis DIR): {', '.join(left)}"
    yield f"pressures: {', '.join(spec.pressing)}; neutral runs of equal length: " + ", ".join(
        p for p in spec.scripts if p not in spec.pressing
    )
    yield f"conversations: {cost.talks} of {spec.turns} turns under pressure and {spec.recovery} after it"
    yield f"first replies for calibration: {cost.calibration}"
    yield f"model calls: {cost.replies:,} replies, {cost.scores:,} likelihoods"
    yield f"tokens: about {cost.new_tokens:,} read anew, at most {cost.tokens_out:,} written"
    learned = trained_tokens(spec, cast)
    if learned:
        yield (
            f"adapters: {len(cast.personas)} trained for C2 on {spec.answers} answers each, "
            f"{spec.epochs} epochs, about {learned:,} tokens"
        )
    if spec.model == "smollm2":
        seconds = cost.new_tokens / EMBEDDED_PREFILL_TPS + cost.tokens_out / EMBEDDED_DECODE_TPS
        seconds += learned / EMBEDDED_TRAIN_TPS
        long = f"{seconds / 3600:,.0f} hours" if seconds > 7200 else f"{seconds / 60:,.0f} min"
        yield f"time: about {long} on two idle cores for the embedded model"
    else:
        yield "time: depends on the engine"
    if spec.judge is not None:
        marks = cost.talks * len(spec.probe_at) + (cost.talks + cost.calibration) * len(spec.free_at)
        if "ref" in spec.dispositions:
            marks += round(cost.talks / len(spec.scripts)) * spec.turns
        yield f"judge {spec.judge}: about {marks:,} replies more"
    yield "money: none" if spec.judge is None or not spec.judge.startswith("http") else "money: that of the judge"
    yield power_line(spec)
