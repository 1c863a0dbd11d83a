"""A calibration of the tiny model: its numbers by hand, its rules on made-up sweeps, its controls."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from axis_sweeps import made_up  # noqa: E402

from multitudes.axis import calibrate as calibrating  # noqa: E402
from multitudes.axis.artifact import load_axis, save_axis  # noqa: E402
from multitudes.axis.calibrate import calibrate  # noqa: E402
from multitudes.axis.calibration_words import why_none  # noqa: E402
from multitudes.axis.cap import cap_edit, floor_edit  # noqa: E402
from multitudes.axis.errors import AxisMismatch  # noqa: E402
from multitudes.axis.matched import TOLERANCE, additive_control, matched_controls  # noqa: E402
from multitudes.axis.pareto import Choice  # noqa: E402
from multitudes.axis.placing import weighted_quantile  # noqa: E402
from multitudes.axis.role_play import Arm, Talk, distinct_share, play, reread, talks_of  # noqa: E402
from multitudes.axis.settings import (  # noqa: E402
    SIZES,
    Setting,
    cost_of_sweep,
    height,
    settings_of,
    size_of,
    sweep_windows,
)
from multitudes.core.errors import ConfigError, Unsupported  # noqa: E402
from multitudes.models.base import Bare, Message, ScoreItem  # noqa: E402
from multitudes.models.load import load  # noqa: E402

PROSE = "".join(chr(97 + (7 * i * i + i) % 26) if i % 6 else " " for i in range(256 * 8 + 40))
SIZE = replace(
    SIZES["small"], max_tokens=14, sweep_tokens=1024, sweep_items=4, check_tokens=2048, check_items=6, scripts=2
)


def run(x):
    return asyncio.run(x)


@pytest.fixture(scope="module")
def done(tiny, tiny_axis, little):
    told = []
    result = run(
        calibrate(tiny, tiny_axis, size=SIZE, everything=little, prose=PROSE, watch=lambda *a: told.append(a))
    )
    return result, told


# --- what is compared -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_layers", [2, 12, 30, 32, 80])
@pytest.mark.parametrize("which", ["few", "some", "all"])
def test_windows_leave_a_block_after_themselves_and_begin_with_the_default(n_layers, which):
    windows = sweep_windows(n_layers, which)
    assert len(set(windows)) == len(windows)
    for w in windows[1:]:
        assert w == tuple(range(w[0], w[-1] + 1))
        assert w[-1] + 1 <= n_layers - 1


def test_all_windows_of_32_blocks_step_by_two_at_widths_four_and_six():
    windows = sweep_windows(32, "all")
    assert windows[0] == tuple(range(22, 27))
    assert {len(w) for w in windows[1:]} == {4, 6}
    assert sorted(w[0] for w in windows[1:] if len(w) == 4) == list(range(8, 28, 2))


def test_an_axis_without_thresholds_and_an_unknown_size_are_refused(tiny_axis):
    with pytest.raises(ConfigError, match="no thresholds"):
        settings_of(replace(tiny_axis, tau={}), SIZE)
    with pytest.raises(ConfigError, match="unknown size"):
        size_of("smal")


def test_models_that_cannot_be_read_and_axes_of_others_are_refused(tiny, tiny_axis):
    with pytest.raises(Unsupported):
        run(calibrate(load("fake:echo"), tiny_axis))
    with pytest.raises(AxisMismatch):
        run(calibrate(tiny, replace(tiny_axis, axis=tiny_axis.axis[:1])))


def test_the_stated_cost_counts_what_is_asked(done, tiny_axis):
    result, _ = done
    cost = cost_of_sweep(tiny_axis, SIZE)
    assert cost.settings == len(result.points) + len(result.controls)
    assert cost.replies == cost.settings * result.n_replies
    assert str(cost.settings) in str(cost)


# --- replies ----------------------------------------------------------------------------------------------------

TALKS = [
    Talk("a", "You keep salt.", ("What now?",), True, "a"),
    Talk("s", "", ("Well?", "And then?", "So?"), False, "s"),
]


def test_arms_in_one_batch_reply_as_each_would_alone(tiny, tiny_axis):
    arms = [Arm(None, (0, 1)), Arm(cap_edit(tiny_axis, 0.9), (1,))]
    both = run(play(tiny, arms, TALKS, max_tokens=12, seed=4))
    for arm, together in zip(arms, both, strict=True):
        [alone] = run(play(tiny, [arm], TALKS, max_tokens=12, seed=4))
        assert [r.token_ids for r in alone.replies] == [r.token_ids for r in together.replies]
        assert alone.means == pytest.approx(together.means, abs=1e-6, nan_ok=True)
    plain = both[0]
    assert [len(c) for c in plain.contexts] == [2, 2, 4, 6]
    assert plain.contexts[3][2] == Message("assistant", plain.replies[1].text)
    assert both[1].contexts[2][2].text == both[1].replies[1].text != plain.replies[1].text


def test_a_talk_ends_where_a_reply_is_too_short(tiny):
    [short] = run(play(tiny, [Arm(None, (1,))], TALKS, max_tokens=3, seed=4))  # two tokens are fed back: too few
    assert short.replies == (None,) * 4
    assert np.isnan(short.means).all()
    assert short.contexts[2] == ()


def test_replies_are_read_again_by_the_plain_model_and_repetition_is_counted(tiny, tiny_axis):
    arms = run(play(tiny, [Arm(None, (1,)), Arm(cap_edit(tiny_axis, 0.9), (1,))], TALKS, max_tokens=14, seed=4))
    v = tiny_axis.unit[1]
    read = run(reread(tiny, arms, v, 1))
    for arm, own in zip(arms, read, strict=True):
        for i, reply in enumerate(arm.replies):
            item = ScoreItem(arm.contexts[i], "x", token_ids=reply.token_ids[:-1])
            [scored], [acts] = run(tiny.score([item])), run(tiny.read([item], [1]))
            assert own.nll[i] == pytest.approx(-np.mean(scored.token_logp), abs=1e-9)
            assert own.projection[i] == pytest.approx((acts[0] @ v).mean(), abs=1e-5)
            assert own.distinct[i] == distinct_share(reply.token_ids)
    plain = arms[0]
    assert read[0].nll == pytest.approx([-np.mean(r.logprobs[:-1]) for r in plain.replies], abs=1e-5)
    assert read[0].projection == pytest.approx(plain.means[:, 0] @ v, abs=1e-5)
    # under the cap the words were read higher than the plain model reads them
    assert (arms[1].means[:, 0] @ v > read[1].projection + 1e-3).all()
    assert distinct_share(range(40)) == 1
    assert distinct_share([5] * 40) == pytest.approx(1 / 38)
    assert np.isnan(distinct_share([5] * 11))


def test_roles_are_spread_and_every_talk_has_its_own_name(little, tiny_axis):
    talks = talks_of(little, SIZES["full"], tiny_axis.roles)
    assert len({t.id for t in talks}) == len(talks) == len(little.roles) * 4 + 10
    few = talks_of(little, replace(SIZE, roles=5), tiny_axis.roles)
    assert [t.cluster for t in few if t.role] == ["r0", "r4", "r8", "r12", "r16"]
    assert all(len(t.turns) == SIZE.turns for t in few if not t.role)


# --- points -----------------------------------------------------------------------------------------------------


def test_points_are_what_reading_the_same_replies_again_gives(tiny, tiny_axis, little, done):
    result, told = done
    layer, size, settings = tiny_axis.layer, SIZE, settings_of(tiny_axis, SIZE)
    talks = talks_of(little, size, tiny_axis.roles)
    k = next(i for i, s in enumerate(settings) if s.kind == "cap")
    arms = [Arm(None, (layer,)), Arm(settings[k].edit, (layer,))]
    plain, capped = run(play(tiny, arms, talks, max_tokens=size.max_tokens, seed=0))

    def projections(played, edit):
        items = [replace(i, edit=edit) for i in played.items(range(len(played.replies)))]
        items = [replace(i, token_ids=i.token_ids[:-1]) for i in items]
        return np.array([m[0] @ tiny_axis.unit[layer] for m in run(tiny.read(items, [layer], mean=True))])

    assert None not in plain.replies + capped.replies
    p, q = projections(plain, None), projections(capped, settings[k].edit)
    point = result.points[k]
    after = settings[k].after(2)
    assert after == layer == 1
    z, z0 = tiny_axis.z(q[:, None], [layer])[:, 0], tiny_axis.z(p[:, None], [layer])[:, 0]
    assert point.z == pytest.approx(z[:12].mean(), abs=1e-4)
    assert point.gain.value == pytest.approx((z - z0)[:12].mean(), abs=1e-4)
    p, q = projections(plain, None), projections(capped, None)
    low = tiny_axis.low_default[layer]
    assert point.outside == pytest.approx((q < low).mean())
    talked = [t.cluster for t in talks for _ in t.turns]
    each = [np.mean([(a < low) - 1.0 * (b < low) for a, b, c in zip(p, q, talked, strict=True) if c == own])
            for own in dict.fromkeys(talked)]  # fmt: skip
    assert point.prevented.value == pytest.approx(np.mean(each))
    assert told[-1][1] == told[-1][2]
    assert {what for what, _, _ in told} >= {"sweep: replies", "sweep: capability", "controls: matching"}


def test_the_plain_point_changes_nothing(done):
    plain = done[0].points[0]
    assert (plain.gain.value, plain.prevented.value, plain.ratio.value, plain.nll_change.value) == (0, 0, 1, 0)
    assert (plain.engaged, plain.moved, plain.acts) == (0, 0, False)


# --- controls ---------------------------------------------------------------------------------------------------


def test_controls_engage_as_often_as_the_cap_along_other_directions(tiny, tiny_axis):
    cap = Setting("cap", (0, 1), "0.75", edit=cap_edit(tiny_axis, 0.75, layers=[0, 1]))
    codes = tiny.template.text_ids(PROSE)
    text = [Bare(codes[60 * k : 60 * k + 60], 1) for k in range(8)]
    acts = [f.internals.means for f in run(tiny.follow(text, watch=[0, 1]))]
    means, weights = np.stack(acts), np.ones(8)
    controls = run(matched_controls(tiny, tiny_axis, cap, means, weights, text, draws=2, seed=3))
    assert [c.kind for c in controls] == ["orthogonal"] * 2 + ["covariance"] * 2
    assert len({c.name for c in controls}) == len({c.edit.fingerprint for c in controls}) == 4

    def share(edit):
        rows = run(tiny.follow([t._replace(edit=edit) for t in text]))
        return np.mean([np.mean([r.internals.engaged[k] for k in (0, 1)]) for r in rows])

    for c in controls:
        assert abs(c.gap) <= TOLERANCE
        assert share(c.edit) - share(cap.edit) == pytest.approx(c.gap, abs=1e-9)
        for k, part in enumerate(c.edit.layers):
            assert abs(part.directions[0] @ tiny_axis.unit[part.layer]) < 1e-5
            p = means[:, k] @ part.directions[0]
            own = weighted_quantile(p.astype(float), weights, 0.75)
            assert part.low[0] == pytest.approx(own + c.shift * p.std(), abs=1e-4)


def test_a_control_begins_at_its_own_quantile(tiny, tiny_axis, monkeypatch):
    from multitudes.axis import matched

    async def as_wanted(model, edits, text):
        return np.full(len(edits), 0.4)

    monkeypatch.setattr(matched, "engagement_on", as_wanted)
    cap = Setting("cap", (1,), "0.9", edit=cap_edit(tiny_axis, 0.9, layers=[1]))
    means = np.random.default_rng(0).normal(size=(50, 1, 48))
    weights = np.linspace(1, 2, 50)
    for c in run(matched_controls(tiny, tiny_axis, cap, means, weights, [], draws=1, seed=0)):
        assert (c.shift, c.gap) == (0, 0)
        p = means[:, 0] @ c.edit.layers[0].directions[0].astype(float)
        assert c.edit.layers[0].low[0] == pytest.approx(weighted_quantile(p, weights, 0.9), abs=1e-5)


def test_the_push_moves_tokens_by_the_stated_share_of_their_length(tiny_axis):
    cap = Setting("cap", (0, 1), "0.75")
    push = additive_control(tiny_axis, cap, 0.07).edit.layers[0].push
    assert np.linalg.norm(push) == pytest.approx(0.07 * tiny_axis.norm[0], rel=1e-5)


def test_matching_is_reported(done):
    result, _ = done
    randoms = [p for p in result.controls if p.setting.kind != "additive"]
    assert result.matched == {p.setting.name: abs(p.setting.gap) <= TOLERANCE for p in randoms}
    assert all(result.matched.values())
    assert not any(p.on_front for p in result.controls)


# --- recommendation ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "taken"),
    [
        ([(1.0, 1.01, 2, "default_mean"), (0.5, 1.0, 2, "0.75")], 1),  # larger effect within the gate
        ([(1.0, 1.021, 2, "default_mean"), (0.5, 1.0, 2, "0.75")], 2),  # the gate
        ([(1.0, 1.01, 2, "0.75"), (1.01, 1.011, 1, "0.9")], 2),  # fewer layers
        ([(1.0, 1.03, 2, "0.75")], None),
        ([(-0.5, 1.0, 2, "0.75")], None),  # moves replies the other way
        ([(1.0, 1.001, 2, "0.75"), (0.9, 1.01, 1, "0.5")], 1),  # the second is beaten
    ],
)
def test_what_is_taken_first(tiny_axis, rows, taken):
    chosen = calibrating._next(made_up(tiny_axis, rows), set())
    assert (None if chosen is None else chosen.taken) == taken


def test_of_tied_caps_the_lower_threshold_is_taken(tiny_axis):
    # equal effects and costs are not beaten by one another
    low, high = sorted(("0.5", "0.9"), key=lambda q: height(tiny_axis, Setting("cap", (0, 1), q)))
    chosen = calibrating._next(made_up(tiny_axis, [(1.0, 1.0, 2, high), (1.0, 1.0, 2, low)]), set())
    assert (chosen.taken, set(chosen.tied)) == (2, {1, 2})


def test_a_cap_that_failed_its_check_is_not_taken_again(tiny_axis):
    sweep = made_up(tiny_axis, [(1.0, 1.01, 2, "default_mean"), (0.5, 1.0, 2, "0.75")])
    assert calibrating._next(sweep, {1}).taken == 2
    assert calibrating._next(sweep, {1, 2}) is None


def test_why_nothing_is_recommended_is_said(tiny_axis):
    words = {
        "perplexity ratio": [(1.0, 1.03, 2, "0.75")],
        "by more than their error": [(-0.5, 1.0, 2, "0.75")],
    }
    for phrase, rows in words.items():
        sweep = made_up(tiny_axis, rows)
        assert phrase in why_none(sweep, [], 2)


def test_pushes_do_not_keep_caps_from_the_front_but_are_named(tiny_axis):
    sweep = made_up(tiny_axis, [(1.0, 1.01, 2, "0.75"), (2.0, 1.0, 2, "0.9")])
    push = Setting("steer", (1,), strength=0.1, edit=sweep.settings[2].edit, name="steer +0.1")
    sweep = replace(sweep, settings=[*sweep.settings[:2], push])
    assert sweep.points[1].on_front
    assert sweep.beaten_by(1) == ["steer +0.1"]
    assert sweep.points[2].engaged == 0.5
    assert sweep.points[2].moved == 0.1


def test_the_recommended_cap_is_checked_stored_and_used(done, tiny_axis, tmp_path):
    result, _ = done
    best = result.recommended
    assert best.setting.kind == "cap"
    assert best.on_front
    assert best.ratio.value <= 1.02
    assert result.check.text.verdict == "kept"
    assert result.check.persona is not None
    assert best.setting.name.split()[1] in result.why
    save_axis(result.applied(tiny_axis), tmp_path / "axis")
    again = load_axis(tmp_path / "axis")
    assert cap_edit(again).fingerprint == best.setting.edit.fingerprint
    assert len(again.about["calibration"]["points"]) == len(result.points)
    assert tiny_axis.about.get("recommended") is None
    lines = result.lines()
    assert len(lines) >= 2 + len(result.points) + len(result.controls)
    assert lines[-1] == result.why


def test_nothing_is_recommended_where_no_cap_ever_engages(tiny, tiny_axis, little):
    asleep = replace(tiny_axis, tau={k: np.full(2, -1e6, np.float32) for k in tiny_axis.tau})
    size = replace(SIZE, roles=4, quantiles=("0.75",), strengths=(), scripts=1, turns=1, max_tokens=8)
    result = run(calibrate(tiny, asleep, size=size, everything=little, prose=PROSE, items=[]))
    assert result.recommended is None
    assert result.check is None
    assert "no cap is recommended" in result.why
    assert result.tried == ()
    old = replace(asleep, about={**asleep.about, "recommended": {"quantile": "0.9", "layers": [1]}})
    assert "recommended" not in result.applied(old).about
    assert all(np.isnan(p.accuracy) for p in result.points)


def test_the_next_best_is_checked_after_a_failure(tiny, tiny_axis, little, monkeypatch):
    size = replace(SIZE, roles=8, strengths=(), scripts=1, turns=1, max_tokens=8, check_tokens=512)
    verdicts = iter([False, True])
    monkeypatch.setattr(calibrating, "_passes", lambda check: next(verdicts))
    failed = []

    def offered(sweep, out):
        failed.append(set(out))
        return Choice(1 + len(out), 1 + len(out), (1 + len(out),))

    monkeypatch.setattr(calibrating, "_next", offered)
    result = run(calibrate(tiny, tiny_axis, size=size, everything=little, prose=PROSE, items=[]))
    assert failed == [set(), {1}]
    assert [t.place for t in result.tried] == [1, 2]
    assert result.taken == result.controlled == 2
    first, second = (t.check.text for t in result.tried)
    assert first.before == second.before  # the plain model is read once
    assert first.after != second.after


def test_a_floor_on_the_axis_holds_replies_above_it(tiny, tiny_axis, done):
    """Every counted token lies at or above the floor after the last block, so the mean of a reply does."""
    tau = tiny_axis.tau["default_mean"]
    [arm] = run(play(tiny, [Arm(floor_edit(tiny_axis, tau, [1]), (1,))], TALKS, max_tokens=14, seed=1))
    assert (arm.means[:, 0] @ tiny_axis.unit[1] >= tau[1] - 1e-3).all()
