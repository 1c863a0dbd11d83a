"""Syntax trees: what is kept, the three scores against SciPy and by hand, and linear time."""

import itertools
import json
import time
from collections import Counter

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

pytest.importorskip("tree_sitter")
pytest.importorskip("tree_sitter_python")

from multitudes.core.errors import MissingExtra
from multitudes.measure.diversity import trees
from multitudes.measure.diversity.trees import syntax_shape, tree_diversity
from multitudes.measure.errors import TooFewSamplesError

PROGRAMS = [
    "def f(xs):\n    return sorted(xs)",
    "def f(xs):\n    out = []\n    for x in xs:\n        if x > 0:\n            out.append(x)\n    return out",
    "def f(xs):\n    return [x for x in xs if x % 2 == 0]",
    "def f(xs):\n    while xs and xs[0] < 0:\n        xs = xs[1:]\n    return xs",
    "class A:\n    def g(self, k: int = 3) -> str:\n        return f'{k}!'\nprint(A().g())",
]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("x = 1", "yy = 23"),
        ("x = 'a'", 'y = """long\ntext"""'),
        ("def f(a):\n    return a  # why", "# head\ndef g(b):\n    # more\n    return b"),
        ("x = a + b", "x = a - b"),  # operators are no named nodes
        ("f(1,\n  2)", "f(1, 2)"),
        ("x = 1 + \\\n  2", "x = 1 + 2"),
    ],
)
def test_renaming_constants_comments_and_layout_change_nothing(a, b):
    assert syntax_shape(a) == syntax_shape(b)


@pytest.mark.parametrize(
    ("a", "b"),
    [("x = 1", "x = 1.0"), ("x = 'a'", "x = 1"), ("f(x)", "f(x, y)"), ("f'{x}'", "f'{x()}'"), ("f''", "f'{x}'")],
)
def test_structure_changes_the_shape(a, b):
    assert syntax_shape(a).serialised != syntax_shape(b).serialised


def test_subtrees_of_a_small_tree_by_hand():
    shape = syntax_shape("x = f(1)")
    whole = "module(expression_statement(assignment(identifier,call(identifier,argument_list(integer)))))"
    assert shape.serialised == whole
    assert shape.nodes == 8
    leaves = {"identifier": 2, "integer": 1, "argument_list(integer)": 1}
    one = Counter({"module(expression_statement)": 1, "expression_statement(assignment)": 1, **leaves,
                   "assignment(identifier,call)": 1, "call(identifier,argument_list)": 1})  # fmt: skip
    two = Counter({"module(expression_statement(assignment))": 1, **leaves,
                   "expression_statement(assignment(identifier,call))": 1,
                   "assignment(identifier,call(identifier,argument_list))": 1,
                   "call(identifier,argument_list(integer))": 1})  # fmt: skip
    assert {s: n for (d, s), n in shape.subtrees.items() if d == 1} == one
    assert {s: n for (d, s), n in shape.subtrees.items() if d == 2} == two
    assert {d: sum(n for (e, _), n in shape.subtrees.items() if e == d) for d in (1, 2, 3)} == {1: 8, 2: 8, 3: 8}


def _brute(programs):
    bags = [syntax_shape(p).subtrees for p in programs]
    keys = sorted(set().union(*bags))
    p = np.array([[bag[key] for key in keys] for bag in bags], float)
    p /= p.sum(axis=1, keepdims=True)

    def entropy(q):
        return -sum(x * np.log2(x) for x in q if x > 0)

    jsd = (entropy(p.mean(axis=0)) - np.mean([entropy(q) for q in p])) / np.log2(len(p))
    pair = np.mean([jensenshannon(a, b, base=2) ** 2 for a, b in itertools.combinations(p, 2)])
    return jsd, pair


def test_both_divergences_equal_brute_force():
    found = tree_diversity(PROGRAMS)
    assert (found.jsd, found.pair) == pytest.approx(_brute(PROGRAMS), abs=1e-12)
    assert found.unique == 1.0
    assert (found.programs, found.invalid, found.note) == (5, 0, "")
    assert found.nodes == sum(syntax_shape(p).nodes for p in PROGRAMS)
    assert "tree-sitter-python" in found.parser


def test_of_two_programs_both_are_the_same():
    found = tree_diversity(PROGRAMS[:2])
    assert found.jsd == pytest.approx(found.pair, abs=1e-12)


def test_limits():
    same = tree_diversity(["x = 1", "y = 2", "z = 3"])
    assert (same.jsd, same.pair, same.unique) == (pytest.approx(0, abs=1e-12), pytest.approx(0, abs=1e-12), 1 / 3)
    none = tree_diversity(["", "x", "import a"])
    assert none.jsd < 1  # they share leaves
    assert none.unique == 1.0


def test_programs_without_a_common_subtree_reach_one(monkeypatch):
    shapes = iter([trees.SyntaxShape(1, str(i), Counter({(1, f"{i}-{j}"): 1 for j in range(3)})) for i in range(4)])
    monkeypatch.setattr(trees, "syntax_shape", lambda program: next(shapes))
    found = tree_diversity(["a"] * 4)
    assert (found.jsd, found.pair) == (pytest.approx(1, abs=1e-12), pytest.approx(1, abs=1e-12))


def test_what_does_not_parse_is_left_out_and_counted():
    found = tree_diversity([*PROGRAMS, "def f(:", "x = = 1"])
    whole = tree_diversity(PROGRAMS)
    assert (found.programs, found.invalid) == (5, 2)
    assert (found.jsd, found.pair, found.unique) == (whole.jsd, whole.pair, whole.unique)


def test_too_few_that_parse_give_no_number():
    found = tree_diversity(["x = 1", "def f(:"])
    assert (found.jsd, found.pair, found.unique) == (None, None, None)
    assert found.note == "only 1 of 2 programs parse"


def test_one_program_is_refused():
    with pytest.raises(TooFewSamplesError):
        tree_diversity(["x = 1"])


def test_deep_nesting_and_strange_text_do_no_harm():
    deep = syntax_shape("x = " + "(" * 3_000 + "1" + ")" * 3_000)
    assert deep is None or deep.serialised.count("(") == deep.serialised.count(")")
    assert syntax_shape("x = '\ud800'") is not None


def _seconds(size):
    program = "\n".join(f"def f{i}(a, b=2):\n    return [g(x) for x in a if x > b]" for i in range(size))
    best = np.inf
    for _ in range(3):
        start = time.process_time()
        nodes = syntax_shape(program).nodes
        best = min(best, time.process_time() - start)
    return best, nodes


def test_time_is_linear_in_the_nodes():
    (short, few), (long, many) = _seconds(100), _seconds(1_000)
    assert many == pytest.approx(10 * few, rel=0.01)
    assert long < 30 * short


def test_real_programs(shared_data):
    path = shared_data / "capability" / "humaneval.jsonl"
    if not path.is_file():
        pytest.skip("no programs in the shared data")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()][:40]
    found = tree_diversity([row["prompt"] + row["canonical_solution"] for row in rows])
    assert (found.programs, found.invalid) == (40, 0)
    assert 0.1 < found.jsd < found.pair < 0.9
    assert found.unique > 0.9


def test_without_the_parser_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tree_sitter", None)
    trees._parser.cache_clear()
    try:
        with pytest.raises(MissingExtra, match=r"multitudes\[measure\]"):
            tree_diversity(PROGRAMS)
    finally:
        trees._parser.cache_clear()
