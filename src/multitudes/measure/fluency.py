"""Fluency: whether what people say still reads like language, so that a remedy cannot win by breaking the model.

Two numbers, neither of which is a goal by itself: how surprising the lines are to a listener that is under no remedy
(nats per token, given the person and what was said before), and how much the lines repeat themselves inside. A change
of either tells that the model, not the person, has changed.

Source: mean negative log-likelihood as in perplexity; distinct n-grams as in Li et al. 2016 (arXiv 1510.03055), here
inside single lines.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multitudes.core.errors import GaugeError
from multitudes.core.records import Direction, Reading, Score
from multitudes.measure.stats import Estimate, bootstrap_mean

GAUGE = "fluency"
SHORTEST = 12  # words below which a line cannot repeat itself to speak of


def fluency_reading(
    nats: Sequence[float], tokens: Sequence[int], texts: Sequence[str], *, persona: Sequence[str], listener: str,
    seed: int = 0, level: float = 0.95,
) -> Reading:  # fmt: skip
    """Surprise of the lines and repetition inside them.

    Args:
        nats: (n,) log-likelihood of each line under its own person, nats.
        tokens: (n,) tokens of each line, its end included.
        texts: (n,) the lines.
        persona: (n,) who said them.
        listener: Fingerprint of the listener.
        seed: Seed of the bootstrap.
        level: Confidence level.

    Returns:
        Scores ``nats_per_token`` (>= 0, no line is a goal: compare with the same people under no remedy) and
        ``distinct_3`` (share of distinct word 3-grams in lines of at least 12 words, 1 = no repetition).

    Raises:
        GaugeError: No line.
    """
    if not nats:
        raise GaugeError("no line with a log-likelihood", expected="a listener with log-probabilities")
    surprise = np.array([-x / n if n else np.nan for x, n in zip(nats, tokens, strict=True)])
    distinct = np.array([distinct_3(t) for t in texts])
    who = np.array(persona)
    found = bootstrap_mean(surprise, who, seed=seed, level=level)
    scores = [_score("nats_per_token", found, "mean surprise of a line to the listener", "nats per token", "target")]
    if np.isfinite(distinct).any():
        repeated = bootstrap_mean(distinct, who, seed=seed, level=level)
        text = f"distinct word 3-grams inside lines of {SHORTEST} words or more"
        scores.append(_score("distinct_3", repeated, text, "share", "higher"))
    return Reading(gauge=GAUGE, scores=tuple(scores), tables={"listener": listener, "lines": len(texts)})


def distinct_3(text: str) -> float:
    """Share of distinct word 3-grams; NaN for a line shorter than 12 words.

    >>> distinct_3("la la la " * 5), distinct_3("too short")
    (0.07692307692307693, nan)
    """
    words = text.lower().split()
    if len(words) < SHORTEST:
        return float("nan")
    grams = list(zip(words, words[1:], words[2:], strict=False))
    return len(set(grams)) / len(grams)


def _score(name: str, found: Estimate, estimator: str, unit: str, direction: Direction) -> Score:
    return Score(
        gauge=GAUGE, name=name, value=found.value, low=found.low, high=found.high, null=None, direction=direction,
        n=found.n, unscored=found.unscored, unit=unit, estimator=estimator,
        interval="personas, percentile bootstrap" if found.low is not None else "", note=found.note,
    )  # fmt: skip
