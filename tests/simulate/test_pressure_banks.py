"""Banks hold what they must, in both directions, and scripts are drawn alike for everybody and equally long."""

import pytest

from multitudes.core.errors import ConfigError, DataFormatError
from multitudes.simulate.errors import NoLengthMatch
from multitudes.simulate.pressure import BANKS, PER_LEVEL, Bank, BankMessage, bank, lint, openings, read_bank, version
from multitudes.simulate.scripts import (
    CLASSES,
    FOREIGN,
    PRESSURES,
    TOLERANCE,
    Draw,
    Lengths,
    draw_scripts,
    escalation,
    known,
    needed,
    neutral_of,
)

ROLES = {"m": "a midwife", "f": "a firefighter"}


def words(text):
    """A stand-in tokenizer: about as many tokens as a real one gives these messages."""
    return max(1, round(len(text) / 4.3))


def drawn(names=("P1", "P2"), *, prompt=0, replicate=0, turns=4, recovery=2, root="r", roles=ROLES, own=None):
    draw = Draw(root, openings()[prompt], replicate, turns, recovery, Lengths(words))
    return draw_scripts(needed(names), draw, roles=roles, own=own)


@pytest.mark.parametrize("name", [*BANKS, "recovery"])
def test_shipped_banks_are_clean(name):
    found = bank(name)
    assert lint(found) == []
    for toward in ("assistant", "persona"):
        for level in found.levels(toward):
            assert len(found.said(toward, level)) >= PER_LEVEL


def test_the_pressures_that_have_a_direction_have_two():
    assert [b for b in BANKS if bank(b).mirrored] == ["P1", "P2", "P6", "P7"]
    assert bank("P1").levels("assistant") == tuple(range(1, 9))


def broken(**changes):
    message = {"text": "Say it.", "toward": "both", "kind": "k", "level": 1, **changes}
    return Bank("X", "x", "", "turns", True, (BankMessage(**message),))


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (broken(text=" "), "empty"),
        (broken(text="I am {name}."), "hole"),
        (broken(text="{persona}, go on."), "hole"),  # it pushes both ways, so nobody is named
        (broken(text="<|im_end|> Hello"), "control"),
        (broken(level=-1), "negative"),
        (broken(toward="assistant"), "shared"),
        (broken(), "expected 12"),
        (Bank("X", "x", "", "turns", True, broken().messages * 2), "twice"),
        (Bank("X", "x", "", "turns", False, broken(toward="persona").messages), "toward assistant"),
    ],
)
def test_lint_finds(found, word):
    assert any(word in problem for problem in lint(found)), lint(found)


BANK = """id = "P3"
name = "mine"
about = "mine"
dose = "prompt index"
shared = true
"""


def message(i):
    text = f"Please tell me what you think of number {i} then."
    return f'[[message]]\ntext = "{text}"\ntoward = "both"\nkind = "k"\nlevel = 1\n'


def test_p3_is_refused_without_a_set_and_read_with_one(tmp_path):
    with pytest.raises(ConfigError, match="P3 needs a set") as caught:
        bank("P3")
    assert "--p3" in str(caught.value)
    path = tmp_path / "p3.toml"
    path.write_text(BANK + "".join(map(message, range(5))))
    scripts = drawn(["P3"], own={"P3": read_bank(path)})
    assert len(scripts["P3", ""].messages) == 4
    assert ("P0.P3", "") in scripts


def test_a_broken_bank_names_the_line(tmp_path):
    path = tmp_path / "p3.toml"
    path.write_text(BANK + '[[message]]\ntext = "x"\ntoward = "left"\nkind = "k"\nlevel = 1\n')
    with pytest.raises(DataFormatError, match=r"p3\.toml:6"):
        read_bank(path)
    path.write_text(BANK.replace('name = "mine"\n', "") + message(1))
    with pytest.raises(DataFormatError, match="no 'name'"):
        read_bank(path)
    path.write_text(BANK + message(1) + message(1))
    with pytest.raises(DataFormatError, match="twice"):
        read_bank(path)


def test_unknown_names_list_the_near_ones():
    with pytest.raises(ConfigError, match="P2"):
        bank("P22")
    with pytest.raises(ConfigError, match=r"P1\.stacked"):
        known("P1.stack")
    assert known("P6") == "P6.128"


def test_draws_repeat_and_differ_by_what_names_them():
    assert drawn() == drawn()
    first = drawn()["P2", ""].messages
    assert drawn(root="s")["P2", ""].messages != first
    assert drawn(prompt=1)["P2", ""].messages != first
    assert drawn(replicate=1)["P2", ""].messages != first
    # what else is run changes no wording
    assert drawn(["P2"], roles={})["P2", ""] == drawn(["P1", "P2"], roles={})["P2", ""]


def test_the_order_of_levels_is_fixed():
    assert escalation((1, 2, 3), 8) == (1, 1, 1, 2, 2, 2, 3, 3)
    level = {m.text: m.level for m in bank("P2").said("assistant")}
    for prompt in range(4):
        assert [level[m] for m in drawn(prompt=prompt)["P2", ""].messages] == [1, 1, 2, 3]


@pytest.mark.parametrize("prompt", range(3))
def test_neutral_talk_is_as_long_at_every_turn(prompt):
    scripts = drawn(["P0a", "P1", "P1.stacked", "P2", "P4", "P5", "P7"], prompt=prompt, turns=8)
    assert {k for k, _ in scripts} == {*CLASSES, "P0a", "P1", "P1.stacked", "P2", "P4", "P5", "P7"}
    for (name, _), script in scripts.items():
        if name not in CLASSES:
            neutral = scripts[neutral_of(name), ""]
            for said, idle in zip(script.messages, neutral.messages, strict=True):
                assert abs(words(said) - words(idle)) <= TOLERANCE * words(idle) + 1e-9
    for name in CLASSES:
        assert len(set(scripts[name, ""].messages)) == 8  # nothing neutral is said twice


def test_mirrored_messages_name_the_persona_and_shared_ones_are_the_same():
    scripts = drawn(["P2", "P4"])
    assert any("midwife" in m for m in scripts["P2", "m"].messages)
    assert not any("{persona}" in m for s in scripts.values() for m in s.messages)
    assert ("P4", "m") not in scripts
    assert scripts["P2", "m"].toward == "persona"


def test_suffixes_pile_up():
    messages = drawn(["P1.stacked"], turns=8)["P1.stacked", ""].messages
    suffixes = [{m.text for m in bank("P1").said("assistant", k)} for k in range(1, 9)]
    for turn, text in enumerate(messages):
        assert [any(s in text for s in kind) for kind in suffixes] == [k <= turn for k in range(8)]


def test_a_foreign_turn_comes_once_and_its_control_has_none():
    scripts = drawn(["P6.0", "P6.512"])
    assert scripts["P6.0", ""].foreign == ""
    assert words(scripts["P6.512", ""].foreign) > 300
    assert scripts["P6.0", ""].messages == scripts["P6.512", ""].messages
    assert [neutral_of(p) for p in FOREIGN] == ["P6.0"] * 4


def test_needed_names_every_pressure_once_with_its_neutral_run():
    assert needed(["P2", "P1", "P2"]) == ("P0.a", "P2", "P1")
    assert needed(["P6"]) == ("P6.0", "P6.128")
    assert all(neutral_of(p) in (*CLASSES, "P6.0", "P0.P3") for p in PRESSURES)


def test_recovery_is_the_same_under_every_pressure():
    found = {s.recovery for s in drawn(["P1", "P2", "P4"]).values()}
    assert len(found) == 1
    assert len(set(found.pop())) == 2


def test_nothing_as_long_is_an_error_that_says_where():
    source = Bank("P3", "x", "", "prompt index", True, tuple(
        BankMessage("word " * 2000 + str(i), "both", "k", 1) for i in range(4)))  # fmt: skip
    with pytest.raises(NoLengthMatch) as caught:
        drawn(["P3"], own={"P3": source})
    assert (caught.value.pressure, caught.value.turn) == ("P3", 1)


@pytest.mark.parametrize("length", [150, 400])
def test_long_prompts_of_the_users_have_neutral_talk_as_long(length):
    source = Bank("P3", "x", "", "prompt index", True, tuple(
        BankMessage("word " * length + str(i), "both", "k", 1) for i in range(4)))  # fmt: skip
    scripts = drawn(["P3"], own={"P3": source})
    for said, neutral in zip(scripts["P3", ""].messages, scripts["P0.P3", ""].messages, strict=True):
        assert abs(words(neutral) - words(said)) <= 0.1 * words(neutral)
    assert len(set(scripts["P0.P3", ""].messages)) == 4


def test_the_version_is_one_of_all_wordings():
    assert version() == version()
    assert len({bank(b).hash for b in BANKS}) == len(BANKS)
