"""Numbers beside the triple: doses with intervals, neutral talk, answers without their prior, personas in general."""

import hashlib
import json
import math

import pytest
from pressed_fakes import BASE, IN, OUT, Scripted, always, never, pressed, returns

from multitudes.core.loop import run_sync
from multitudes.models.base import Scored
from multitudes.study.pressure.analyse import analyse
from multitudes.study.pressure.beside import ABSENT, NOT_CROSSED
from multitudes.study.pressure.data import arm_of, open_pressure
from multitudes.study.pressure.forecast import describe
from multitudes.study.pressure.run import run_pressure
from multitudes.study.pressure.spec import make_spec
from multitudes.study.pressure.store import PressureStore


def small(**changes):
    given = {"conditions": ("C3",), "pressures": ("P2",), "draws": 100, "model": "fake:scripted"}
    return make_spec("small", **{**given, **changes})


def played(model, folder, spec=None):
    run_sync(run_pressure(spec or small(), folder, model=model))
    return open_pressure(folder)


def number(result, name, pressure="P2", condition="C3", disposition="id"):
    return result.arm(disposition, pressure, condition).number(name)


def coin(messages):
    """A number of 0 to 255 of the base prompt."""
    base = next((m.text for m in messages if m.text in BASE), "")
    return hashlib.sha256(base.encode()).digest()[0]


class Graded(Scripted):
    """Log-odds of the persona's answer in closed form: 2 with its prompt, less 1 per message that presses, plus what
    the question alone says."""

    def __init__(self, prior=0.0):
        super().__init__(never)
        self.prior = prior

    def odds(self, context):
        prompted, (hits, _) = bool(context[0].text), pressed(context)
        return self.prior + (max(0.0, 2.0 - hits) if prompted else 0.0)

    def _scored(self, item):
        if item.continuation.startswith((IN[:20], OUT[:20])):
            return super()._scored(item)
        assistant = any(w in item.continuation for w in ("AI", "assist", "user", "software", "program"))
        own = 1 / (1 + math.exp(-self.odds(item.context)))
        return Scored((math.log(1 - own if assistant else own),), self.info.fingerprint)


# --- answers without their prior ------------------------------------------------------------------------------


def test_a_prior_that_favours_nobody_changes_nothing(tmp_path):
    found = analyse(played(Graded(), tmp_path))
    plain, corrected = (number(found, n) for n in ("auc", "auc.prior_corrected"))
    assert corrected.value == pytest.approx(plain.value, abs=1e-12)
    assert (corrected.low, corrected.high) == pytest.approx((plain.low, plain.high), abs=1e-12)


def test_a_prior_is_taken_off_in_closed_form(tmp_path):
    def level(odds):
        return 1 / (1 + math.exp(-odds))

    # Corrected, nobody's answers are even: R_t = (level(2 − t) − ½) / (level(2) − ½), 0 from turn 2 on. Uncorrected,
    # the same log-odds start at −1: levels are others, their order is not.
    found = analyse(played(Graded(prior=-1.0), tmp_path, small(every=1)))
    kept = [max(0.0, 2.0 - t) for t in range(1, 5)]
    corrected = sum(level(x) - 0.5 for x in kept) / 4 / (level(2) - 0.5)
    plain = sum(level(x - 1) - level(-1) for x in kept) / 4 / (level(1) - level(-1))
    assert number(found, "auc.prior_corrected").value == pytest.approx(corrected, abs=1e-12)
    assert number(found, "auc").value == pytest.approx(plain, abs=1e-12)
    assert number(found, "auc.prior_corrected", "P0.a").value == pytest.approx(1, abs=1e-12)
    order = [number(found, n, p).value for n in ("auc", "auc.prior_corrected") for p in ("P2", "P0.a")]
    assert order[0] < order[1]
    assert order[2] < order[3]


@pytest.mark.parametrize("prior", [0.0, -1.0, 3.0])
def test_log_odds_do_not_know_the_prior(tmp_path, prior):
    found = analyse(played(Graded(prior), tmp_path, small(every=1, pressures=("P2",), prompts=8)))
    if found.arm("id", "P2", "C3").measurable:  # near saturation there is no range of D
        assert number(found, "auc.log_odds").value == pytest.approx((1 + 0 + 0 + 0) / 2 / 4, abs=1e-9)
    else:
        assert prior == 3.0


def test_the_trained_default_has_log_odds_on_the_same_ruler(tmp_path):
    run = played(Scripted(always), tmp_path, small(conditions=("C1", "C3")))
    trained, prompted = (arm_of(run, c, "P2", "id", scale="log-odds").cells for c in ("C1", "C3"))
    assert (trained.floor[:, :, 0] == -prompted.level[:, :, 0]).all()
    starts = [(c.level[:, :, 0] - c.floor[:, :, 0]).mean() for c in (trained, prompted)]
    assert starts[0] == pytest.approx(starts[1], abs=1e-12)
    assert starts[0] == pytest.approx(2 * math.log(9), abs=1e-9)


def test_the_mirrored_scale_is_corrected_as_well(tmp_path):
    found = analyse(played(Graded(), tmp_path, small(conditions=("C1", "C3"))))
    plain, corrected = (number(found, n, condition="C1") for n in ("auc", "auc.prior_corrected"))
    assert corrected.value == pytest.approx(plain.value, abs=1e-12)


def test_priors_are_asked_once_and_a_run_without_them_gains_them(tmp_path):
    model = Scripted(always)
    run = played(model, tmp_path)
    alone = [i for i in model.seen if len(i.context) == 2 and not i.context[0].text]
    alone = [i for i in alone if not i.continuation.startswith((IN[:20], OUT[:20]))]
    assert len(alone) == len({(i.context[-1].text, i.continuation) for i in alone})
    assert all(i.edit is None for i in alone)
    whole = list(analyse(run).lines())
    with PressureStore(tmp_path, write=True) as store:
        store.put_meta(priors=None)
    without = analyse(open_pressure(tmp_path))
    assert number(without, "auc.prior_corrected").reason == ABSENT
    assert number(without, "auc").value == number(analyse(run), "auc").value
    again = Scripted(always)
    run_sync(run_pressure(small(), tmp_path, model=again))
    assert again.calls == 0
    assert len(again.seen) == len(alone)
    assert list(analyse(open_pressure(tmp_path)).lines()) == whole
    last = Scripted(always)
    run_sync(run_pressure(small(), tmp_path, model=last))
    assert last.seen == []


def test_an_item_without_a_prior_is_unscored(tmp_path):
    run = played(Graded(), tmp_path)
    with PressureStore(tmp_path, write=True) as store:
        store.put_meta(priors=run.meta["priors"][1:])
    priors = open_pressure(tmp_path)
    first = run.meta["priors"][0]["persona"]
    talk = next(t for t in priors.talks if t.personas == (first,) and not t.id.startswith("cal."))
    assert math.isnan(priors.read(talk, first, "id", scale="corrected")[0][0])
    assert not math.isnan(priors.read(talk, first, "id")[0][0])


# --- personas in general --------------------------------------------------------------------------------------


def test_eight_personas_of_their_own_prompts_say_nothing_in_general(tmp_path):
    found = analyse(played(Scripted(returns), tmp_path))
    line = number(found, "auc.personas")
    assert (line.value, line.low) == (None, None)
    assert line.reason == NOT_CROSSED


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """Twenty people on eight prompts; a third of them seldom yields, the others mostly do."""
    folder = tmp_path_factory.mktemp("crowd")
    people = folder / "people.jsonl"
    rows = [
        {"id": f"p{i}", "name": f"Ann{i}", "text": f"You keep {i} bees.", "facts": {"job": "a baker", "city": "Ulm"}}
        for i in range(20)
    ]
    people.write_text("\n".join(map(json.dumps, rows)))

    def thirds(messages):
        firm = (7 * sum(map(ord, messages[0].text)) + coin(messages)) % 256 if pressed(messages)[0] else 255
        kind = hashlib.sha256(messages[0].text.encode()).digest()[0]
        return bool(messages[0].text) and firm > (40 if kind % 3 == 0 else 215)

    spec = small(people=str(people), personas=20, prompts=8, crossed=True, turns=2, every=1, recovery=0,
                 conditions=("C1", "C3"), free_answers=False)  # fmt: skip
    return analyse(played(Scripted(thirds), folder / "run", spec))


def test_twenty_crossed_personas_get_an_interval_for_personas_in_general(crowd):
    these, general = number(crowd, "auc"), number(crowd, "auc.personas")
    assert general.value == pytest.approx(these.value)
    assert general.high - general.low > 1.5 * (these.high - these.low)
    assert number(crowd, "auc_difference.personas", condition="C1").low is not None


def test_nineteen_are_too_few(crowd, tmp_path):
    spec = make_spec("small", crossed=True, personas=3, prompts=8, conditions=("C3",), pressures=("P2",), draws=50,
                     model="fake:scripted", free_answers=False)  # fmt: skip
    found = analyse(played(Scripted(returns), tmp_path, spec))
    assert number(found, "auc.personas").reason == "3 personas, of at least 20"


# --- doses ----------------------------------------------------------------------------------------------------


class Piled(Scripted):
    """Gives way at the third suffix on some base prompts and at the fifth on others."""

    def state(self, messages, text=""):
        last = max(((m.text.count(".") + m.text.count("?")) for m in messages if m.role == "user"), default=0)
        return "in" if messages[0].text and last < (8 if coin(messages) % 2 else 5) else "out"


def test_suffixes_that_pile_up_have_a_dose_with_its_interval(tmp_path):
    spec = small(pressures=("P1.stacked",), turns=8, every=1, recovery=0, prompts=12)
    found = analyse(played(Piled(never), tmp_path, spec))
    dose = number(found, "ed50", "P1.stacked")
    assert dose.unit == "suffixes"
    assert 1 < dose.low < dose.value < dose.high < 9
    assert dose.text == f"{dose.value:.2f} [{dose.low:.2f}, {dose.high:.2f}]"
    assert dose.n == 12


def test_a_dose_that_nothing_reaches_has_no_interval_and_says_so(tmp_path):
    spec = small(pressures=("P1.stacked",), turns=4, every=1, recovery=0)
    dose = number(analyse(played(Scripted(never), tmp_path, spec)), "ed50", "P1.stacked")
    assert (dose.value, dose.low, dose.text) == (None, None, ">16")
    assert "beyond the doses given; no ED50 within reach in 100% of draws" in dose.reason


def test_turns_past_the_last_kind_pile_nothing_up(tmp_path):
    spec = small(pressures=("P1.stacked",), turns=12, every=8, recovery=0)  # probed at 8 and 12: eight suffixes both
    dose = number(analyse(played(Scripted(never), tmp_path, spec)), "ed50", "P1.stacked")
    assert (dose.value, dose.reason) == (None, "a dose curve needs two doses")


class Carried(Scripted):
    """Long foreign turns take the persona away; on some base prompts 32 tokens do already, on others 128 do not."""

    def state(self, messages, text=""):
        limit = (100, 400, 900)[coin(messages) % 3]
        long = any(m.role == "assistant" and len(m.text) > limit for m in messages)
        return "in" if messages[0].text and not long else "out"


def test_the_curve_of_foreign_turns_runs_across_their_lengths(tmp_path):
    spec = small(pressures=("P6.0", "P6.32", "P6.128", "P6.512"), prompts=12)
    found = analyse(played(Carried(never), tmp_path, spec))
    kept = [number(found, "auc", p).value for p in spec.pressing]
    assert kept[1] > kept[2] > kept[3]
    doses = [number(found, "ed50", p) for p in spec.pressing]
    assert len({(d.value, d.low, d.high) for d in doses}) == 1  # one curve, on all its arms
    assert 32 < doses[0].value < 512
    assert doses[0].low < doses[0].value
    alone = analyse(played(Carried(never), tmp_path / "one", small(pressures=("P6.0", "P6.128"))))
    assert "two lengths" in number(alone, "ed50", "P6.128").reason


# --- the rest -------------------------------------------------------------------------------------------------


def test_pressure_is_compared_with_neutral_talk_of_the_same_condition(tmp_path):
    found = analyse(played(Scripted(always), tmp_path))
    over = number(found, "auc_over_neutral")
    assert over.value == pytest.approx(-1, abs=1e-12)
    assert over.null == 0
    assert number(found, "auc_over_neutral", "P0.a") is None


class Paced(Graded):
    """Base prompts differ in how much a message that presses takes."""

    def odds(self, context):
        prompted, (hits, _) = bool(context[0].text), pressed(context)
        return 2.0 * 0.9 ** (hits * coin(context) / 50) if prompted else 0.0


def test_a_half_life_of_the_mean_has_limits_in_turns(tmp_path):
    found = analyse(played(Paced(), tmp_path, small(every=1)))
    rate = number(found, "rate")
    assert rate.low < rate.value < rate.high
    life, _, limits = rate.text.partition(" [")
    assert float(life) == pytest.approx(math.log(2) / rate.value, abs=0.05)
    assert limits.rstrip("]").split(", ") == [f"{math.log(2) / x:.1f}" for x in (rate.high, rate.low)]


class Babbling(Scripted):
    def _speak(self, messages, seed):
        broken = pressed(messages)[0] >= 3 and bool(messages[0].text) and not pressed(messages)[1]
        return "no " * 20 if broken else super()._speak(messages, seed)


def test_probes_that_were_lost_are_counted(tmp_path):
    found = analyse(played(Babbling(never), tmp_path))
    assert number(found, "delta0").unscored == 0
    assert number(found, "auc").unscored == 8  # turn 4 of each conversation
    assert number(found, "rho").unscored == 16  # and turn 6
    assert number(found, "rmst_failures_as_flips").value == pytest.approx(3)


class BabblingAfter(Scripted):
    def _speak(self, messages, seed):
        broken = bool(messages[0].text) and pressed(messages)[1] > 0
        return "no " * 20 if broken else super()._speak(messages, seed)


def test_what_breaks_after_the_pressure_was_not_lost_to_it(tmp_path):
    found = analyse(played(BabblingAfter(never), tmp_path))
    assert number(found, "half_life_failures_as_flips").text == ">4"
    assert number(found, "rmst_failures_as_flips").value == 4


def test_personas_with_a_name_alone_are_named(tmp_path):
    people = tmp_path / "people.jsonl"
    rows = [{"id": f"p{i}", "name": f"Ann{i}", "text": f"You keep {i} bees and say so."} for i in range(8)]
    rows[0]["facts"] = {"job": "a baker"}
    people.write_text("\n".join(map(json.dumps, rows)))
    spec = small(people=str(people))
    found = analyse(played(Scripted(never), tmp_path / "run", spec))
    line = next(x for x in found.headline if "no facts beside a name" in x)
    assert line.startswith("p1, p2, p3, p4 and 3 more: ")
    assert any(x.startswith("p1, p2, p3, p4 and 3 more") for x in describe(spec, base=tmp_path, folder=tmp_path))
