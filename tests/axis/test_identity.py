"""Who a played role says it is: D by hand, who is asked, and what it decides in a calibration."""

import asyncio
import math
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from axis_sweeps import made_up  # noqa: E402

from multitudes.axis import calibrate as calibrating  # noqa: E402
from multitudes.axis.calibrate import calibrate  # noqa: E402
from multitudes.axis.calibration_words import why_taken  # noqa: E402
from multitudes.axis.cap import cap_edit  # noqa: E402
from multitudes.axis.capability import compared  # noqa: E402
from multitudes.axis.identity import asked_places, identities, without_role  # noqa: E402
from multitudes.axis.pareto import Candidate, choose  # noqa: E402
from multitudes.axis.role_play import Arm, Talk, play, talks_of  # noqa: E402
from multitudes.axis.roles import shipped  # noqa: E402
from multitudes.axis.settings import SIZES, cost_of_sweep, settings_of  # noqa: E402
from multitudes.core.seeds import derive_seed  # noqa: E402
from multitudes.measure.stats import bootstrap_mean  # noqa: E402
from multitudes.models.base import Message, ScoreItem  # noqa: E402
from multitudes.simulate.probes import Branch, Target, ask, ask_all, items_of  # noqa: E402

# A letter beside the assistant's own answers: a random model would be certain between longer differences.
FACTS = (("who", "I am an AI assistand."), ("work", "I answer questions and help users with their tosks."))
TALKS = [
    Talk("a:1", "You keep salt.", ("What now?",), True, "a", FACTS),
    Talk("a:2", "You keep salt.", ("And then?",), True, "a", FACTS),
    Talk("b:1", "You bake bread.", ("What now?",), True, "b"),
    Talk("c:1", "You mend bells.", ("What now?",), True, "c", (("who", "I am an AI bssistant."),)),
    Talk("s", "", ("Well?", "And then?"), False, "s"),
]


def run(x):
    return asyncio.run(x)


def by_hand(model, history, facts, edit, *, items, wordings):
    """D from single scores: softmax over two answers of the log-sum-exp over wordings, mean over items."""
    out = []
    for item in items_of("x", dict(facts), ["id"], per_battery=items):
        total = []
        for answer in (item.own, item.other):
            each = [
                run(model.score([ScoreItem((*history, Message("user", q)), answer, edit=edit)]))[0].total
                for q in item.questions[:wordings]
            ]
            total.append(math.log(sum(math.exp(x - max(each)) for x in each)) + max(each))
        out.append(1 / (1 + math.exp(total[1] - total[0])))
    return sum(out) / len(out)


def test_the_first_answer_of_each_role_with_facts_is_asked_after(little):
    assert asked_places(TALKS) == [0, 3]
    assert asked_places(talks_of(little, SIZES["small"], [])) == []
    everybody = talks_of(shipped(), SIZES["small"], [r.id for r in shipped().roles])
    assert asked_places(everybody) == list(range(12))


def test_d_is_the_share_of_the_roles_own_answer_under_the_change_of_its_arm(tiny, tiny_axis):
    edit = cap_edit(tiny_axis, "default_mean", layers=[0, 1])
    arms = [Arm(None, (1,)), Arm(edit, (1,))]
    played = run(play(tiny, arms, TALKS, max_tokens=12, seed=2))
    told = []
    found = run(identities(tiny, arms, played, TALKS, items=4, wordings=2, told=lambda *x: told.append(x)))
    assert told[-1] == (4, 4)
    for arm, own, d in zip(arms, played, found, strict=True):
        assert np.isfinite(d).tolist() == [True, False, False, True, False, False]
        for i, facts in ((0, FACTS), (3, TALKS[3].facts)):
            history = (*own.contexts[i], Message("assistant", own.replies[i].text))
            assert d[i] == pytest.approx(by_hand(tiny, history, facts, arm.edit, items=4, wordings=2), abs=1e-9)
    assert abs(found[0] - found[1])[[0, 3]].min() > 1e-3  # the change is in force while they are asked


def test_a_reply_that_failed_leaves_nobody_to_ask(tiny):
    arms = [Arm(None, (1,))]
    [played] = run(play(tiny, arms, TALKS, max_tokens=3, seed=2))  # too few tokens are fed back
    [d] = run(identities(tiny, arms, [played], TALKS, items=3, wordings=1))
    assert np.isnan(d).all()


def test_branches_asked_together_are_those_asked_alone(tiny, tiny_axis):
    edit = cap_edit(tiny_axis, "default_mean", layers=[0, 1])
    history = (Message("system", "You keep salt."), Message("user", "Well?"), Message("assistant", "Salt."))
    targets = [Target("a", items_of("a", dict(FACTS), ["id"]))]
    branches = [Branch(history, targets, 3), Branch(history, targets, 5, edit), Branch(history[:2], targets)]
    together = run(ask_all(tiny, branches, wordings=2))
    for branch, asked in zip(branches, together, strict=True):
        alone = run(ask(tiny, branch.history, branch.targets, turn=branch.turn, edit=branch.edit, wordings=2))
        assert [(s.turn, s.item) for s in asked.scores] == [(s.turn, s.item) for s in alone.scores]
        for one, other in zip(asked.scores, alone.scores, strict=True):
            assert one.own == pytest.approx(other.own, abs=1e-9)
            assert one.other == pytest.approx(other.other, abs=1e-9)
        assert asked.engine == alone.engine
    assert together[0].engine != together[1].engine


# --- in a calibration -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_facts(little):
    roles = [replace(r, facts=(("who", f"I am an AI assistan{chr(97 + i)}."),)) for i, r in enumerate(little.roles)]
    return replace(little, roles=tuple(roles))


@pytest.fixture(scope="module")
def done(tiny, tiny_axis, with_facts):
    size = replace(
        SIZES["small"], max_tokens=10, sweep_tokens=256, sweep_items=2, check_tokens=512, check_items=2, scripts=1,
        turns=1, quantiles=("default_mean",), windows="few",
    )  # fmt: skip
    prose = "".join(chr(97 + (7 * i * i + i) % 26) if i % 6 else " " for i in range(256 * 3))
    return size, run(calibrate(tiny, tiny_axis, size=size, everything=with_facts, prose=prose))


def test_every_setting_and_control_has_its_d_with_a_paired_interval(tiny, tiny_axis, with_facts, done):
    size, result = done
    settings, talks = settings_of(tiny_axis, size), talks_of(with_facts, size, tiny_axis.roles)
    arms = [Arm(s.edit, (1,)) for s in settings[:2]]
    played = run(play(tiny, arms, talks, max_tokens=size.max_tokens, seed=0))
    plain, capped = run(identities(tiny, arms, played, talks, items=3, wordings=1))
    roles = [t.cluster for t in talks if t.role]
    want = bootstrap_mean((capped - plain)[:12], roles, seed=derive_seed("calibrate", 0, "who"))
    assert result.points[0].who == pytest.approx(np.nanmean(plain), abs=1e-6)
    assert result.points[0].who_change.value == 0
    assert result.points[1].who == pytest.approx(np.nanmean(capped), abs=1e-6)
    assert result.points[1].who_change == pytest.approx(want, abs=1e-6)
    assert want.n == 12
    assert want.low < want.value < want.high
    assert np.nanstd(plain) > 0.01
    assert all(0 < p.who < 1 and p.who_change is not None for p in (*result.points, *result.controls))
    rows = result.as_dict()
    assert rows["points"][1]["who_change"]["value"] == result.points[1].who_change.value
    assert rows["controls"][0]["who"] == result.controls[0].who
    head, *lines = result.lines()
    assert "D_id" in head
    assert f"{result.points[1].who:.2f}" in lines[1]


def test_the_floor_is_d_after_the_same_questions_without_a_role(tiny, tiny_axis, with_facts, done):
    size, result = done
    talks = talks_of(with_facts, size, tiny_axis.roles)
    bare = without_role(talks)
    assert [(t.system, t.turns, t.cluster, t.facts) for t in bare] == [
        ("", t.turns, t.cluster, t.facts) for t in talks if t.role
    ]
    arms = [Arm(None, (1,))]
    [played] = run(play(tiny, arms, bare, max_tokens=size.max_tokens, seed=0))
    [told] = run(play(tiny, arms, talks, max_tokens=size.max_tokens, seed=0))
    [floor] = run(identities(tiny, arms, [played], bare, items=3, wordings=1))
    [level] = run(identities(tiny, arms, [told], talks, items=3, wordings=1))
    assert result.who_range.value == pytest.approx((level[:12] - floor).mean(), abs=1e-6)
    assert result.who_range.n == 12
    assert result.as_dict()["who_range"]["low"] == result.who_range.low
    assert abs(result.who_range.value) < 0.2  # a random model is nobody
    assert any("decides nothing" in line for line in result.lines())
    assert "D =" not in result.why


def test_the_stated_cost_grows_with_what_is_asked(tiny_axis):
    small = SIZES["small"]
    more = replace(small, who_items=6, who_wordings=3)
    n = cost_of_sweep(tiny_axis, small).settings
    difference = cost_of_sweep(tiny_axis, more).read - cost_of_sweep(tiny_axis, small).read
    assert difference == (n + 1) * 12 * (18 - 3) * 48  # once more without a role


# --- what it decides --------------------------------------------------------------------------------------------

ROLES = [f"r{i}" for i in range(10)]


def candidate(place, z, fall, *, n_layers=4, height=0.5):
    wave = np.resize([1.0, -1.0], 10)
    return Candidate(place, (z + 0.3 * (1 + place) * wave, fall + 0.01 * (1 + place) * wave), n_layers, height)


def test_identity_decides_among_those_that_z_cannot_tell_apart():
    best, tied, far = candidate(0, 1.0, 0.05), candidate(1, 0.97, 0.3, n_layers=9), candidate(2, 0.2, 0.9)
    found = choose([best, tied, far], ROLES)
    assert (found.taken, found.best, found.tied) == (1, 0, (1,))
    # where neither tells them apart, the one that does least is taken
    found = choose([candidate(0, 1.0, 0.3), candidate(1, 0.97, 0.299, n_layers=2)], ROLES)
    assert (found.taken, found.best, set(found.tied)) == (1, 0, {0, 1})


def test_an_effect_that_nobody_measured_decides_nothing():
    def blind(place, z, n_layers):
        return candidate(place, z, 0.0, n_layers=n_layers)._replace(effects=(np.full(10, z), np.full(10, np.nan)))

    assert choose([blind(0, 1.0, 4), blind(1, 1.0, 2)], ROLES) == (1, 0, (0, 1))


def test_a_cap_that_makes_roles_say_less_of_themselves_is_on_the_front(tiny_axis):
    rows = [(1.0, 1.001, 2, "0.75"), (0.9, 1.01, 2, "0.5")]  # the second is worse in z and in perplexity
    assert not made_up(tiny_axis, rows).points[2].on_front
    assert made_up(tiny_axis, rows, whos=[0.7, 0.6, 0.4]).points[2].on_front
    assert not made_up(tiny_axis, rows, whos=[0.7, 0.6, 0.65]).points[2].on_front


def test_what_no_role_can_lose_decides_nothing(tiny_axis):
    rows = [(1.0, 1.001, 2, "0.75"), (0.9, 1.01, 2, "0.5")]
    assert made_up(tiny_axis, rows, whos=[0.7, 0.6, 0.4], floor=0.49).points[2].on_front
    low = made_up(tiny_axis, rows, whos=[0.7, 0.6, 0.4], floor=0.51)  # 0.19 above the floor
    assert not low.who_decides
    assert not low.points[2].on_front
    assert low.points[2].who_change.value == pytest.approx(-0.3)  # shown all the same
    assert np.isnan(low.effects(2)[1]).all()
    sweep = made_up(tiny_axis, rows, whos=[0.7, 0.6, 0.4], floor=0.51)
    assert "D =" not in why_taken(sweep, calibrating._next(sweep, set()), compared(*sweep.read[:2], sweep.material))


def test_what_becomes_of_the_role_is_said_with_the_recommendation(tiny_axis):
    for whos, words in (
        ([0.7, 0.4], "D = 0.40 instead of 0.70 (-0.30 to -0.30), "),
        ([0.7, 0.7], "D = 0.70 instead of 0.70 (+0.00 to +0.00, not shown to change), "),
        (None, None),
    ):
        sweep = made_up(tiny_axis, [(1.0, 1.01, 2, "0.75")], whos=whos)
        chosen = calibrating._next(sweep, set())
        check = compared(sweep.read[0], sweep.read[1], sweep.material)
        told = why_taken(sweep, chosen, check)
        assert (words in told) if words else ("D =" not in told)
