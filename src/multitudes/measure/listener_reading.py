"""Identifiability of simulated people as one reading: single lines, whole dialogues, and the way between."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.errors import GaugeError
from multitudes.core.records import Curve, Direction, Point, Reading, Score
from multitudes.measure.listener import (
    MAX_INVERSE_TEMPERATURE,
    Evidence,
    bits,
    collect_evidence,
    contrast,
    cumulate,
    held_out_inverse_temperatures,
    right,
)
from multitudes.measure.stats import Estimate, bootstrap_curve, bootstrap_mean, bootstrap_slope

FloatArray = NDArray[np.float64]

GAUGE = "listener"
_BOOTSTRAP = "personas, expanded percentile bootstrap, temperatures kept"
_FACTS_ONCE = (
    "facts are told once, so this falls in human dialogues too: read it against a corpus curve, not against 0"
)

score = partial(Score, gauge=GAUGE)


def listener_reading(
    ell: ArrayLike,
    true: ArrayLike,
    *,
    persona: ArrayLike,
    dialogue: ArrayLike,
    turn: ArrayLike,
    listener: str = "",
    seed: int = 0,
    level: float = 0.95,
) -> Reading:
    """How well a listener tells the speakers apart.

    Temperatures are fitted by maximum likelihood on the other personas' lines: one for single lines and one for the
    evidence cumulated over a dialogue, because errors of neighbouring lines add up. Means weight personas equally.

    Args:
        ell: (n, K) log-likelihood of each line under each candidate, nats; NaN is unscored.
        true: (n,) column of the true persona.
        persona: (n,) label of the true persona; what is left out in fitting and resampled in intervals.
        dialogue: (n,) dialogue label.
        turn: (n,) own turn of the speaker.
        listener: Name of the listener, for the report.
        seed: Seed of the bootstrap.
        level: Confidence level.

    Returns:
        Scores ``bits_per_line``, ``bits_per_line_raw`` (τ = 1), ``log_score``, ``accuracy``, ``contrast``,
        ``temperature``, ``bits_dialogue``, ``accuracy_dialogue``, ``temperature_dialogue``, ``bits_slope``; curves
        ``bits_by_turn``, ``identification_bits`` and ``identification_accuracy``. Values that need a fitted
        temperature are NaN with a single persona.

    Raises:
        GaugeError: As ``collect_evidence``, and if no line is scored.
    """
    lines = collect_evidence(ell, true, persona=persona, dialogue=dialogue, turn=turn)
    if not len(lines.true):
        raise GaugeError("no line is scored", found=f"{lines.unscored} unscored lines")
    whole = cumulate(lines)
    cold, cold_whole = held_out_inverse_temperatures(lines), held_out_inverse_temperatures(whole)
    per_line, so_far = bits(lines, cold), bits(whole, cold_whole)
    last = np.append(lines.dialogue[1:] != lines.dialogue[:-1], True)
    k = lines.candidates
    mean = partial(bootstrap_mean, seed=seed, level=level)
    alone = "one persona only: no held-out temperature" if np.isnan(cold).any() else ""
    at_line = (
        f"log2 K + mean log2 q_true, K = {k}, temperature fitted on the other personas; at most {np.log2(k):.2f}"
    )
    at_end = "the same on the evidence of the whole dialogue, with its own temperature"
    scores = (
        _score("bits_per_line", mean(per_line, lines.persona), at_line, "bits", 0.0, lines, alone),
        _score("bits_per_line_raw", mean(bits(lines, 1.0), lines.persona), "the same at temperature 1", "bits", 0.0,
               lines),
        _score("log_score", mean(per_line * math.log(2) - math.log(k), lines.persona), "mean log q_true", "nats",
               -math.log(k), lines, alone),
        _score("accuracy", mean(right(lines), lines.persona), "share of lines whose most likely persona is the true "
               "one; m tied count 1/m", "share", 1 / k, lines),
        _score("contrast", mean(contrast(lines), lines.persona), "mean of ℓ_true minus the mean of the others",
               "nats", 0.0, lines),
        _temperature("temperature", cold, lines),
        _score("bits_dialogue", mean(so_far[last], lines.persona[last]), at_end, "bits", 0.0, lines, alone),
        _score("accuracy_dialogue", mean(right(whole)[last], lines.persona[last]), "share of dialogues identified at "
               "their last line; m tied count 1/m", "share", 1 / k, lines),
        _temperature("temperature_dialogue", cold_whole, lines),
        _score("bits_slope", bootstrap_slope(lines.turn, per_line, lines.persona, seed=seed, level=level),
               "least squares on the mean curve of bits per line", "bits per 10 own turns", 0.0, lines, alone,
               _FACTS_ONCE, direction="none"),
    )  # fmt: skip
    curve = partial(_curve, lines=lines, seed=seed, level=level)
    return Reading(
        gauge=GAUGE,
        scores=scores,
        curves=(
            curve("bits_by_turn", per_line, null=0.0, unit="bits"),
            curve("identification_bits", so_far, null=0.0, unit="bits"),
            curve("identification_accuracy", right(whole), null=1 / k, unit="share"),
        ),
        tables={"design": {"listener": listener, "candidates": k, "lines": len(lines.true),
                           "dialogues": int(last.sum()), "personas": len(np.unique(lines.persona))}},
    )  # fmt: skip


def _score(
    name: str,
    found: Estimate,
    how: str,
    unit: str,
    null: float,
    lines: Evidence,
    *notes: str,
    direction: Direction = "higher",
) -> Score:
    return score(
        name=name,
        value=found.value,
        low=found.low,
        high=found.high,
        n=found.n,
        unscored=lines.unscored,
        estimator=how,
        interval=_BOOTSTRAP if found.low is not None else "",
        null=null,
        unit=unit,
        direction=direction,
        note="; ".join(x for x in (*notes, found.note) if x),
    )


def _temperature(name: str, inverse: FloatArray, lines: Evidence) -> Score:
    """Median of the held-out temperatures, with their range in the note; ∞ where the likelihoods mislead."""
    _, first = np.unique(lines.persona, return_index=True)
    taus = sorted(math.inf if b == 0 else 1 / b for b in inverse[first].tolist() if not math.isnan(b))
    notes = [f"{taus[0]:.3g} to {taus[-1]:.3g} over personas"] if taus else ["one persona only"]
    if taus and taus[-1] == math.inf:
        notes.append("the likelihoods point away from the true personas")
    if taus and taus[0] <= 1 / MAX_INVERSE_TEMPERATURE:
        notes.append("at its lower bound: the listener never erred")
    return score(
        name=name,
        value=taus[(len(taus) - 1) // 2] if taus else math.nan,
        n=len(first),
        unscored=lines.unscored,
        null=1.0,
        unit="",
        direction="none",
        estimator="maximum likelihood on the other personas, median; 1 is calibrated, above is overconfident",
        note="; ".join(notes),
    )


def _curve(
    name: str, values: FloatArray, *, lines: Evidence, seed: int, level: float, null: float, unit: str
) -> Curve:
    found = bootstrap_curve(lines.turn, values, lines.persona, seed=seed, level=level)
    points = tuple(
        Point(x=x, value=v, low=None if np.isnan(lo) else lo, high=None if np.isnan(hi) else hi, n=n)
        for x, v, lo, hi, n in zip(
            found.x.tolist(), found.value.tolist(), found.low.tolist(), found.high.tolist(), found.n.tolist(),
            strict=True,
        )
    )  # fmt: skip
    return Curve(gauge=GAUGE, name=name, x_label="own turn", points=points, null=null, unit=unit)
