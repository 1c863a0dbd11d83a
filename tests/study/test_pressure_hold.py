"""The role hold inside a pressure run: its controls, its perplexity, its word; and runs in progress stay theirs."""

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pressed_fakes import random_axis

from multitudes.core.errors import ConfigError
from multitudes.core.loop import run_sync
from multitudes.measure.retention.cells import make_cells
from multitudes.study.pressure.analyse import analyse
from multitudes.study.pressure.data import Arm, open_pressure
from multitudes.study.pressure.forecast import cost_of, describe
from multitudes.study.pressure.hold import judge_role_hold
from multitudes.study.pressure.plan import make_cast
from multitudes.study.pressure.power import power_line
from multitudes.study.pressure.prose import readers, reading_of
from multitudes.study.pressure.run import conditions_of, run_pressure
from multitudes.study.pressure.spec import PressureSpec, make_spec, read_spec
from multitudes.study.pressure.store import PROSE, PressureStore

H1 = {"personas": 12, "prompts": 36, "conditions": ("C3", "C6", "C6w", "C6r"), "pressures": ("P1", "P2", "P5")}

# --- what is asked --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "changes", "known"),
    [
        ("small", {}, "a14f7400fd4a5baab051e4bcd4cc80627f2a71150b43233c54125b6cac3f9a66"),
        ("full", {}, "a674484971f31c8e7cac7acc3d0740d6de06d60597ca4abcb5c42ed32cc691b4"),
        ("small", {**H1, "axis": "axes/smollm2"}, "a9dee24399a780ef702ae52fdb3f7c4fb15aaf6cd9455634697ea0f585b41bda"),
    ],
)
def test_runs_begun_before_the_keys_of_the_hold_are_the_same_runs(preset, changes, known):
    """Hashes as they were before these keys and before controls came along by themselves."""
    assert make_spec(preset, **changes).hash == known
    assert make_spec(preset, **changes, hold_alpha=0.05, hold_layers=None, hold_sides="both").hash == known
    assert make_spec(preset, **changes, hold_tokens=512).hash == known


def test_another_hold_is_another_run():
    changes = [{}, {"hold_alpha": 0.1}, {"hold_alpha": 0.25}, {"hold_layers": (3, 2)}, {"hold_sides": "own_floor"}]
    assert len({make_spec("small", **c).hash for c in changes}) == 5
    assert make_spec("small", hold_layers=(3, 2)).hold_layers == (2, 3)


@pytest.mark.parametrize("changes", [{"hold_alpha": 0.5}, {"hold_alpha": 0}, {"hold_layers": (1, 1)},
                                     {"hold_layers": (-1,)}, {"hold_layers": ()}, {"hold_sides": "low"}])  # fmt: skip
def test_holds_that_cannot_be_are_refused(changes):
    with pytest.raises(ConfigError, match="hold_"):
        make_spec("small", **changes)


def test_a_hold_brings_both_controls():
    assert make_spec("small").with_controls == ("C0", "C1", "C3", "C4", "C5", "C6", "C6w", "C6r")
    assert make_spec("small", conditions=("C6",), personas=1).with_controls == ("C0", "C3", "C6", "C6r")
    assert make_spec("small", conditions=("C6r",)).with_controls == ("C0", "C3", "C6r")
    assert make_spec("small", conditions=("C4",)).with_controls == ("C0", "C3", "C4")
    assert conditions_of(make_spec("small", conditions=("C6",)), None) == (("C0", "C3"), ("C6", "C6w", "C6r"))


def test_the_forecast_counts_them(tmp_path):
    short, long = (make_spec("small", axis="a", conditions=c) for c in (("C6",), ("C6", "C6w", "C6r")))
    assert cost_of(short, make_cast(short)) == cost_of(long, make_cast(long))
    assert (
        cost_of(short, make_cast(short)).new_tokens
        > cost_of(short.model_copy(update={"hold_tokens": 256}), make_cast(short)).new_tokens + 3000
    )
    assert "conditions: C0, C3, C6, C6w, C6r" in list(describe(short, base=tmp_path, folder=tmp_path))


# --- which text is read under whose hold ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("windows", "people", "tokens"),
    [(19, 8, 4096), (19, 12, 4096), (19, 3, 4096), (19, 12, 20480), (18, 12, 10**6), (19, 40, 4096), (5, 2, 10**6),
     (19, 1, 10**6)],
)  # fmt: skip
def test_readings_are_spread_over_text_and_people(windows, people, tokens):
    who = [f"p{i}" for i in range(people)]
    found = readers(windows, who, tokens)
    pairs = [(w, p) for w, several in found.items() for p in several]
    assert len(pairs) == len(set(pairs)) == min(tokens // 256, windows * people)
    each = [sum(p == x for _, p in pairs) for x in who]
    assert max(each) - min(each) <= (1 if len(pairs) <= windows or len(pairs) % windows == 0 else 3)
    assert len(found) == min(windows, len(pairs))


# --- ratios from stored records -------------------------------------------------------------------------------


def record(plain, held, *, engaged=0.2, tokens=255):
    """One window: ``held`` is the NLL under C6 of each persona; C6r costs twice as much."""
    arms = [{"condition": "plain", "persona": "", "nll": plain, "engaged": 0.0, "moved": 0.0}]
    for k, nll in enumerate(held):
        about = {"persona": f"p{k}", "engaged": engaged, "moved": 0.1}
        arms += [{"condition": "C6", "nll": nll, **about}, {"condition": "C6r", "nll": 2 * nll - plain, **about}]
    return {"tokens": tokens, "arms": arms}


def test_the_ratio_is_e_to_the_mean_paired_difference():
    rng = np.random.default_rng(0)
    plain, cost = rng.normal(3, 0.5, size=16), rng.normal(0.03, 0.04, size=16)
    records = [record(p, [p + c]) for p, c in zip(plain, cost, strict=True)]
    found = reading_of(records, "C6", planned=16, seed=0, draws=400)
    assert found.ratio.value == pytest.approx(math.exp(cost.mean()), abs=1e-12)
    spread = 2 * cost.std(ddof=1) / 4
    assert found.ratio.low == pytest.approx(math.exp(cost.mean() - spread), abs=0.004)
    assert found.ratio.high == pytest.approx(math.exp(cost.mean() + spread), abs=0.004)
    assert (found.engaged, found.tokens, found.ratio.n) == (pytest.approx(0.2), 16 * 255, 16)
    random = reading_of(records, "C6r", planned=16, seed=0, draws=400)
    assert random.ratio.value == pytest.approx(math.exp(2 * cost.mean()), abs=1e-12)
    other = reading_of(records, "C6w", planned=16, seed=0, draws=400)
    assert other.ratio[:4] == found.ratio[:4]
    assert "on other people" in other.ratio.note


def test_a_window_is_resampled_with_all_its_holds():
    """Ten copies of a reading in its window tell no more than one: the interval stays."""
    rng = np.random.default_rng(1)
    plain, cost = rng.normal(3, 0.5, size=16), rng.normal(0.03, 0.01, size=16)
    one, ten = ([record(p, [p + c] * k) for p, c in zip(plain, cost, strict=True)] for k in (1, 10))
    first, second = (reading_of(r, "C6", planned=16, seed=0, draws=400).ratio for r in (one, ten))
    assert second.low == pytest.approx(first.low, abs=1e-12)
    assert second.high == pytest.approx(first.high, abs=1e-12)


def test_a_hold_that_never_engaged_is_void():
    found = reading_of([record(3.0, [3.0], engaged=0.0)] * 16, "C6", planned=16, seed=0, draws=100)
    assert math.isnan(found.ratio.value)
    assert found.engaged == 0
    assert "void" in found.ratio.note


def test_what_was_read_so_far_is_said():
    found = reading_of([record(3.0, [3.1])] * 4, "C6", planned=16, seed=0, draws=100)
    assert found.ratio.note.startswith("4 of 16 windows read so far; few clusters")
    assert found.ratio.low is None
    assert reading_of([], "C6", planned=16, seed=0, draws=100).engaged is None
    assert reading_of([record(3.0, [3.1])], "C7b", planned=1, seed=0, draws=100).ratio.note == "not read"


# --- the word, from planted arms ------------------------------------------------------------------------------

PRESSURES = ("P1", "P2", "P5")


def planted(rate, *, engaged, start=0.6, failed=0.0, prompts=30, seed=0):
    rng = np.random.default_rng(seed)
    turns = np.array([0.0, 2.0, 4.0, 6.0])
    begin = start + 0.05 * np.random.default_rng(99).normal(size=(prompts, 1, 1))
    level = 0.2 + begin * np.exp(-rate * np.minimum(turns, 4)) + 0.03 * rng.normal(size=(prompts, 1, 4))
    cells = make_cells(level, np.full(level.shape, 0.2), turns, np.arange(prompts), last=4.0, bounded=False)
    return Arm(cells, cells, failed, np.full(prompts, np.nan), 0, engaged, None, prompts)


def hold_run(arms, *, cost=0.01, prose=None, conditions=("C0", "C3", "C6", "C6w", "C6r"), personas=8):
    spec = PressureSpec(pressures=PRESSURES, conditions=conditions, draws=200, personas=personas)
    records = tuple(record(3.0, [3.0 + cost + 0.001 * k]) for k in range(16))
    turn = SimpleNamespace(reply="a b c d e f g h")
    talks = [SimpleNamespace(id=f"{c}.{p}", condition=c, personas=("a",), turns=[turn])
             for c in ("C3", "C6") for p in PRESSURES]  # fmt: skip
    meta = {"axis": {"hold_layers": [3, 4]}, "prose": {"keys": ["k"] * 16, "reason": ""} if prose is None else prose}
    run = SimpleNamespace(spec=spec, conditions=conditions, meta=meta, prose=records, talks=talks)
    return judge_role_hold(run, {("id", p, c): a for c, a in arms.items() for p in PRESSURES}, seed=0)


def four(held=0.02, prompt=0.2, random=0.2, other=0.25, **more):
    kinds = {"C3": (prompt, None, 1), "C6": (held, 0.2, 2), "C6r": (random, 0.21, 3), "C6w": (other, 0.4, 4)}
    return {c: planted(rate, engaged=e, seed=s, **more.get(c, {})) for c, (rate, e, s) in kinds.items()}


def test_a_planted_hold_is_confirmed_with_all_its_numbers():
    found = hold_run(four())
    assert (found.words, found.shown, found.warnings) == ("confirmed", PRESSURES, ())
    p1 = found.pressures[0]
    truth = np.mean(np.exp([-0.04, -0.08])) - np.mean(np.exp([-0.4, -0.8]))
    for name in ("hold_over_prompt", "hold_over_random", "hold_at_equal_start"):
        number = p1.number(name)
        assert number.value == pytest.approx(truth, abs=0.04)
        assert number.low < number.value < number.high
    assert p1.engaged == {"C6": 0.2, "C6r": 0.21, "C6w": 0.4}
    ratio = {t.condition: t.ratio for t in found.text}
    assert ratio["C6"].value == pytest.approx(math.exp(0.0175), abs=1e-9)
    assert set(ratio) == {"C6", "C6r", "C6w"}
    assert (found.alpha, found.layers) == (0.05, (3, 4))
    names = {(x["name"], x["condition"]) for x in found.lines()}
    assert {
        ("hold_over_prompt", "C6"),
        ("engaged", "C6w"),
        ("perplexity_ratio", "C6r"),
        ("hold_coherence", "C6"),
    } <= names
    assert json.dumps(list(found.lines()))


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (lambda: hold_run(four(), cost=0.03), "perplexity ratio 1.038, above 1.02"),
        (lambda: hold_run(four(), prose={}), "perplexity ratio not measured: no text was read: go on with the run"),
        (lambda: hold_run(four(), prose={"keys": [], "reason": "too little text"}), "not measured: too little text"),
        (lambda: hold_run(four(C6={"failed": 0.1})), "coherence 0.900"),
        (lambda: hold_run(four(C3={"failed": 0.3}, C6={"failed": 0.3})), "30% of the replies of C3 under P1 fail"),
        (lambda: hold_run({k: v for k, v in four().items() if k != "C6w"}), "not shown under P1"),
        (lambda: hold_run({k: v._replace(engaged=0.3) if k == "C6r" else v for k, v in four().items()}),
         "no control at equal engagement under P1, P2, P5"),
        (lambda: hold_run({c: planted(0.1, engaged=0.2, prompts=12, seed=s) for s, c in enumerate(four())}),
         "12 base prompts of at least 20"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said_and_forbids_a_confirmation(found, why):
    result = found()
    assert result.words == "inconclusive"
    assert any(why in r for r in result.reasons), result.reasons


def test_refuted_where_nothing_is_gained_and_where_a_control_holds_as_well():
    assert hold_run(four(held=0.2)).words == "refuted"
    unspecific = hold_run(four(random=0.02))
    assert (unspecific.words, unspecific.shown) == ("refuted", ())
    assert "unspecific" in unspecific.reasons[0]


def test_a_gain_of_the_start_alone_vanishes_at_an_equal_start():
    """What is left is the same at every start, so that a lower start reads as a higher retention."""

    def flat(start, seed):
        arm = planted(0.0, engaged=0.2, seed=seed, start=start)
        kept = 0.5 + 0.02 * np.random.default_rng(seed).normal(size=(30, 1, 3))
        level = np.concatenate([arm.cells.level[:, :, :1], kept], axis=2)
        return arm._replace(cells=arm.cells._replace(level=level))

    arms = {"C3": flat(0.7, 1)._replace(engaged=None), "C6": flat(0.6, 2), "C6r": flat(0.8, 3), "C6w": flat(0.8, 4)}
    found = hold_run(arms)
    p1 = found.pressures[0]
    assert p1.number("hold_over_prompt").low > 0.03
    assert abs(p1.number("hold_at_equal_start").value) < 0.05
    assert p1.number("hold_start_gap").value == pytest.approx(-0.1, abs=0.03)
    assert found.words == "refuted"
    assert found.reasons == ("the gain vanishes once both start equally strong",)


def test_another_dose_of_random_directions_is_warned_of():
    arms = four()
    found = hold_run(arms | {"C6r": arms["C6r"]._replace(engaged=0.12)})
    assert any("−0.08 under P1, −0.08 under P2" in w for w in found.warnings)
    fewer = {k: v for k, v in arms.items() if k != "C6w"}
    alone = hold_run(fewer, conditions=("C0", "C3", "C6", "C6r"), personas=1)
    assert any("nobody else's range" in w for w in alone.warnings)
    before = hold_run(fewer, conditions=("C0", "C3", "C6"))
    assert before.warnings == ("The controls of the hold have not been run (C6r, C6w): go on with the run.",)


# --- a run on the tiny engine ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def axis_dir(tmp_path_factory):
    pytest.importorskip("multitudes.models.local.tiny")
    return random_axis(tmp_path_factory.mktemp("axis"))


def tiny(axis_dir, **changes):
    return make_spec(
        "small", model="fake:tiny", axis=str(axis_dir), personas=2, prompts=2, pressures=("P2",), turns=2, every=1,
        recovery=1, max_tokens=6, items=3, free_answers=False, draws=50, c3_rungs=("line",),
        conditions=("C3", "C6", "C7b"), **{"hold_tokens": 1024, **changes},
    )  # fmt: skip


class Killed(Exception):
    pass


class Asked:
    """The tiny engine; counts what it is asked, and dies after so many windows."""

    def __init__(self, windows=10**9):
        from multitudes.models.local.tiny import tiny_model

        self.inner, self.replies, self.windows, self.lives = tiny_model(), 0, 0, windows

    def __getattr__(self, name):
        return getattr(self.inner, name)

    async def reply(self, requests):
        self.replies += len(requests)
        return await self.inner.reply(requests)

    async def follow(self, items, *, watch=()):
        if self.windows >= self.lives:
            raise Killed
        self.windows += 1
        return await self.inner.follow(items, watch=watch)


@pytest.fixture(scope="module")
def run(axis_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("held")
    run_sync(run_pressure(tiny(axis_dir), folder))
    return open_pressure(folder)


def test_both_controls_ran_beside_the_hold(run):
    assert run.spec.conditions == ("C0", "C3", "C6", "C7b")
    held = {t.condition for t in run.talks if not t.id.startswith("cal.")}
    assert held == {"C0", "C3", "C6", "C6w", "C6r", "C7b"}
    assert run.meta["axis"]["hold_layers"] == [0, 1]


def test_the_reading_is_that_of_the_engine(run, axis_dir):
    """Plain and held NLL once more, from the edits as they are stored, without the code of the reading."""
    from multitudes.axis.artifact import load_axis
    from multitudes.axis.capability_items import shipped_prose, spread, windows_of
    from multitudes.study.pressure.edits import with_holds
    from multitudes.study.pressure.plan import Sources

    model, axis = Asked().inner, load_axis(axis_dir)
    systems = {k: p.rungs["line"] for k, p in make_cast(run.spec).personas.items()}
    with PressureStore(run.folder, write=False) as store:
        sources = run_sync(with_holds(Sources(), store, model, axis, systems, run.spec))
    every = windows_of(model.template, shipped_prose())
    windows = [every[i] for i in spread(len(every), 4)]
    people = [list(systems)[k % 2] for k in range(4)]

    def nll(edits):
        asked = [w._replace(edit=e) for w, e in zip(windows, edits, strict=True)]
        return np.array([-np.mean(f.token_logp) for f in run_sync(model.follow(asked))])

    def ratio(condition):
        return reading_of(run.prose, condition, planned=4, seed=0, draws=50).ratio.value

    plain = nll([None] * 4)
    for condition, edits in (("C6", sources.hold), ("C6r", sources.random)):
        truth = math.exp((nll([edits[p] for p in people]) - plain).mean())
        assert reading_of(run.prose, condition, planned=4, seed=0, draws=50).ratio.value == pytest.approx(
            truth, abs=1e-5
        )
    truth = math.exp((nll([sources.cap] * 4) - plain).mean())
    assert reading_of(run.prose, "C7b", planned=4, seed=0, draws=50).ratio.value == pytest.approx(truth, abs=1e-5)


def test_the_word_and_its_numbers_are_in_the_result(run):
    found = analyse(run)
    line = next(x for x in found.headline if x.startswith("Role hold"))
    assert found.hold.words in line
    assert found.hold.words in ("refuted", "inconclusive")  # two base prompts
    by = {t.condition: t for t in found.hold.text}
    assert set(by) == {"C6", "C6r", "C6w", "C7b"}
    assert by["C6"].ratio.value > 0
    assert by["C6"].engaged.value > 0
    assert by["C6"].tokens == 4 * 255
    rows = [x for x in found.lines() if x["name"] == "perplexity_ratio"]
    assert [x["condition"] for x in rows] == ["C6", "C6r", "C6w", "C7b"]


def test_a_finished_run_asks_and_reads_nothing(run, axis_dir):
    model = Asked()
    run_sync(run_pressure(tiny(axis_dir), run.folder, model=model))
    assert (model.replies, model.windows) == (0, 0)
    assert open_pressure(run.folder).prose == run.prose


def without(run, folder, *, talks=""):
    """The run as it was before text was read, and before conversations whose id begins so were held."""
    shutil.copytree(run.folder, folder)
    with PressureStore(folder, write=True) as store:
        store._db.execute("DELETE FROM evidence WHERE id LIKE ?", (f"{PROSE}%",))
        store._db.execute("DELETE FROM meta WHERE key = 'prose'")
        for table in ("talks", "evidence") if talks else ():
            store._db.execute(f"DELETE FROM {table} WHERE id LIKE ?", (f"{talks}%",))
    return folder


def test_a_killed_reading_goes_on_where_it_was(run, axis_dir, tmp_path):
    folder = without(run, tmp_path / "run")
    with pytest.raises(Killed):
        run_sync(run_pressure(tiny(axis_dir), folder, model=Asked(windows=2)))
    half = open_pressure(folder)
    assert len(half.prose) == 2
    assert "2 of 4 windows" in analyse(half).hold.text[0].ratio.reason
    model = Asked()
    run_sync(run_pressure(tiny(axis_dir), folder, model=model))
    assert (model.replies, model.windows) == (0, 2)
    assert open_pressure(folder).prose == run.prose


def test_more_text_can_be_asked_of_a_finished_run(run, axis_dir, tmp_path):
    folder, model = without(run, tmp_path / "run"), Asked()
    run_sync(run_pressure(tiny(axis_dir, hold_tokens=2048), folder, model=model))
    assert (model.replies, model.windows) == (0, 8)
    assert analyse(open_pressure(folder)).hold.text[0].tokens == 8 * 255


def test_a_run_of_an_earlier_version_gets_controls_and_reading_and_keeps_what_it_has(run, axis_dir, tmp_path):
    folder = without(run, tmp_path / "run", talks="C6_.")
    with PressureStore(folder, write=True) as store:
        store.put_meta(conditions=["C0", "C3", "C6", "C7b"])
    old = open_pressure(folder)
    assert "go on with the run" in analyse(old).hold.text[0].ratio.reason
    assert {t.condition for t in old.talks if "@" not in t.condition} == {"C0", "C3", "C6", "C7b"}
    model = Asked()
    run_sync(run_pressure(tiny(axis_dir), folder, model=model))
    new = open_pressure(folder)
    assert [t for t in new.talks if t.condition not in ("C6w", "C6r")] == list(old.talks)
    assert [t.id for t in new.talks] == [t.id for t in run.talks]
    assert model.replies == sum(len(t.turns) for t in new.talks) - sum(len(t.turns) for t in old.talks)
    assert len(new.prose) == 4


def test_records_of_the_reading_are_no_evidence_of_conversations(run):
    assert not any(k.startswith(PROSE) for k in run.evidence)
    with PressureStore(run.folder, write=False) as store:
        assert sum(k.startswith(PROSE) for k in store.evidence_ids()) == 4


def test_alpha_and_layers_make_the_hold(run, axis_dir, tmp_path):
    from multitudes.axis.artifact import load_axis
    from multitudes.study.pressure.edits import with_holds
    from multitudes.study.pressure.plan import Sources

    axis = load_axis(axis_dir)
    systems = {k: p.rungs["line"] for k, p in make_cast(run.spec).personas.items()}

    def edits(**changes):
        folder = tmp_path / repr(sorted(changes))
        if "hold_layers" not in changes:  # the same ranges
            shutil.copytree(run.folder, folder)
        with PressureStore(folder, write=True) as store:
            return run_sync(with_holds(Sources(), store, Asked().inner, axis, systems, tiny(axis_dir, **changes)))

    wide, narrow, one, floor = edits(), edits(hold_alpha=0.25), edits(hold_layers=(0,)), edits(hold_sides="own_floor")
    who = next(iter(systems))
    for kind in ("hold", "random"):
        a, b, c, d = (getattr(x, kind)[who].layers for x in (wide, narrow, one, floor))
        assert (b[0].low > a[0].low).all()
        assert (b[0].high < a[0].high).all()
        assert [x.layer for x in a] == [0, 1]
        assert [x.layer for x in c] == [0]
        np.testing.assert_array_equal(c[0].low, a[0].low)
        assert np.isinf(d[0].high).all()
    with pytest.raises(ConfigError, match="no such block"):
        edits(hold_layers=(2,))


# --- the shipped run file -------------------------------------------------------------------------------------

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "role_hold" / "h1.toml"


def test_the_shipped_file_is_the_experiment():
    assert read_spec(EXAMPLE, axis="axes/smollm2") == make_spec("small", **H1, axis="axes/smollm2")
    assert (EXAMPLE.parent / read_spec(EXAMPLE).axis).resolve() == EXAMPLE.parents[2] / "axes" / "smollm2"


def test_what_it_says_of_power_and_of_the_whole_experiment_is_so(tmp_path):
    said = EXAMPLE.read_text(encoding="utf-8").replace("\n#", "")
    spec = read_spec(EXAMPLE)
    assert "needs 99 base prompts, 132 with all 3 pressures" in power_line(spec)
    assert "this run has 36 and finds 0.17 at best" in power_line(spec)
    for figure in ("0.17", "0.10 needs 99, and 132"):
        assert figure in said
    lines = [x.removeprefix("#   ") for x in EXAMPLE.read_text(encoding="utf-8").splitlines() if " = " in x]
    whole = [x for x in lines if not x.startswith(("#", "multitudes"))][:8]
    prompts = "".join(f'[[prompt]]\nid = "p{i}"\ntext = "Tell me about day {i}."\n' for i in range(150))
    (tmp_path / "prompts.toml").write_text(prompts)
    (tmp_path / "whole.toml").write_text("\n".join(whole))
    asked = read_spec(tmp_path / "whole.toml")
    cast = make_cast(asked, base=tmp_path)
    assert (len(cast.personas), len(cast.evaluation), asked.crossed) == (12, 100, True)
    assert asked.with_controls == ("C0", "C3", "C5", "C6", "C6w", "C6r", "C7b")
    with pytest.raises(ConfigError, match="too few base prompts"):
        make_cast(asked.model_copy(update={"base_prompts": None}))
