"""What was said as vectors: persona signal, trait and their tests as scores."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from multitudes.core.records import Score
from multitudes.measure.variance.permanova import permanova

GAUGE = "variance"


def text_variance_scores(
    x: ArrayLike, persona: ArrayLike, item: ArrayLike, length: ArrayLike, *, seed: int, draws: int = 999
) -> tuple[Score, ...]:
    """Scores of PERMANOVA on unit vectors of texts.

    Args:
        x: (n, d) unit vectors, one text each.
        persona: (n,) who said it.
        item: (n,) in which scenario, or to which prompt.
        length: (n,) its length, above 0; a verdict that depends on it is named.
        seed: Seed of the permutations.
        draws: Permutations.

    Returns:
        ``text_icc_within``, ``text_r2``, ``text_p_signal``, ``text_p_trait`` (None with one item). Embedding spread,
        not meaning.
    """
    found = permanova(x, persona, item, length=length, draws=draws, seed=seed)
    note = "embedding spread, not meaning" + (f"; {found.note}" if found.note else "")
    p = f"(1 + #)/(1 + {draws}) permutations"
    rows: tuple[tuple[str, Any, str, str, float | None], ...] = (
        ("text_icc_within", found.icc_within, "1 - G_e/G_i of unit vectors", "share", 0.0),
        ("text_r2", found.r2, "between over total sum of squares within items; biased upwards", "share", None),
        ("text_p_signal", found.p_signal, f"{p} of runs over personas within items, statistic SS_A", "p-value", None),
        ("text_p_trait", found.p_trait, f"{p} of whole cells within items, statistic Σ n_p‖z̄_p‖²", "p-value", None),
    )
    return tuple(
        Score(gauge=GAUGE, name=name, value=value, estimator=how, unit=unit, null=null, n=found.personas, note=note,
              direction="lower" if unit == "p-value" else "higher")
        for name, value, how, unit, null in rows
    )  # fmt: skip
