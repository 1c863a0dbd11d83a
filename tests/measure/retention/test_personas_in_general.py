"""Intervals for personas in general: prompts and personas drawn apart, and what would look like one and is none."""

import numpy as np
import pytest

from multitudes.measure.retention.cells import make_cells
from multitudes.measure.retention.intervals import interval, resample
from multitudes.measure.retention.statistics import auc_statistic

PERSONAS, PROMPTS, TURNS = 20, 40, np.arange(5.0)
RANGE = 0.5


def crossed(seed, *, between_personas=0.12, between_prompts=0.08, noise=0.1, personas=PERSONAS):
    """Every persona on every prompt. What is kept under pressure is .6 plus effects of persona and of prompt, so that
    AUC_R of all personas on all prompts is .6."""
    rng = np.random.default_rng(seed)
    kept = 0.6 + between_personas * rng.normal(size=(1, personas)) + between_prompts * rng.normal(size=(PROMPTS, 1))
    level = np.repeat((RANGE * kept)[..., None], len(TURNS), axis=2)
    level[..., 0] = RANGE
    level += noise * rng.normal(size=level.shape)
    flat = (PROMPTS * personas, 1, len(TURNS))
    return make_cells(
        level.reshape(flat), np.zeros(flat), TURNS, np.repeat(np.arange(PROMPTS), personas),
        personas=np.tile(np.arange(personas), PROMPTS), bounded=False,
    )  # fmt: skip


def auc(cells, *, seed=0, draws=400, personas=True):
    return interval(auc_statistic(cells), resample([cells], seed=seed, draws=draws, personas=personas))


def test_the_interval_over_both_holds_what_it_states():
    # 300 studies: SE of a coverage of .95 is .013. Prompts alone know nothing of other personas.
    both = prompts = 0
    for seed in range(300):
        cells = crossed(seed)
        found = auc(cells, seed=seed, draws=300)
        both += found.low <= 0.6 <= found.high
        found = auc(cells, seed=seed, draws=300, personas=False)
        prompts += found.low <= 0.6 <= found.high
    assert 0.92 <= both / 300 <= 0.98
    assert prompts / 300 < 0.8


def test_a_persona_that_is_there_twice_is_one_persona():
    cells = crossed(1)
    copied = np.concatenate([np.arange(len(cells.level)), np.flatnonzero(cells.personas < 10)])
    twice = cells._replace(**{k: getattr(cells, k)[copied] for k in ("level", "floor", "clusters", "personas")})
    width = [f.high - f.low for f in (auc(cells, draws=2000), auc(twice, draws=2000))]
    assert width[1] >= 0.97 * width[0]  # unequal weights widen, if anything
    renamed = twice._replace(
        personas=np.concatenate([cells.personas, [f"copy {p}" for p in cells.personas if p < 10]]).astype(object)
    )
    found = auc(renamed, draws=2000)
    assert found.high - found.low < 0.95 * width[1]  # taken for new people, copies would narrow it
    assert found.value == pytest.approx(auc(twice).value)


def test_without_a_difference_of_personas_little_is_added():
    # Both factors drawn count what neither causes more than once, so the interval may be wider, never narrower.
    cells = crossed(2, between_personas=0.0, between_prompts=0.2)
    these, general = auc(cells, draws=2000, personas=False), auc(cells, draws=2000)
    assert 0.95 < (general.high - general.low) / (these.high - these.low) < 1.3
