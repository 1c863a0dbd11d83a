"""The filter, line by line: what a verdict must hold, whose name is whose, what is kept and what is asked twice."""

import asyncio
import json
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from multitudes.axis import build, placing
from multitudes.axis.adherence import AGAIN, RUBRIC_HASH, by_judge, by_likelihood, read_score
from multitudes.axis.agreement import drawn
from multitudes.axis.answers import Answer, read_answers
from multitudes.axis.artifact import load_axis, save_axis
from multitudes.axis.choices import axis_of, other_filters
from multitudes.axis.collect import collect
from multitudes.axis.collected import control_mean, default_mean, merge, role_means, same_sums
from multitudes.axis.components import cosine
from multitudes.axis.conditions import Condition, conditions_of, messages_of
from multitudes.axis.errors import CollectionMismatch, TooFewRoles
from multitudes.axis.presets import preset, questions_of
from multitudes.axis.scoring import with_likelihood
from multitudes.axis.sums_file import load_collected
from multitudes.axis.topic import TopicFilter
from multitudes.axis.verdicts import Verdicts
from multitudes.core.errors import ConfigError, ModelError
from multitudes.core.seeds import derive_rng
from multitudes.measure.kappa import quadratic_kappa
from multitudes.models.base import Reply, ReplyFault, Scored, ScoreItem
from multitudes.models.encode import HashEncoder
from multitudes.models.fake import FakeModel
from multitudes.models.local.tiny import tiny_model

SIZE = replace(preset("small"), max_tokens=12, min_count=1)

# --- verdicts


@pytest.mark.parametrize(
    ("said", "score"),
    [
        ("3", 3), (" 0.", 0), ("Score: 2", 2), ("**1**", 1), ("(3)", 3), ("2\n", 2),
        ("-1", None), ("−1", None), ("+3", None), ("2.5", None), ("3,5", None), ("3/3", None), ("1 or 2", None),
        ("0-3", None), ("10", None), ("4", None), ("03", None), ("v3", None), ("3rd", None), ("score_3", None),
        ("three", None), ("", None), ("٣", None), ("3²", None), ("2 2", None), ("1e0", None),
    ],
)  # fmt: skip
def test_a_verdict_is_exactly_one_integer_from_0_to_3(said, score):
    assert read_score(said) == (-1 if score is None else score)


class Judge(FakeModel):
    """Says what a list says, and counts what it was asked."""

    def __init__(self, replies):
        super().__init__("judge", lambda *_: "")
        self.replies, self.asked = list(replies), []

    async def reply(self, requests):
        self.asked += requests
        return [self.replies.pop(0) for _ in requests]


def test_one_retry_then_unscored_and_a_reply_that_was_cut_is_no_verdict():
    """Cut off, '0 = it refuses' would be a refusal and '1' might have been '10'."""
    cut = Reply("0 = it refuses, speaking", finish="length")
    judge = Judge([cut, Reply("3"), Reply("yes"), Reply("2"), Reply("no")])
    assert asyncio.run(by_judge(judge, ["a", "b", "c"])).scores == [2, 3, -1]
    assert len(judge.asked) == 5
    assert {r.sampling.temperature for r in judge.asked} == {0}
    assert judge.asked[0].messages != judge.asked[3].messages  # the same words at temperature 0 give the same reply
    assert asyncio.run(by_judge(Judge([]), [])).scores == []


def test_a_refusal_of_the_provider_is_unscored_and_its_failure_is_no_verdict_at_all():
    refused = Reply("", finish="error", fault=ReplyFault("refused", "content"))
    assert asyncio.run(by_judge(Judge([refused, refused]), ["a"])) == ([-1], None)
    for code in ("rate_limit", "timeout", "server", "budget"):
        down = Reply("", finish="error", fault=ReplyFault(code, "later"))
        found = asyncio.run(by_judge(Judge([down, Reply("?"), Reply("3"), down]), ["a", "b", "c"]))
        assert found == ([None, None, 3], down.fault)


# --- names


@pytest.mark.parametrize(
    "text",
    [
        "I am SmolLM and I like boats.", "I’m SmolLM.", "My name is smollm, at your service.", "As SmolLM, I sail.",
        "You can call me SmolLM.", "I was trained by Hugging Face to sail.", "I'm a sailor made by HuggingFace.",
    ],
)  # fmt: skip
def test_naming_oneself_or_ones_maker_is_naming_oneself(text):
    who = {"names": ("SmolLM",), "makers": ("Hugging Face",)}
    assert by_likelihood(text, 0.2, 0.0, **who).score == 2
    assert by_likelihood(text, 0.2, 0.0).score == 3  # nothing of it is in the lists that all models share
    assert by_likelihood(text, -0.2, 0.0, **who).score == 1


@pytest.mark.parametrize(
    "text",
    [
        "My boat was made by Hugging Face.", "Sam and I am here.", "I was raised by the sea.", "I know SmolLM.",
        "The net was trained by Hugging Face. I am the cook.", "I am a smollmer.",
    ],
)  # fmt: skip
def test_others_may_be_named(text):
    assert by_likelihood(text, 0.2, 0.0, names=("SmolLM", ""), makers=("Hugging Face", " ")).score == 3


def test_the_filter_of_a_fit_knows_the_names_on_the_models_card(little):
    """All are likelier under their role; one gives the model's name, one its maker, one the name of the file."""

    class Named:
        info = replace(tiny_model().info, name="hf:some/zorkfile", names=("Zork",), makers=("Zork Labs",))

        async def score(self, items):
            return [Scored((0.0 if "lamp" in i.context[0].text else -9.0,), "x") for i in items]

    said = ("I am Zork.", "I was built by Zork Labs.", "My name is zorkfile.", "I am the keeper.")
    part = [Condition("role:r:0", "role", "You keep a lamp.", 0, "r")]
    answers = [Answer("role:r:0", "q0", i, text, (1, 2), 5, 0.0, -1) for i, text in enumerate(said)]
    found = asyncio.run(with_likelihood(Named(), part, little.questions, answers, 0.0))
    assert [a.score for a in found] == [2, 2, 2, 3]
    assert [a.llr for a in found] == [4.5] * 4


def test_an_animal_called_like_the_model_is_in_its_role():
    assert by_likelihood("As a llama I chew. I am a llama of the high plains.", 0.2, 0, names=("Llama",)).score == 3


def test_a_refusal_in_role_is_3_and_one_out_of_it_0():
    said = "I'm sorry, but I can't assist with that request."
    assert by_likelihood(said, 0.2, 0.0).score == 3
    assert by_likelihood(said, -0.2, 0.0).score == 0
    assert by_likelihood("No. The harbour master forbids it.", 0.2, 0.0).score == 3


# --- a collection with judges, known labels


def label(text, salt, odds):
    """A score that is a function of the answer alone; ``odds`` of the scores 0 to 3, and of none."""
    draw = derive_rng("label", salt, text).random()
    return int(np.searchsorted(np.cumsum(odds), draw)) if draw < sum(odds) else -1


FIRST, SECOND = (0.02, 0.06, 0.05, 0.85), (0.05, 0.1, 0.05, 0.7)  # the rest is unscored
PAIR = (("first", FIRST), ("second", SECOND))


def answer_in(asked):
    return re.search(r"\nAnswer: (.*)\n\nHow far is", asked, re.DOTALL)[1]


class Planted(FakeModel):
    """Labels answers by ``label``; may break down after some questions."""

    def __init__(self, name, odds, *, breaks_after=10**9):
        super().__init__(name, lambda *_: "")
        self.odds, self.left, self.asked = odds, breaks_after, []

    async def reply(self, requests):
        out = []
        for r in requests:
            self.left -= 1
            if self.left < 0:
                out.append(Reply("", finish="error", fault=ReplyFault("rate_limit", "later")))
                continue
            self.asked.append(r.messages[0].text)
            score = label(answer_in(r.messages[0].text), self.info.name, self.odds)
            out.append(Reply("who knows" if score < 0 else str(score)))
        return out


@pytest.fixture(scope="module")
def judged(little, tmp_path_factory):
    """An axis of the tiny model under two judges with known labels, its folder, and the judges."""
    folder = tmp_path_factory.mktemp("judged")
    first, second = Planted("first", FIRST), Planted("second", SECOND)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(placing, "check_sign", lambda *_a, **_k: None)  # a random model has no Assistant
        axis = asyncio.run(build.find_axis(tiny_model(), little, SIZE, folder, judge=first, second=second))
    return axis, folder, first, second


def role_answers(folder):
    return [a for a in read_answers(folder) if a.condition.startswith("role:") and a.n_tokens >= 3]


def test_the_judges_labels_are_what_is_stored_and_reported(judged):
    metrics = pytest.importorskip("sklearn.metrics")
    axis, folder, _, _ = judged
    answers = role_answers(folder)
    one = np.array([label(a.text, "first", FIRST) for a in answers])
    two = np.array([label(a.text, "second", SECOND) for a in answers])
    assert [a.score for a in answers] == one.tolist()
    both = (one >= 0) & (two >= 0)
    found = axis.about["agreement"]["second_judge"]
    want = metrics.cohen_kappa_score(one[both], two[both], weights="quadratic", labels=[0, 1, 2, 3])
    assert found["kappa"] == pytest.approx(want, abs=1e-12)
    assert found["low"] < found["kappa"] < found["high"]
    assert found["with"] == "second"
    assert (found["n"], found["unscored"], found["of"]) == (both.sum(), (~both).sum(), len(answers))
    assert found["roles"] == len({a.condition for a, b in zip(answers, both, strict=True) if b})
    assert found["table"] == metrics.confusion_matrix(one[both], two[both], labels=[0, 1, 2, 3]).tolist()
    kept = one[both] == 3, two[both] == 3
    assert found["same"] == pytest.approx((kept[0] == kept[1]).mean())
    rates = [k.mean() for k in kept]
    assert found["by_chance"] == pytest.approx(rates[0] * rates[1] + (1 - rates[0]) * (1 - rates[1]))
    assert axis.about["judge"]["name"] == "first"
    assert axis.about["second_judge"]["rubric"] == RUBRIC_HASH


def test_the_likelihood_filter_decides_beside_the_judge_as_it_would_have_alone(judged, little, tmp_path):
    axis, folder, _, _ = judged
    alone = asyncio.run(collect(tiny_model(), little, SIZE, tmp_path))
    likely = [a.score for a in alone.answers if a.condition.startswith("role:") and a.n_tokens >= 3]
    answers = role_answers(folder)
    assert [a.text for a in answers] == [a.text for a in role_answers(tmp_path)]
    assert json.loads((folder / "likelihood.json").read_text())["theta"] == alone.theta
    scored = [(a.score, b) for a, b in zip(answers, likely, strict=True) if a.score >= 0]
    found = axis.about["agreement"]["likelihood"]
    assert found["n"] == len(scored)
    assert found["same"] == pytest.approx(np.mean([(a == 3) == (b == 3) for a, b in scored]))
    assert found["kappa"] == pytest.approx(quadratic_kappa(*np.array(scored).T), abs=1e-12)


def test_axes_by_scorer_are_those_of_stored_answers(judged, little):
    """Weighted sums of answers that were read again, against means of answers read one by one."""
    axis, folder, _, _ = judged
    model = tiny_model()
    conditions = {c.id: c for c in conditions_of(model, little, SIZE)}
    questions = {q.id: q for q in questions_of(SIZE, little)}
    answers = [a for a in read_answers(folder) if a.n_tokens >= 3]
    items = [
        ScoreItem(messages_of(conditions[a.condition], questions[a.question]), "x", token_ids=a.token_ids[:-1])
        for a in answers
    ]
    means = np.stack(asyncio.run(model.read(items, range(2), mean=True))).astype(np.float64)
    default = means[[a.condition.startswith("default") for a in answers]].mean(axis=0)
    for name, odds in (("judge", FIRST), ("second_judge", SECOND)):
        salt = {"judge": "first"}.get(name, "second")
        of_roles = [
            means[[a.condition == f"role:{r.id}:0" and label(a.text, salt, odds) == 3 for a in answers]]
            for r in little.roles
        ]
        want = default - np.mean([m.mean(axis=0) for m in of_roles if len(m)], axis=0)
        assert axis.others[name] == pytest.approx(want, rel=1e-4, abs=1e-5)
    assert axis.curves["cosine_second_judge"] == pytest.approx(
        cosine(axis.others["judge"].astype(float), axis.others["second_judge"].astype(float)), abs=1e-5
    )
    assert (axis.curves["cosine_second_judge"] < 1).all()


def test_answers_in_role_in_part_are_a_vector_of_their_own(judged, little):
    axis, folder, _, _ = judged
    sums = load_collected(next(folder.glob("sums-*.safetensors")))
    partly = sum(a.score == 2 for a in role_answers(folder))
    assert 0 < partly == sums.controls["somewhat"].n
    assert axis.others["somewhat"] == pytest.approx(default_mean(sums) - control_mean(sums, "somewhat"), abs=1e-5)
    assert np.isfinite(axis.curves["z_somewhat_answers"]).all()
    assert sums.n.sum() == sum(a.score == 3 for a in role_answers(folder))  # 2 is in no role's mean


def test_nothing_is_asked_twice_of_a_judge_whatever_breaks_down(judged, little, tmp_path, monkeypatch):
    axis, _, *whole = judged
    monkeypatch.setattr(placing, "check_sign", lambda *_a, **_k: None)
    firsts, seconds, again = [], [], None
    for breaks in ((20, 0), (30, 0), (10**9, 20), (10**9, 50), (10**9, 10**9)):
        judges = [Planted(*who, breaks_after=k) for who, k in zip(PAIR, breaks, strict=True)]
        fitting = build.find_axis(tiny_model(), little, SIZE, tmp_path, judge=judges[0], second=judges[1])
        if breaks == (10**9, 10**9):
            again = asyncio.run(fitting)
        else:
            with pytest.raises(ModelError, match="run the same command again"):
                asyncio.run(fitting)
        firsts.append(judges[0].asked)
        seconds.append(judges[1].asked)
    assert again.about["agreement"] == axis.about["agreement"]
    assert np.array_equal(again.others["second_judge"], axis.others["second_judge"])
    for runs, judge in ((firsts, whole[0]), (seconds, whole[1])):
        assert sum(len(r) > 0 for r in runs) >= 3
        assert {a for asked in runs for a in asked} == set(judge.asked)
        done = set()  # answers with a verdict: a score that was read, or two replies that could not be
        for asked in runs:
            assert not done & set(map(answer_in, asked))
            done |= {
                answer_in(a)
                for a in asked
                if a.endswith(AGAIN) or label(answer_in(a), judge.info.name, judge.odds) >= 0
            }
    third = Planted("third", SECOND)
    first = Planted("first", FIRST)
    other = asyncio.run(build.find_axis(tiny_model(), little, SIZE, tmp_path, judge=first, second=third))
    assert first.asked == []
    assert other.about["agreement"]["likelihood"] == axis.about["agreement"]["likelihood"]
    assert len(third.asked) >= 80  # a finished collection takes another second judge


def test_a_torn_line_of_verdicts_is_asked_again(tmp_path):
    judge = Planted("j", FIRST)
    rows = [("d", "q", f"answer {i}") for i in range(5)]
    want = asyncio.run(Verdicts(tmp_path, judge).scores([*rows, rows[0]]))
    assert len(judge.asked) == 5 + sum(s < 0 for s in want[:5])
    assert want[5] == want[0]
    [file] = tmp_path.glob("verdicts-*.jsonl")
    file.write_bytes(file.read_bytes()[:-9])
    again = Planted("j", FIRST)
    assert asyncio.run(Verdicts(tmp_path, again).scores(rows)) == want[:5]
    assert {answer_in(a) for a in again.asked} == {"answer 4"}
    assert asyncio.run(Verdicts(tmp_path, Planted("j", FIRST, breaks_after=0)).scores(rows)) == want[:5]
    file.write_bytes(b'{"ask')
    assert asyncio.run(Verdicts(tmp_path, Planted("j", FIRST)).scores(rows)) == want[:5]
    assert len(file.read_bytes().splitlines()) == 5


def test_a_second_judge_needs_a_first_that_is_another(little, tmp_path):
    one = Planted("first", FIRST)
    for judges, match in (({"second": one}, "without a first"), ({"judge": one, "second": one}, "is the first")):
        with pytest.raises(ConfigError, match=match):
            asyncio.run(build.find_axis(tiny_model(), little, SIZE, tmp_path, **judges))
    assert not list(tmp_path.iterdir())
    assert one.asked == []


def test_a_judge_that_keeps_nothing_stops_the_fit_before_the_second_is_asked(little, tmp_path):
    mute, second = Planted("first", (0, 0, 0, 0)), Planted("second", SECOND)
    with pytest.raises(TooFewRoles, match=r"0 3, 0 2, 0 1, 0 0, \d\d unscored"):
        asyncio.run(build.find_axis(tiny_model(), little, SIZE, tmp_path, judge=mute, second=second))
    assert second.asked == []
    assert {a.score for a in role_answers(tmp_path)} == {-1}


def test_the_double_scored_are_drawn_evenly_over_families_and_roles():
    rng = np.random.default_rng(0)
    families = rng.choice(6, size=900, p=[0.4, 0.3, 0.2, 0.06, 0.03, 0.01]).tolist()
    roles = [f"{f}-{int(rng.integers(7))}" for f in families]
    chosen = drawn(families, roles, seed=4)
    assert len(chosen) == 200
    assert chosen == sorted(set(chosen)) == drawn(families, roles, seed=4)
    assert chosen != drawn(families, roles, seed=5)
    assert set(chosen) <= set(drawn(families, roles, n=400, seed=4))
    counts = Counter(families[i] for i in chosen)
    small = [f for f in range(6) if counts[f] == families.count(f)]
    rest = [counts[f] for f in range(6) if f not in small]
    assert small == [4, 5]
    assert max(rest) - min(rest) <= 1
    for f in (0, 1, 2):
        of_role = Counter(roles[i] for i in chosen if families[i] == f)
        assert max(of_role.values()) - min(of_role.values()) <= 1
    assert drawn(families[:150], roles[:150], seed=0) == list(range(150))  # all, where there are fewer


# --- topic


def test_margins_are_cosines_with_ones_own_role_minus_the_mean_of_8_others(little):
    encoder = HashEncoder()
    topic = TopicFilter(encoder, little.roles, seed=3)
    texts, at = ["I keep rope and salt.", "", "bread", " \n"], [1, 2, 2, 0]
    found = topic.margins(texts, at)
    assert np.isnan(found[1])
    assert np.isnan(found[3])
    defined = encoder.encode([r.definition for r in little.roles]).astype(float)
    for i in (0, 2):
        others = topic.others(at[i])
        assert len(set(others.tolist()) - {at[i]}) == 8
        near = defined @ encoder.encode([texts[i]])[0]
        assert found[i] == pytest.approx(near[at[i]] - near[others].mean(), abs=1e-6)
    assert topic.margins(texts, at)[0] == TopicFilter(encoder, little.roles, seed=3).margins(texts[:1], at[:1])[0]
    assert topic.margins([], []) == []
    with pytest.raises(ConfigError, match="compares roles"):
        TopicFilter(encoder, little.roles[:1], seed=0)


def test_a_topic_never_keeps_alone():
    plain = Answer("role:a:0", "q", 0, "x", (1,), 5, 0.1, 3)
    assert plain.kept
    assert replace(plain, topic=0.2).kept
    for score in (2, 1, 0, -1):
        assert not replace(plain, score=score, topic=0.9).kept
        assert not replace(plain, score=score).kept
    for margin in (0.0, -0.1, float("nan")):
        assert not replace(plain, topic=margin).kept
        assert replace(plain, topic=margin).off_topic


def test_what_a_topic_filter_drops_is_counted_and_adds_up_to_what_is_kept_without_it(little, tmp_path):
    model, encoder = tiny_model(), HashEncoder()

    class Killed(BaseException):
        pass

    def stop(step):
        if step.name == "roles" and step.done == 2:
            raise Killed

    with pytest.raises(Killed):
        asyncio.run(collect(tiny_model(), little, SIZE, tmp_path / "with", topic=encoder, watch=stop))
    beside = asyncio.run(collect(model, little, SIZE, tmp_path / "with", topic=encoder))
    without = asyncio.run(collect(tiny_model(), little, SIZE, tmp_path / "without"))
    assert len(list((tmp_path / "with").glob("off-topic-*"))) == 1
    assert without.off_topic is None
    dropped = [a for a in beside.answers if a.score == 3 and a.off_topic]
    assert 0 < beside.off_topic.n.sum() == len(dropped)
    assert beside.generated.n.sum() == without.generated.n.sum() - len(dropped)
    both = merge([beside.generated, beside.off_topic])
    assert same_sums(both, without.generated, rtol=1e-6)
    margins = TopicFilter(encoder, little.roles, seed=0).margins(
        [a.text for a in role_answers(tmp_path / "with")],
        [int(a.condition.split(":")[1][1:]) for a in role_answers(tmp_path / "with")],
    )
    assert [a.topic for a in role_answers(tmp_path / "with")] == pytest.approx(margins, nan_ok=True)
    assert other_filters(beside, min_count=1)["any_topic"] == pytest.approx(axis_of(without.generated, min_count=1))
    with pytest.raises(CollectionMismatch, match="another topic"):
        asyncio.run(collect(tiny_model(), little, SIZE, tmp_path / "with"))


def test_an_axis_with_a_topic_filter_says_what_it_dropped_and_reads_none_of_it(little, tmp_path, monkeypatch):
    monkeypatch.setattr(placing, "check_sign", lambda *_a, **_k: None)
    judge = Planted("lenient", (0, 0, 0.06, 0.94))
    axis = asyncio.run(build.find_axis(tiny_model(), little, SIZE, tmp_path, judge=judge, topic=HashEncoder()))
    answers = list(read_answers(tmp_path))
    passed = Counter(a.condition.split(":")[1] for a in role_answers(tmp_path) if a.score == 3)
    lost = Counter(a.condition.split(":")[1] for a in role_answers(tmp_path) if a.score == 3 and not a.topic > 0)
    assert axis.about["topic"] == {"encoder": "hash-ngram-512", "dropped": dict(lost), "of": dict(passed)}
    asked = Counter(a.condition.split(":")[1] for a in answers if a.condition.startswith("role:"))
    assert axis.about["pass_rate"] == {r: (passed[r] - lost[r]) / n for r, n in asked.items()}
    p = np.concatenate([np.load(f) for f in sorted(tmp_path.glob("projections-*.npy"))]).astype(float)
    rows = [i for i, a in enumerate(answers) if a.kept and np.isfinite(p[i]).all()]
    want = placing.thresholds([answers[i] for i in rows], p[rows][:, :2])
    assert axis.tau["0.75"] == pytest.approx(want["0.75"], rel=1e-5)
    sums = load_collected(next(tmp_path.glob("sums-*.safetensors")))
    off = load_collected(next(tmp_path.glob("off-topic-*.safetensors")))
    without = axis_of(merge([sums, off]), min_count=1)
    assert axis.others["any_topic"] == pytest.approx(without, rel=1e-5, abs=1e-5)
    cosines = cosine(axis_of(sums, min_count=1), without)
    assert axis.curves["cosine_any_topic"] == pytest.approx(cosines, abs=1e-6)
    assert (cosines < 1).all()
    save_axis(axis, tmp_path / "axis")
    stored = {"unfiltered", "somewhat", "any_topic", "judge", "likelihood"}
    assert load_axis(tmp_path / "axis").others.keys() == axis.others.keys() == stored


def test_the_cosine_of_no_filter_is_that_of_stored_sums(judged):
    axis, folder, _, _ = judged
    sums = load_collected(next(folder.glob("sums-*.safetensors")))
    want = cosine(axis_of(sums, min_count=1), default_mean(sums) - control_mean(sums, "unfiltered"))
    assert axis.curves["cosine_unfiltered"] == pytest.approx(want, abs=1e-6)
    kept = sums.n.sum(axis=0) > 0
    assert axis_of(sums, min_count=1) == pytest.approx(default_mean(sums) - role_means(sums)[kept].mean(axis=0))
    assert np.isnan(axis_of(sums, min_count=99)).all()
