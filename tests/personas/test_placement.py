import time

import numpy as np
import pytest
from scipy.stats import qmc

from multitudes.core.errors import PersonaError
from multitudes.core.records import Dimension
from multitudes.personas import draw_names, near_duplicates, place
from multitudes.personas.placement import ladder, placements, rung

# --- points ---


@pytest.mark.parametrize("n", [1, 2, 7, 25, 32, 33, 100])
@pytest.mark.parametrize("k", [1, 3, 8])
def test_place_gives_exactly_n_points_in_the_cube(n, k):
    points = place(n, k, seed=5)
    assert points.shape == (n, k)
    assert points.dtype == np.float64
    assert (points >= 0).all()
    assert (points < 1).all()


@pytest.mark.parametrize("seed", range(20))
def test_a_larger_population_begins_with_the_smaller_one(seed):
    large = place(100, 3, seed=seed)
    for n in (1, 7, 25, 32, 64, 65):
        assert np.array_equal(place(n, 3, seed=seed), large[:n])


def test_points_are_scrambled_and_depend_on_the_seed():
    first = np.array([place(1, 2, seed=s)[0] for s in range(50)])
    assert len(np.unique(first, axis=0)) == 50
    assert not (first == 0).any()  # the unscrambled sequence starts in a corner


def test_points_fill_the_cube_more_evenly_than_chance():
    # closed form for i.i.d. points: ((5/4)^3 - (13/12)^3) / 25 = .0273; ours is near .004
    ours = np.mean([qmc.discrepancy(place(25, 3, seed=s), method="CD") for s in range(24)])
    assert ours < 0.0273 / 4


@pytest.mark.parametrize(("n", "k"), [(0, 2), (-1, 2), (3, 0), (3, 9)])
def test_place_refuses_impossible_orders(n, k):
    with pytest.raises(PersonaError):
        place(n, k, seed=0)


# --- rungs ---


def test_rungs_are_monotone_and_use_every_phrase_equally():
    targets = (np.arange(900) + 0.5) / 900
    rungs = [rung(t, 9) for t in targets]
    assert rungs == sorted(rungs)
    assert set(np.bincount(rungs)) == {100}
    assert rung(1.0, 9) == 8


def test_ladder_is_the_dimensions_own_or_made_from_its_ends():
    bare = Dimension(id="a", name="A", low="waits", high="runs")
    made = ladder(bare)
    assert len(made) == len(set(made)) == 9
    assert made[0].endswith("waits")
    assert made[-1].endswith("runs")
    assert not any(c.isdigit() for phrase in made for c in phrase)
    own = bare.model_copy(update={"ladder": ("x", "y", "z")})
    assert ladder(own) == ("x", "y", "z")
    placed = placements(np.array([[0.99], [0.5]]), [own])
    assert [p["a"].phrase for p in placed] == ["z", "y"]


# --- near duplicates ---


def _text(rng, n=60):
    return " ".join(rng.choice([f"w{i}" for i in range(400)], size=n))


def _jaccard(a, b):
    def grams(t):
        w = t.split()
        return {tuple(w[i : i + 5]) for i in range(len(w) - 4)}

    return len(grams(a) & grams(b)) / len(grams(a) | grams(b))


def test_near_duplicates_agree_with_brute_force():
    rng = np.random.default_rng(3)
    texts = [_text(rng) for _ in range(60)]
    for i in range(40):  # copies with a run of words replaced: similarities from .2 to 1
        words = texts[i].split()
        start, run = rng.integers(0, 30), int(rng.integers(0, 12))
        words[start : start + run] = [f"new{j}" for j in range(run)]
        texts.append(" ".join(words))
    brute = [
        (i, j) for i in range(len(texts)) for j in range(i + 1, len(texts)) if _jaccard(texts[i], texts[j]) >= 0.8
    ]
    assert 5 < len(brute) < 40
    assert near_duplicates(texts) == brute


def test_near_duplicates_ignore_case_and_spaces_and_stand_short_texts():
    assert near_duplicates(["A b", "a  B", "c d", ""]) == [(0, 1)]
    assert near_duplicates([]) == []
    assert near_duplicates(["alone"]) == []


def test_many_copies_cost_linear_time():
    start = time.perf_counter()
    pairs = near_duplicates(["one and the same text that was copied over and over again"] * 3000)
    assert time.perf_counter() - start < 10
    assert {i for pair in pairs for i in pair} == set(range(3000))


# --- names ---


def test_names_are_unique_at_a_hundred_thousand():
    names = draw_names(100_000, np.random.default_rng(1))
    assert len(set(names)) == 100_000


def test_names_of_fewer_people_come_first_and_taken_ones_are_skipped():
    names = draw_names(50, np.random.default_rng(1))
    assert draw_names(7, np.random.default_rng(1)) == names[:7]
    assert draw_names(48, np.random.default_rng(1), taken=names[:2]) == names[2:]
    assert draw_names(5, np.random.default_rng(2)) != names[:5]


def test_names_go_on_with_initials_and_then_say_so():
    names = draw_names(300_000, np.random.default_rng(1))
    assert len(set(names)) == 300_000
    assert ". " in names[-1]
    with pytest.raises(PersonaError, match="at most"):
        draw_names(10_000_000, np.random.default_rng(1))
