"""Perplexity and multiple choice against a plain forward pass; verdicts on made-up readings."""

import asyncio
import gzip
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from multitudes.axis.cap import cap_edit, floor_edit  # noqa: E402
from multitudes.axis.capability import (  # noqa: E402
    Material,
    Measured,
    check_capability,
    compared,
    edit_on,
    engagement,
    right,
)
from multitudes.axis.capability_items import (  # noqa: E402
    Item,
    choices_of,
    parse_items,
    read_items,
    read_prose,
    shipped_items,
    shipped_prose,
    spread,
    windows_of,
)
from multitudes.axis.remedy import Edited, steer  # noqa: E402
from multitudes.axis.steer import push_edit  # noqa: E402
from multitudes.core.errors import ConfigError, DataFormatError, GaugeError, Unsupported  # noqa: E402
from multitudes.models.base import Bare, Internals, Message, ScoreItem  # noqa: E402
from multitudes.models.edit import combined  # noqa: E402
from multitudes.models.load import load  # noqa: E402
from multitudes.models.local.tiny import tiny_module  # noqa: E402

PROSE = "".join(chr(97 + (7 * i * i + i) % 26) if i % 6 else " " for i in range(256 * 8 + 40))
ITEMS = (
    Item("one", "Question: Which is blue?\nAnswer:", ("the sky", "a leaf", "mud"), 0),
    Item("two", "A man walks in and", ("sits down.", "melts into the walls."), 1),
    Item("three", "Question: 2 + 2?\nAnswer:", ("4", "fourteen"), 0),
)


def run(x):
    return asyncio.run(x)


@pytest.fixture(scope="module")
def module():
    return tiny_module()


def forward(module, ids):
    with torch.inference_mode():
        return torch.log_softmax(module(torch.tensor([list(ids)])).logits[0], dim=-1).numpy()


def nll_of(module, ids, start=1):
    logp = forward(module, ids)
    return -np.mean([logp[k - 1, ids[k]] for k in range(start, len(ids))])


# --- against a plain forward pass -------------------------------------------------------------------------------


def test_perplexity_and_choices_are_those_of_a_plain_forward_pass(tiny, module):
    check = run(check_capability(tiny, tiny, items=ITEMS, prose=PROSE))
    ids = list(PROSE.encode())  # the tiny tokenizer has one token per byte, after two control tokens
    codes = tiny.template.text_ids(PROSE)
    assert len(codes) == len(ids)
    windows = [codes[k : k + 256] for k in range(0, 256 * 8, 256)]
    want = np.exp(np.mean([nll_of(module, w) for w in windows]))
    assert check.text.before == pytest.approx(want, rel=1e-9)
    assert check.text.n_tokens == 8 * 255
    hits, norm_hits = [], []
    for item in ITEMS:
        context = tiny.template.text_ids(item.text)
        totals = []
        for choice in item.choices:
            whole = tiny.template.text_ids(f"{item.text} {choice}")
            logp = forward(module, whole)
            totals.append(sum(logp[k - 1, whole[k]] for k in range(len(context), len(whole))))
        hits.append(int(np.argmax(totals)) == item.answer)
        sizes = [len(c.encode()) for c in item.choices]
        norm_hits.append(int(np.argmax(np.array(totals) / sizes)) == item.answer)
    assert check.choice.before.value == pytest.approx(np.mean(hits))
    assert check.choice.norm_before.value == pytest.approx(np.mean(norm_hits))


def test_a_change_that_never_engages_leaves_every_bit_and_is_void(tiny, tiny_axis):
    never = floor_edit(tiny_axis, np.full(2, -1e6), [0, 1])
    check = run(check_capability(tiny, Edited(tiny, never, "cap"), items=ITEMS, prose=PROSE))
    assert check.verdict == "void"
    assert check.text.ratio.value == 1.0
    assert check.text.before == check.text.after
    assert check.engaged == 0


def test_an_edited_model_is_read_as_hooks_by_hand_would_change_it(tiny, tiny_axis, module):
    edit = cap_edit(tiny_axis, "default_mean", layers=[1])
    check = run(check_capability(tiny, Edited(tiny, edit, "cap"), items=[], prose=PROSE))
    v, tau = torch.tensor(tiny_axis.unit[1]).double(), float(tiny_axis.tau["default_mean"][1])
    below = []

    def hook(_module, _args, output):
        h = (output[0] if isinstance(output, tuple) else output).clone()
        p = h[0, 1:] @ v
        below.append((p < tau).double())
        h[0, 1:] += torch.clamp(tau - p, min=0)[:, None] * v
        return (h, *output[1:]) if isinstance(output, tuple) else h

    handle = module.model.layers[1].register_forward_hook(hook)
    try:
        codes = tiny.template.text_ids(PROSE)
        want = np.exp(np.mean([nll_of(module, codes[k : k + 256]) for k in range(0, 2048, 256)]))
    finally:
        handle.remove()
    assert check.text.after == pytest.approx(want, rel=1e-6)  # bounds travel as float32
    # the first token of a window is read, though never touched
    assert check.engaged == pytest.approx(float(torch.cat(below).sum()) / 2048, abs=1e-12)
    assert check.choice is None
    assert check.text.ratio.value == pytest.approx(check.text.after / check.text.before, rel=1e-12)
    assert check.text.ratio.low < check.text.ratio.value < check.text.ratio.high


def test_persona_text_is_scored_under_its_prompt(tiny, tiny_axis):
    pushed = steer(tiny, tiny_axis, -0.5)
    answers = [ScoreItem((Message("system", f"You keep {w}."), Message("user", "hm?")), f"{w} it is") for w in "ab"]
    check = run(check_capability(tiny, pushed, items=[], prose=PROSE[:256], answers=answers))
    plain, other = (run(m.score([ScoreItem(a.context, a.continuation, include_end=False) for a in answers]))
                    for m in (tiny, pushed))  # fmt: skip
    nll = [np.mean([-s.total / len(s.token_logp) for s in arm]) for arm in (plain, other)]
    assert check.persona.value == pytest.approx(np.exp(nll[1] - nll[0]), rel=1e-9)
    assert check.persona.value != 1
    assert check.engaged == 1  # a push moves every token


def test_the_whole_change_of_nested_models_counts(tiny, tiny_axis):
    first, second = push_edit(tiny_axis, 0.1, layer=0), cap_edit(tiny_axis, 0.75, layers=[1])
    nested = Edited(Edited(tiny, first, "a"), second, "b")
    assert edit_on(nested).fingerprint == combined(first, second).fingerprint
    assert edit_on(tiny) is None
    seen = Internals(4, np.zeros((0, 48), np.float32), {0: 0.0, 1: 0.5}, 0.1)
    assert engagement(seen, edit_on(nested)) == 0.75
    assert engagement(seen, second) == 0.5


def test_models_without_taps_are_refused():
    with pytest.raises(Unsupported):
        run(check_capability(load("fake:echo"), load("fake:echo")))


# --- bare tokens ------------------------------------------------------------------------------------------------


def test_rows_of_many_lengths_and_edits_equal_each_alone(tiny, tiny_axis):
    codes = tiny.template.text_ids(PROSE)
    edits = [None, cap_edit(tiny_axis, 0.9), push_edit(tiny_axis, 0.3), floor_edit(tiny_axis, [2.0, 2.0], [0])]
    rows = [Bare(codes[9 * k : 9 * k + 20 + 13 * k], 1 + 3 * k, edits[k % 4], k) for k in range(9)]
    together = run(tiny.follow(rows, watch=[1, 0]))
    for row, found in zip(rows, together, strict=True):
        [alone] = run(tiny.follow([row], watch=[1, 0]))
        assert found.token_logp == pytest.approx(alone.token_logp, abs=1e-9)
        assert len(found.token_logp) == len(row.ids) - row.start
        assert found.internals.n_tokens == len(row.ids) - row.counted_from
        assert found.internals.means == pytest.approx(alone.internals.means, abs=1e-6)
        assert engagement(found.internals, row.edit) == engagement(alone.internals, row.edit)
        assert found.internals.moved == pytest.approx(alone.internals.moved, abs=1e-9)


def test_only_counted_tokens_enter_means_and_engagement(tiny, tiny_axis):
    context = (Message("user", "so"),)
    edit = cap_edit(tiny_axis, "default_mean", layers=[0])
    before, _ = tiny.template.context_ids(context)
    told = tiny.template.text_ids("an answer")
    row = Bare((*before, *told), len(before), edit, len(before))
    [found] = run(tiny.follow([row], watch=[0, 1]))
    [acts] = run(tiny.read([ScoreItem(context, "x", token_ids=told, edit=edit)], [0, 1]))
    assert found.internals.means == pytest.approx(acts.mean(axis=1), abs=1e-6)
    [plain] = run(tiny.read([ScoreItem(context, "x", token_ids=told)], [0]))
    share = (plain[0] @ tiny_axis.unit[0] < tiny_axis.tau["default_mean"][0]).mean()
    assert found.internals.engaged[0] == pytest.approx(share)


@pytest.mark.parametrize("row", [Bare((3, 4, 5), 0), Bare((3, 4, 5), 3), Bare((), 1), Bare((3,) * 4000, 1)])
def test_rows_without_anything_to_predict_are_refused(tiny, row):
    with pytest.raises(ConfigError, match="follow"):
        run(tiny.follow([Bare((3, 4), 1), row]))


# --- verdicts ---------------------------------------------------------------------------------------------------


def material(n=200, k=4):
    items = [Item(f"i{j}", "q", tuple("abcd"[:k]), 0) for j in range(n)]
    return Material([], items, [], [])


def reading(hits, nll, engaged=0.5, k=4):
    logp = tuple(np.array([0.0 if h else -2.0, -1.0, -3.0, -3.0][:k]) for h in hits)
    return Measured(np.asarray(nll, float), logp, np.zeros(0), engaged, 0.1, 255 * len(nll))


def hits(n_right, n=200):
    return [j < n_right for j in range(n)]


FLAT = np.linspace(2.9, 3.1, 16)


def test_no_change_is_kept_and_says_what_could_go_unseen():
    check = compared(reading(hits(150), FLAT, 0.0), reading(hits(150), FLAT), material())
    assert check.verdict == "kept"
    assert check.choice.p == 1
    unseen = 100 * (1 - 0.05 ** (1 / 200))
    assert f"{unseen:.1f} points" in check.why


@pytest.mark.parametrize(
    ("delta", "spread_", "verdict"),
    [(0.005, 0.001, "kept"), (0.019, 0.05, "undecided"), (0.03, 0.001, "lost"), (float("nan"), 0.0, "lost")],
)
def test_gates_of_perplexity(delta, spread_, verdict):
    wave = spread_ * np.resize([1.0, -1.0], 16)
    check = compared(reading(hits(150), FLAT, 0.0), reading(hits(150), FLAT + delta + wave), material())
    assert check.text.verdict == verdict
    if np.isfinite(delta):
        assert check.text.ratio.value == pytest.approx(np.exp(delta), rel=1e-9)


def test_losses_of_items_are_lost_kept_or_undecided_by_their_interval():
    before = reading(hits(150), FLAT, 0.0)
    clear = compared(before, reading(hits(120), FLAT), material())
    assert (clear.choice.verdict, clear.verdict, clear.choice.lost, clear.choice.gained) == ("lost", "lost", 30, 0)
    assert clear.choice.p < 1e-6
    some = [h if j % 40 else not h for j, h in enumerate(hits(150))]  # five change, four of them for the worse
    few = compared(before, reading(some, FLAT), material())
    assert few.choice.verdict == "undecided"
    assert few.choice.difference.value == pytest.approx(-3 / 200)


def test_items_that_guessing_answers_as_well_are_uninformative():
    for n_right in (50, 55, 30):  # chance is 50 of 200; far below it is no better
        check = compared(reading(hits(n_right), FLAT, 0.0), reading(hits(n_right), FLAT), material())
        assert check.choice.verdict == "uninformative"
        assert check.verdict == "uninformative"
    mixed = [Item(f"i{j}", "q", ("a", "b") if j % 2 else tuple("abcd"), 0) for j in range(200)]
    arm = Measured(FLAT, tuple(np.array([0.0, -1, -1, -1][: len(i.choices)]) for i in mixed), np.zeros(0), 0.5, 0, 1)
    assert compared(arm, arm, Material([], mixed, [], [])).choice.chance == 0.375


def test_too_little_text_is_undecided_not_kept():
    check = compared(reading(hits(150), FLAT[:5], 0.0), reading(hits(150), FLAT[:5]), material())
    assert check.text.ratio.high is None
    assert (check.text.verdict, check.verdict) == ("undecided", "undecided")


def test_long_choices_have_a_chance_per_byte_and_ties_go_to_the_first():
    items = [Item("a", "q", ("ja", "aber gewiß doch"), 1), Item("b", "q", ("x", "y"), 0)]
    logp = (np.array([-4.0, -9.0]), np.array([-1.0, -1.0]))
    assert right(logp, items).tolist() == [False, True]
    assert right(logp, items, per_byte=True).tolist() == [True, True]


def test_a_check_survives_json():
    plain = compared(reading(hits(150), FLAT, 0.0), reading(hits(140), FLAT + 0.01), material()).as_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["text"]["ratio"]["value"] == pytest.approx(np.exp(0.01))


# --- data -------------------------------------------------------------------------------------------------------


def test_shipped_items_and_prose_are_enough(tiny):
    items = shipped_items()
    assert len(items) == 200
    assert all(i.text.endswith("Answer:") for i in items)
    assert {i.answer for i in items} == {0, 1, 2, 3}
    assert len(shipped_prose().split()) > 4000


def test_windows_do_not_overlap_and_are_spread(tiny):
    rows = windows_of(tiny.template, PROSE)
    codes = tiny.template.text_ids(PROSE)
    assert [c for r in rows for c in r.ids] == list(codes[: 8 * 256])
    chosen = windows_of(tiny.template, PROSE, tokens=600)
    assert [r.ids for r in chosen] == [rows[2].ids, rows[6].ids]
    with pytest.raises(GaugeError, match="perplexity"):
        windows_of(tiny.template, "short")


def test_an_opening_token_makes_the_first_token_count():
    class Opened:
        opening_ids = (9,)

        @staticmethod
        def text_ids(text):
            return tuple(text.encode())

    [row] = windows_of(Opened, "a" * 256)
    assert (len(row.ids), row.ids[0], row.start) == (257, 9, 1)
    [[first, _]] = choices_of(Opened, [Item("a", "q:", ("x", "yy"), 0)])
    assert (bytes(first.ids[1:]), first.start) == (b"q: x", 3)
    assert spread(3, None) == spread(3, 7) == [0, 1, 2]


def test_forms_of_public_sets():
    rows = [
        {"id": "arc-1", "question": "Why?", "choices": ["a", "b"], "answer": 1},
        {"id": "boolq-1", "question": "is it", "passage": "It is.", "choices": ["no", "yes"], "answer": 1},
        {"id": "hellaswag-1", "question": "A man sits. he", "choices": ["a", "b"], "answer": 0},
        {"id": "own", "question": "Question: Why?\nAnswer:", "choices": ["a", "b"], "answer": 0},
    ]
    text = "\n".join(json.dumps(r) for r in rows) + "\n\n"
    assert [i.text for i in parse_items(text, source="x")] == [
        "Question: Why?\nAnswer:", "It is.\nQuestion: is it?\nAnswer:", "A man sits. he", "Question: Why?\nAnswer:",
    ]  # fmt: skip
    assert parse_items(text, source="x", form="continue")[0].text == "Why?"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("no", "JSON"), ("[1]", "not an item"),
        ('{"id": "a", "question": "q", "choices": ["x"], "answer": 0}', "two"),
        ('{"id": "a", "question": "q", "choices": ["x", "x"], "answer": 0}', "different"),
        ('{"id": "a", "question": "q", "choices": ["x", "y"], "answer": 2}', "none of the choices"),
        ('{"id": "a", "question": "q", "choices": ["x", "y"], "answer": true}', "none of the choices"),
        ('{"id": "a", "question": "q", "choices": ["x", " "], "answer": 0}', "not an item"), ("", "no items"),
    ],
)  # fmt: skip
def test_lines_that_are_no_items_are_named(tmp_path, line, words):
    good = '{"id": "g", "question": "q", "choices": ["x", "y"], "answer": 0}\n' if line else ""
    (tmp_path / "set.jsonl.gz").write_bytes(gzip.compress((good + line).encode()))
    with pytest.raises(DataFormatError, match=words) as caught:
        read_items(tmp_path / "set.jsonl.gz")
    assert "set" in str(caught.value)
    assert (":2" in str(caught.value)) == bool(line)


def test_double_ids_and_missing_files_are_named(tmp_path):
    line = '{"id": "g", "question": "q", "choices": ["x", "y"], "answer": 0}\n'
    with pytest.raises(DataFormatError, match="unique"):
        parse_items(line * 2, source="x")
    for read in (read_items, read_prose):
        with pytest.raises(DataFormatError, match="cannot be read"):
            read(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("name", "n", "ending"),
    [
        ("arc_easy_validation.jsonl", 570, "Answer:"), ("arc_challenge_validation.jsonl", 299, "Answer:"),
        ("hellaswag_validation1000.jsonl.gz", 1000, ""), ("piqa_validation.jsonl", 1838, "Answer:"),
        ("boolq_validation1000.jsonl", 1000, "?\nAnswer:"), ("mmlu_test20.jsonl", 1138, "Answer:"),
    ],
)  # fmt: skip
def test_public_sets_can_be_read(shared_data, name, n, ending):
    items = read_items(shared_data / "capability" / name)
    assert len(items) == n
    assert all(i.text.endswith(ending) for i in items)
