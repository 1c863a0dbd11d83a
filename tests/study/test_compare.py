import math

import numpy as np
import pytest
from scipy import stats

from multitudes.core.errors import ConfigError, StoreError
from multitudes.models.base import Reply, ReplyFault, Sampling
from multitudes.models.fake import FakeModel, echo, people
from multitudes.simulate.targets import ModelTarget
from multitudes.simulate.voice import voice_hits
from multitudes.study.compare import compare
from multitudes.study.data import open_run
from multitudes.study.run import Voices
from multitudes.study.store import Store

VOICE = "How can I help you today?"


def voices(simulator):
    return Voices(simulator, ModelTarget(echo(), Sampling()), simulator, None)


class Leaking(FakeModel):
    """``people`` who sound like an assistant in a share of their lines."""

    def __init__(self, share):
        super().__init__("fake:people", lambda m, s: VOICE if s % 1000 < 1000 * share else people()._say(m, s))


def leaks_and_answers(messages, seed):
    if "Statement" in messages[-1].text:
        return ("Not at all like me", "In between", "Very much like me")[seed % 3]
    return VOICE if seed % 3 == 0 else people()._say(messages, seed)


class Failing(FakeModel):
    """``people``, one in three of whose conversations a server fails at its first call."""

    async def reply(self, requests):
        (request,) = requests
        if len(request.messages) == 2 and request.seed % 3 == 0:
            return [Reply("", "error", fault=ReplyFault("server", "planned"))]
        return await super().reply(requests)


@pytest.fixture
def talks(small):
    """A study of conversations alone, without guards that would hide a leak."""

    def make(**changes):
        conversation = {"guards": ["empty"], "replicates": 3} | changes.pop("conversation", {})
        return small(survey=None, population={"n": 10}, conversation=conversation, **changes)

    return make


def change_of(found, gauge, name):
    return next(c for c in found.changes if (c.gauge, c.name) == (gauge, name))


def test_a_run_and_itself_again_do_not_differ(tmp_path, small, run):
    gauges = ["leak", "diversity", "variance", "coverage"]
    spec = small(measure={"gauges": gauges}, conversation={"guards": ["empty"]})
    for name in "ab":
        run(spec, tmp_path / name, voices=voices(FakeModel("fake:people", leaks_and_answers)))
    found = compare(str(tmp_path / "a"), str(tmp_path / "b"))
    assert len(found.changes) > 5
    assert {c.difference for c in found.changes} == {0.0}
    assert {c.verdict for c in found.changes} <= {"no clear change", "no interval"}
    assert change_of(found, "leak", "rate").verdict == "no clear change"
    assert change_of(found, "leak", "rate").a > 0
    assert (found.people, found.paired_conversations, found.unpaired, found.differs) == (4, 8, 0, ())


def test_longer_lines_are_not_called_less_diverse(tmp_path, talks, run):
    """Every line twice: distinct words fall because there are more words, and that is no finding."""

    def twice(messages, seed):
        line = people()._say(messages, seed)
        return f"{line} {line}"

    gauges = {"gauges": ["leak", "diversity"]}
    run(talks(measure=gauges), tmp_path / "once", voices=voices(people()))
    longer = talks(measure=gauges, conversation={"max_tokens": 200})
    run(longer, tmp_path / "twice", voices=voices(FakeModel("fake:people", twice)))
    found = compare(tmp_path / "once", tmp_path / "twice")
    assert change_of(found, "diversity", "ead_within").verdict == "unequal sizes"
    assert change_of(found, "diversity", "self_repetition_across").verdict == "unequal sizes"
    assert change_of(found, "diversity", "rouge_l_within").verdict != "unequal sizes"
    assert change_of(found, "leak", "rate").verdict != "unequal sizes"
    same = compare(tmp_path / "once", tmp_path / "once")
    assert "unequal sizes" not in {c.verdict for c in same.changes}


def test_a_planted_leak_is_worse_and_its_cure_is_better(tmp_path, talks, run):
    run(talks(), tmp_path / "clean", voices=voices(people()))
    run(talks(), tmp_path / "leaky", voices=voices(Leaking(0.5)))
    worse = change_of(compare(tmp_path / "clean", tmp_path / "leaky"), "leak", "rate")
    better = change_of(compare(tmp_path / "leaky", tmp_path / "clean"), "leak", "rate")
    assert (worse.verdict, better.verdict, worse.n) == ("worse", "better", 10)
    assert (worse.a, worse.b) == (0.0, pytest.approx(0.5, abs=0.2))
    assert worse.low > 0
    assert (better.low, better.high) == pytest.approx((-worse.high, -worse.low))


def test_people_who_are_all_alike_give_no_interval(tmp_path, talks, run):
    run(talks(), tmp_path / "never", voices=voices(Leaking(0.0)))
    run(talks(), tmp_path / "always", voices=voices(Leaking(1.0)))
    found = change_of(compare(tmp_path / "never", tmp_path / "always"), "leak", "rate")
    assert (found.difference, found.low, found.high, found.verdict) == (1.0, None, None, "no interval")


def by_hand(a, b):
    """Difference of leak rates and its paired delete-one jackknife interval, from the conversations themselves."""
    persons = sorted({c.persona_id for c in a.conversations})

    def rate(data, left_out=None):
        means = []
        for p in persons:
            lines = [bool(voice_hits(t)) for c in data.conversations if c.persona_id == p for t in c.user_texts]
            if p != left_out:
                means.append(np.mean(lines))
        return float(np.mean(means))

    theta = np.array([rate(b, p) - rate(a, p) for p in persons])
    g = len(persons)
    half = stats.t.ppf(0.975, g - 1) * math.sqrt((g - 1) / g * ((theta - theta.mean()) ** 2).sum())
    whole = rate(b) - rate(a)
    return whole, whole - half, whole + half


def test_the_interval_is_the_paired_jackknife(tmp_path, talks, run):
    a = run(talks(), tmp_path / "a", voices=voices(Leaking(0.2)))
    b = run(talks(), tmp_path / "b", voices=voices(Leaking(0.35)))
    found = change_of(compare(tmp_path / "a", tmp_path / "b"), "leak", "rate")
    assert (found.difference, found.low, found.high) == pytest.approx(by_hand(a, b), abs=1e-12)
    assert found.high > found.low
    # Pairing matters: the same people leak in both, so the difference is surer than two runs apart would say.
    apart = math.hypot(*(np.std([np.mean([bool(voice_hits(t)) for c in d.conversations if c.persona_id == p
                                          for t in c.user_texts]) for p in sorted(d.population.by_id)], ddof=1)
                         / math.sqrt(10) for d in (a, b)))  # fmt: skip
    assert found.high - found.low < 2 * stats.t.ppf(0.975, 9) * apart


def test_runs_without_common_people_are_refused(tmp_path, talks, run):
    run(talks(), tmp_path / "a")
    run(talks(seed=99), tmp_path / "b")
    with pytest.raises(ConfigError, match="no person in common"):
        compare(tmp_path / "a", tmp_path / "b")


def test_what_has_no_partner_is_left_out_and_counted(tmp_path, talks, run):
    a = run(
        talks(conversation={"replicates": 2}), tmp_path / "a", voices=voices(Failing("fake:people", people()._say))
    )
    b = run(talks(), tmp_path / "b")
    faulted = sum(c.fault is not None for c in a.conversations)
    assert 0 < faulted < 20
    found = compare(tmp_path / "a", tmp_path / "b")
    assert found.paired_conversations == 20 - faulted
    # A's faults, their partners in B, and B's third runs.
    assert found.unpaired == faulted + faulted + 10
    assert found.differs == ("conversation.replicates",)
    assert len(b.conversations) == 30
    leak = change_of(found, "leak", "rate")
    assert leak.difference == 0.0  # the pairs are the same conversations


def test_people_of_one_run_only_are_left_out(tmp_path, talks, run):
    whole = run(talks(), tmp_path / "a", voices=voices(Leaking(0.5)))
    run(talks(), tmp_path / "b", voices=voices(Leaking(0.5)))
    kept = whole.population.personas[:7]
    with Store(tmp_path / "b", write=True) as store:
        store.put_meta(population=whole.population.model_copy(update={"personas": kept}).model_dump(mode="json"))
    found = compare(tmp_path / "a", tmp_path / "b")
    assert (found.people, found.paired_conversations) == (7, 7 * 3)
    rates = [
        np.mean([bool(voice_hits(t)) for c in whole.conversations if c.persona_id == p.id for t in c.user_texts])
        for p in kept
    ]
    assert change_of(found, "leak", "rate").a == pytest.approx(np.mean(rates))


def test_unscored_answers_leave_on_both_sides(tmp_path, small, run):
    spec = small(measure={"gauges": ["variance"]})

    def says(share):
        def say(m, s):
            if "Statement" not in m[-1].text:
                return people()._say(m, s)
            return "hm" if s % 100 < share else "In between"

        return FakeModel("fake:people", say)

    a = run(spec, tmp_path / "a", voices=voices(says(0)))
    b = run(spec, tmp_path / "b", voices=voices(says(60)))
    scored = sum(not math.isnan(x.score) for x in b.answers)
    assert 0 < scored < len(a.answers)
    found = compare(tmp_path / "a", tmp_path / "b")
    assert found.paired_answers == scored
    assert found.unpaired == 2 * (len(a.answers) - scored)


def test_only_gauges_of_both_are_compared(tmp_path, talks, run):
    run(talks(measure={"gauges": ["leak", "diversity"]}), tmp_path / "a")
    run(talks(), tmp_path / "b")
    found = compare(tmp_path / "a", tmp_path / "b")
    assert {c.gauge for c in found.changes} == {"leak"}
    assert found.differs == ("measure.gauges",)


def test_a_folder_without_a_run_is_told(tmp_path, talks, run):
    run(talks(), tmp_path / "a")
    with pytest.raises(StoreError, match="no run here"):
        compare(tmp_path / "a", tmp_path / "b")


def test_a_change_of_p_is_no_effect(tmp_path, talks, run):
    for name, seed in (("a", 1), ("b", 2)):
        spec = talks(seed=7, measure={"gauges": ["variance"]}, models={"encoder": "hash"})
        run(spec, tmp_path / name, voices=voices(Leaking(0.3 * seed)))
    names = {c.name for c in compare(tmp_path / "a", tmp_path / "b").changes}
    assert names & {"text_icc_within", "icc_within"}
    assert not [n for n in names if "p_" in n.removeprefix("text_")[:2]]


def test_placebos_are_paired_with_placebos_and_move_no_person(tmp_path, small, run):
    def labels(messages, seed):
        return ("Not at all like me", "In between", "Very much like me")[seed % 3]

    asked = {"scenarios": [], "population": {"n": 8}, "measure": {"gauges": ["coverage", "variance"]}}
    alone = {"placebo": [], "placebo_waived": "only to compare"}
    for name, survey in (("with", {}), ("alone", alone)):
        data = run(small(survey=survey, **asked), tmp_path / name, voices=voices(FakeModel("fake:people", labels)))
        coverage = next(r for r in data.readings if r.gauge == "coverage")
        assert coverage.scores, name
    found = compare(tmp_path / "with", tmp_path / "alone")
    assert found.paired_answers == 8 * 12
    assert found.unpaired == 3 * 8 * 12
    assert {c.name: c.difference for c in found.changes if c.gauge == "coverage"}
    assert all(c.difference == 0 for c in found.changes)
    readings = [
        [r.model_dump_json() for r in open_run(tmp_path / name).readings if r.gauge == "coverage"]
        for name in ("with", "alone")
    ]
    assert readings[0] == readings[1]
