"""The shipped roles and questions: counts, rules, and no run of eight words shared with the published inputs."""

import gzip
import json
import re
from pathlib import Path

import pytest

from multitudes.axis.errors import RoleSetError, TooFewRoles
from multitudes.axis.roles import Role, chosen_questions, lint, read_roles, shipped
from multitudes.axis.window import cap_window
from multitudes.core.errors import DataFormatError

PUBLISHED = next(
    (p / "shared" / "data" / "axis" for p in Path(__file__).resolve().parents if (p / "shared").is_dir()), None
)


def test_counts_and_rules_hold():
    everything = shipped()
    assert len(everything.roles) == 275
    assert len(everything.questions) == 240
    assert lint(everything.roles) == []
    for name, n in (("small", 44), ("balanced", 110), ("full", 275)):
        chosen = [r for r in everything.roles if name in r.presets]
        assert len(chosen) == n
        assert {sum(r.family == f for r in chosen) for f in range(1, 12)} == {n // 11}
    assert len({q.text for q in everything.questions}) == 240
    assert sum(q.half for q in everything.questions) == 120
    for n in (4, 6, 20, 240):
        chosen = chosen_questions(everything.questions, n)
        assert len({q.id for q in chosen}) == n
        assert sum(q.half for q in chosen) == n // 2
    assert all({"who", "work", "place", "age"} <= set(dict(r.facts)) for r in everything.roles)


def test_lint_finds_what_it_is_for():
    good = shipped().roles
    first = good[0]
    bad = Role(first.id, first.name, first.family, True, "A poet " + "word " * 45,
               ("You are an AI assistant.", *first.prompts[1:4], first.prompts[3]))  # fmt: skip
    problems = "\n".join(lint((bad, *good[1:], first)))
    for expected in ("id twice", "name twice", "definition of 47 words", "says 'AI'", "names another role: 'poet'",
                     "nearly the same", "prompt 0 has 5 words", "family 1: 26 roles"):  # fmt: skip
        assert expected in problems


@pytest.mark.skipif(PUBLISHED is None or not PUBLISHED.is_dir(), reason="the published inputs are not at hand")
def test_no_run_of_eight_words_is_shared_with_the_published_inputs():
    def grams(text):
        words = re.findall(r"[\w']+", text.lower())
        return {tuple(words[i : i + 8]) for i in range(len(words) - 7)}

    published = set()
    roles = [json.loads(line) for line in gzip.open(PUBLISHED / "roles.jsonl.gz", "rt", encoding="utf-8")]
    assert len(roles) == 276
    for row in roles:
        texts = [row["description"] or "", row["eval_prompt"] or "", *row.get("questions", [])]
        for text in [*texts, *(i["pos"] for i in row["instructions"])]:
            published |= grams(text)
    questions = [
        json.loads(line)["question"] for line in (PUBLISHED / "extraction_questions.jsonl").open(encoding="utf-8")
    ]
    assert len(questions) == 240
    published |= {g for q in questions for g in grams(q)}
    assert len(published) > 10_000
    everything = shipped()
    ours = [q.text for q in everything.questions] + [t for r in everything.roles for t in (r.definition, *r.prompts)]
    ours += [t for _, t in everything.arms.default] + [*everything.arms.neutral, *everything.arms.placebo]
    assert not {g for t in ours for g in grams(t)} & published


def test_own_roles_are_added_or_replace_and_bad_files_are_refused(tmp_path):
    file = tmp_path / "roles.jsonl"
    file.write_text('{"id": "miller", "name": "miller", "prompts": ["You grind corn."]}\n\n')
    added = read_roles(file)
    assert len(added.roles) == 276
    assert added.roles[-1].presets == ("small", "balanced", "full")
    assert added.hash != shipped().hash
    with pytest.raises(TooFewRoles, match="one role"):
        read_roles(file, replace=True)
    file.write_text('{"id": "tutor", "name": "x", "prompts": ["You teach."]}\n')
    with pytest.raises(RoleSetError, match="unique"):
        read_roles(file)
    for text, what in (("[1]", "not a JSON object"), ('{"id": "a"}', "no name, prompts"), ("{", "not a JSON object")):
        file.write_text(text + "\n")
        with pytest.raises(DataFormatError, match=rf"roles\.jsonl:1(.|\n)*{what}"):
            read_roles(file)
    with pytest.raises(DataFormatError, match="cannot be read"):
        read_roles(tmp_path / "none.jsonl")


def test_windows_of_published_depths():
    assert cap_window(30) == (21, 22, 23, 24, 25)
    assert cap_window(2) == (0, 1)
    assert cap_window(64)[0] == 45
    assert len(cap_window(80)) == 12
