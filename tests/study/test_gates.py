"""Prose judged by a proxy or by a model: what counts as good, what is stamped, and what is refused."""

import csv
import itertools
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from multitudes.cli.main import app
from multitudes.core.errors import ConfigError, DataFormatError, ModelError
from multitudes.measure.diversity.arms import Sample
from multitudes.models.base import Reply, ReplyFault
from multitudes.models.encode import HashEncoder
from multitudes.models.fake import FakeModel
from multitudes.simulate.judges import ask_new, ask_valid, judge_hash, read_verdict
from multitudes.study import gate_judge
from multitudes.study.domains import compare_models
from multitudes.study.gates import gate_prose
from multitudes.study.texts import compare_tables

PROMPTS = [
    f"Write about the {a} of a {b}." for a in ("roof", "colour", "smell") for b in ("harbour", "garden", "train")
]
OPENINGS = ("I often think of", "Nobody talks about", "We used to know", "There is more to")
ENDINGS = (
    "and that is what I told my brother on the way home.", "but my aunt says it was never like that.",
    "so we sat there until the lamps went out.", "which is not what they had in mind at all.",
)  # fmt: skip


def write(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, fieldnames=list(rows[0]))
        out.writeheader()
        out.writerows(rows)
    return path


def sentence(prompt, k):
    subject = prompt.removeprefix("Write about ").rstrip(".")
    return f"{OPENINGS[k % 4]} {subject} {ENDINGS[k // 4 % 4]}"


def references(**changes):
    return [
        {"prompt": p, "text": sentence(p, k), "paraphrase": sentence(p, k).replace("and", "and so")} | changes
        for p in PROMPTS
        for k in range(4)
    ]


def arm(tmp_path, name, say, k=4):
    rows = [{"prompt": p, "text": say(p, j)} for p in PROMPTS for j in range(k)]
    return write(tmp_path / f"{name}.csv", rows)


def noise(prompt, k):
    rng = np.random.default_rng([k, len(prompt), sum(map(ord, prompt))])
    return " ".join("".join(rng.choice(list("bcdfghjklmnpqrstvwxyz"), 6)) for _ in range(16))


def d_pair(found):
    return next(c for c in found.cells if (c.score, c.budget) == ("d_pair", "texts"))


# --- proxy ----------------------------------------------------------------------------------------------------


def test_noise_is_diverse_and_not_effective(tmp_path):
    """Random letters beat every quality-blind score; behind the gate they are worth nothing."""
    plain = arm(tmp_path, "plain", lambda p, k: sentence(p, 5 * k))
    wild = arm(tmp_path, "noise", noise)
    reference = write(tmp_path / "good.csv", references())
    found = compare_tables([plain, wild], encoder=HashEncoder(), proxy=reference)
    blind = {c.score: c.verdict for c in found.cells if c.budget == "texts"}
    assert blind["ead"].startswith("higher")
    assert blind["cosine"].startswith("higher")
    assert blind["d_pair"] == "lower (proxy)"
    assert found.effective[0].valid_before > 0.8
    assert found.effective[0].valid_after == 0
    assert found.outcomes[1].verdict == "no gain shown (proxy)"
    assert any("off the prompt" in c for c in found.caveats)
    assert any("nothing about meaning" in c for c in found.caveats)
    without = compare_tables([plain, wild], encoder=HashEncoder())
    assert "d_pair" not in {c.score for c in without.cells}


def test_near_copies_are_one_class_and_a_class_is_counted_once(tmp_path):
    copies = arm(tmp_path, "copies", lambda p, k: sentence(p, 0))
    varied = arm(tmp_path, "varied", lambda p, k: sentence(p, 5 * k))
    found = compare_tables([copies, varied], encoder=HashEncoder(), proxy=write(tmp_path / "good.csv", references()))
    cell = d_pair(found)
    assert cell.mean_before == 0
    assert cell.mean_after > 0.8
    assert cell.verdict == "higher (proxy)"


def test_each_broken_rule_is_counted(tmp_path):
    said = {0: "As an AI language model, I cannot write about that, I am afraid. How can I help you today?",
            1: "so it goes " * 8, 2: "Harbour.", 3: "Das ist alles gar nicht so einfach. " * 6}  # fmt: skip
    bad, good = arm(tmp_path, "bad", lambda p, k: said[k]), arm(tmp_path, "good", lambda p, k: sentence(p, k))
    found = compare_tables([good, bad], encoder=HashEncoder(), proxy=write(tmp_path / "r.csv", references()))
    note = next(c for c in found.caveats if "rules broken" in c)
    for count in ("9 assistant voice", "18 repeats itself", "9 too short", "9 wrong language"):
        assert count in note
    assert found.effective[0].valid_after == 0


def test_empty_texts_are_not_valid_and_stop_nothing(tmp_path):
    some = arm(tmp_path, "some", lambda p, k: "" if (p, k) == (PROMPTS[0], 0) else sentence(p, k))
    all_ = arm(tmp_path, "all", lambda p, k: sentence(p, k))
    found = compare_tables([all_, some], encoder=HashEncoder(), proxy=write(tmp_path / "r.csv", references()))
    # By construction one in twenty references is off the prompt, so good texts are not all valid.
    assert found.effective[0].valid_before - found.effective[0].valid_after == pytest.approx(1 / 36)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda rows: [{k: v for k, v in r.items() if k != "paraphrase"} for r in rows],
            "no column for 'paraphrase'",
        ),
        (lambda rows: [r | {"paraphrase": ""} if k > 18 else r for k, r in enumerate(rows)], "19 with a paraphrase"),
        (lambda rows: rows[:19], "19 texts"),
        (lambda rows: [r | {"domain": "letters"} for r in rows], "no reference texts of the domain 'text'"),
        (lambda rows: [r | {"text": " "} if k == 3 else r for k, r in enumerate(rows)], r"good\.csv:5"),
    ],
)
def test_what_a_reference_lacks_is_said(tmp_path, change, match):
    files = [arm(tmp_path, n, lambda p, k: sentence(p, k)) for n in "ab"]
    with pytest.raises(DataFormatError, match=match):
        compare_tables(files, encoder=HashEncoder(), proxy=write(tmp_path / "good.csv", change(references())))


def test_a_gate_needs_words_an_encoder_and_something_to_judge(tmp_path):
    good = write(tmp_path / "good.csv", references())
    files = [arm(tmp_path, n, lambda p, k: sentence(p, k)) for n in "ab"]
    with pytest.raises(ConfigError, match="no encoder"):
        compare_tables(files, proxy=good)
    with pytest.raises(ConfigError, match="in one way"):
        compare_tables(files, encoder=HashEncoder(), proxy=good, judge=good)
    named = [write(tmp_path / f"{n}.csv", [{"prompt": f"p{g}", "text": "x y"} for g in range(3) for _ in range(2)])
             for n in ("c", "d")]  # fmt: skip
    with pytest.raises(DataFormatError, match="not its name"):
        compare_tables(named, encoder=HashEncoder(), proxy=good)
    known = [Sample(a, "creative", PROMPTS[0], "text", True, "x") for a in "ab"]
    with pytest.raises(ConfigError, match="no prose whose validity is unknown"):
        gate_prose(known, {}, proxy=good, judge=None, encoder=HashEncoder(), seed=0)
    code = [Sample(a, "code", PROMPTS[0], "text") for a in "ab"]
    with pytest.raises(ConfigError, match="no prose"):
        gate_prose(code, {}, proxy=good, judge=None, encoder=HashEncoder(), seed=0)
    assert gate_prose(code, {}, proxy=None, judge=None, encoder=None, seed=0).samples == code


# --- judge ----------------------------------------------------------------------------------------------------


def part(question, name):
    return question.split(f"[{name}]\n")[1].split("\n[end]")[0]


def verdict(messages, seed):
    """Good is what does not hold the word bad; new is what begins with another word."""
    question = messages[-1].text
    if "[text]" in question:
        text = part(question, "text")
        return "Perhaps." if "unclear" in text else "No." if "bad" in text else "Yes, it is."
    a, b = (part(question, name).split()[0] for name in ("first", "second"))
    if "mumble" in (a, b):
        return "Well, that depends."
    return "yes" if a != b else "no"


@pytest.fixture
def judge(tmp_path, monkeypatch):
    """A judge file, and the model that it names."""
    model = FakeModel("fake:judge", verdict)
    monkeypatch.setattr(gate_judge, "load", lambda name, cache=None: model)

    def make(**keys):
        spec = {"model": "fake:judge", "rubric": "It is about what was asked.", "labels": "none", "pairs": 99} | keys
        path = tmp_path / "judge.toml"
        path.write_text(
            "".join(f"{k} = {json.dumps(v)}\n" for k, v in spec.items() if v is not None), encoding="utf-8"
        )
        return path

    make.model = model
    return make


WORDS = ("apple", "bread", "cake", "dish")


def test_a_judge_decides_what_is_good_and_what_differs(tmp_path, judge):
    """D_pair of all pairs, by hand; the first model says two different things, the second four, half of them bad."""
    few = arm(tmp_path, "few", lambda p, k: f"{WORDS[k % 2]} and more about it")
    many = arm(tmp_path, "many", lambda p, k: f"{WORDS[k]} and " + ("bad" if k % 2 else "good"))
    found = compare_tables([few, many], judge=judge())
    pairs = list(itertools.combinations(range(4), 2))
    assert d_pair(found).mean_before == pytest.approx(sum(i % 2 != j % 2 for i, j in pairs) / 6)
    assert d_pair(found).mean_after == pytest.approx(1 / 6)
    assert d_pair(found).verdict == "lower (uncalibrated)"
    assert (found.effective[0].valid_before, found.effective[0].valid_after) == (1.0, 0.5)
    assert any("compared with nobody" in c for c in found.caveats)
    assert found.outcomes[0].cost_per_answer is None


def test_random_pairs_are_asked_and_no_more(tmp_path, judge):
    files = [arm(tmp_path, n, lambda p, k: f"{WORDS[k]} and more") for n in ("one", "two")]
    compare_tables(files, judge=judge(pairs=2))
    texts, both_orders = 2 * 9 * 4, 2 * 9 * 2 * 2
    assert judge.model.calls == texts + both_orders


def labelled(tmp_path, n, wrong=0):
    rows = [{"first": f"apple {k}", "second": f"{'apple' if k % 2 else 'bread'} again {k}",
             "different": str((k % 2 == 0) != (k < wrong)).lower()} for k in range(n)]  # fmt: skip
    write(tmp_path / "pairs.csv", rows)
    return "pairs.csv"


@pytest.mark.parametrize(
    ("n", "wrong", "stamp"), [(100, 0, ""), (100, 10, ""), (100, 40, " (uncalibrated)"), (99, 0, " (uncalibrated)")]
)
def test_the_stamp_goes_with_a_hundred_pairs_on_which_people_agree(tmp_path, judge, n, wrong, stamp):
    few = arm(tmp_path, "few", lambda p, k: f"{WORDS[0]} and more")
    many = arm(tmp_path, "many", lambda p, k: f"{WORDS[k]} and more")
    found = compare_tables([few, many], judge=judge(labels=labelled(tmp_path, n, wrong)))
    assert d_pair(found).verdict == f"higher{stamp}"
    kappa = 1 - 2 * wrong / n  # both say "different" half of the time, so chance is one half
    assert any(f"κ {kappa:.2f}" in c and f"of {n} pairs" in c for c in found.caveats)


def test_verdicts_that_cannot_be_read_are_never_a_pass_and_are_counted(tmp_path, judge):
    mumbled = arm(tmp_path, "mumbled", lambda p, k: f"mumble {k}")
    clear = arm(tmp_path, "clear", lambda p, k: f"{WORDS[k]} {k}")
    found = compare_tables([clear, mumbled], judge=judge())
    assert d_pair(found).mean_after == 0
    assert any("108 of 216 verdicts on pairs could not be read" in c for c in found.caveats)


def test_texts_without_a_readable_verdict_are_not_valid(tmp_path, judge):
    odd = arm(
        tmp_path, "odd", lambda p, k: "" if (p, k) == (PROMPTS[0], 0) else f"{WORDS[k]} " + "unclear" * (k == 1)
    )
    clear = arm(tmp_path, "clear", lambda p, k: f"{WORDS[k]} and more")
    found = compare_tables([clear, odd], judge=judge())
    assert found.effective[0].valid_after == pytest.approx(26 / 36)
    assert any("9 of 71 verdicts on texts could not be read" in c for c in found.caveats)


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({"labels": None}, r"'labels' cannot be used(.|\n)*labels = \"pairs\.csv\""),
        ({"rubric": None}, "'rubric' cannot be used"),
        ({"rubric": ""}, r"judge\.toml:2(.|\n)*rubric|rubric(.|\n)*judge\.toml:2"),
        ({"strange": 1}, "'strange'"),
        ({"labels": "nowhere.csv"}, r"nowhere\.csv"),
    ],
)
def test_what_a_judge_file_lacks_is_said(tmp_path, judge, keys, match):
    files = [arm(tmp_path, n, lambda p, k: f"{WORDS[k]} and more") for n in ("one", "two")]
    with pytest.raises(DataFormatError, match=match):
        compare_tables(files, judge=judge(**keys))
    assert judge.model.calls == 0, "nothing is asked before the files are right"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda r: {"first": r["first"], "second": r["second"]}, "no column for 'different'"),
        (lambda r: r | {"different": ""} if r["first"] == "apple 3" else r, r"pairs\.csv:5(.|\n)*true, false"),
        (lambda r: r | {"second": ""} if r["first"] == "apple 3" else r, r"pairs\.csv:5"),
    ],
)
def test_missing_labels_are_named_with_their_line(tmp_path, judge, change, match):
    labelled(tmp_path, 6)
    with (tmp_path / "pairs.csv").open(encoding="utf-8") as file:
        rows = [change(r) for r in csv.DictReader(file)]
    write(tmp_path / "pairs.csv", rows)
    files = [arm(tmp_path, n, lambda p, k: f"{WORDS[k]} and more") for n in ("one", "two")]
    with pytest.raises(DataFormatError, match=match):
        compare_tables(files, judge=judge(labels="pairs.csv"))


def test_a_judge_that_is_compared_itself_or_small_is_named(tmp_path, judge, monkeypatch):
    files = [arm(tmp_path, n, lambda p, k: f"{WORDS[k]} and more") for n in ("fake:judge", "two")]
    found = compare_tables(files, judge=judge())
    assert any("one of those compared" in c for c in found.caveats)


class Failing(FakeModel):
    """A server that does not answer."""

    async def reply(self, requests):
        return [Reply("", "error", fault=ReplyFault("timeout", "planned")) for _ in requests]


def test_questions_show_both_texts_and_the_rubric():
    from multitudes.core.loop import run_sync

    seen = []
    model = FakeModel("fake:see", lambda m, s: seen.append(m[-1].text) or "no")
    assert run_sync(ask_valid(model, "It rhymes.", ["Write {x}."], ["a {text} with braces"])) == [False]
    assert run_sync(ask_new(model, [("one text", "another text")])) == [False]
    assert "It rhymes." in seen[0]
    assert "Write {x}." in seen[0]
    assert "a {text} with braces" in seen[0]
    assert seen[1].index("one text") < seen[1].index("another text")
    assert len(judge_hash()) == 64
    with pytest.raises(ModelError, match="timeout"):
        run_sync(ask_new(Failing("fake:off", verdict), [("a", "b")]))


def test_verdicts_are_read_strictly():
    said = {"Yes": True, " yes, it is": True, "**No**": False, "no.": False, "Yesterday": None, "": None,
            "The answer is yes": None, "maybe": None}  # fmt: skip
    assert {text: read_verdict(text) for text in said} == said


# --- ways in --------------------------------------------------------------------------------------------------


def test_models_may_be_judged_too(tmp_path, judge):
    def open_(words):
        return lambda: FakeModel(f"m{words}", lambda m, s: f"{WORDS[s % words]} about {m[-1].text[:30]}")

    models = {"m1": open_(1), "m4": open_(4)}
    found = compare_models(models, tmp_path / "out", domains=["creative"], n_prompts=8, k=4, judge=judge())
    assert d_pair(found).mean_before == 0 < d_pair(found).mean_after
    assert d_pair(found).verdict == "higher (uncalibrated)"


def test_the_command_line_names_both_gates(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    files = [str(arm(tmp_path, n, say)) for n, say in (("a", lambda p, k: sentence(p, 5 * k)), ("b", noise))]
    good = str(write(tmp_path / "good.csv", references()))
    done = CliRunner().invoke(app, ["measure", "--compare", *files, "--proxy", good])
    assert done.exit_code == 0, done.output
    assert "lower (proxy)" in done.output
    for option in ("--proxy", "--judge"):
        done = CliRunner().invoke(app, ["measure", files[0], option, good])
        assert done.exit_code == 2
        assert "--compare" in done.output
    done = CliRunner().invoke(app, ["measure", "--compare", *files, "--judge", good])
    assert done.exit_code == 2
