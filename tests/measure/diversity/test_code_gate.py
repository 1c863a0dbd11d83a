"""The code gate: what is valid, what is the same, and that no program can talk its way to a verdict."""

import textwrap

import pytest

from multitudes.core.errors import GaugeError
from multitudes.measure.diversity import code_driver
from multitudes.measure.diversity.code_gate import (
    Case,
    ClosedTask,
    OpenTask,
    extract_code,
    gate,
    join,
)
from multitudes.measure.diversity.code_values import WrongType, canonical, conform, parse_type, same
from multitudes.measure.errors import TooFewSamplesError
from multitudes.sandbox.executor import Limits, Ran, SandboxUnavailableError, find_executor

PROBES = tuple(([i, -i, i % 3],) for i in range(20))
TASK = OpenTask("f", "list[int]", PROBES)
DOUBLE = ClosedTask("f", (Case((1,), 2), Case((0,), 0), Case((-3,), -6)))
QUICK = Limits(cpu=1, wall=2)


@pytest.fixture(scope="module")
def executor():
    try:
        return find_executor()
    except SandboxUnavailableError as error:
        if "does not hold" in str(error):  # that is a fault of ours, not of this machine
            raise
        pytest.skip(str(error))


def judged(executor, task, *programs):
    programs = [textwrap.dedent(program) for program in programs]
    return gate([task] * len(programs), programs, executor, limits=QUICK)


def test_valid_programs_are_the_same_if_they_return_the_same(executor):
    found = judged(
        executor, TASK,
        "def f(xs): return sorted(xs)",
        "def f(xs):\n    xs.sort()\n    return xs",  # changes its input
        "def f(xs): return xs[::-1]",
        "f = lambda xs: sorted(xs)",
    )  # fmt: skip
    assert found.valid.tolist() == [True] * 4
    assert found.classes[0] == found.classes[1] == found.classes[3] != found.classes[2]
    assert found.reasons == ("",) * 4
    assert found.kind == "behavioural"
    assert found.executor.startswith("bwrap cpython-")


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("def f(xs: return", "does not parse"),
        ("def g(xs): return xs", "does not define the entry point"),
        ("f = 3", "does not define the entry point"),
        ("import numpy_of_nobody\ndef f(xs): return xs", "fails when loaded: ModuleNotFoundError"),
        ("def f(xs): return xs[5]", "raises on an input: IndexError"),
        ("def f(xs): return tuple(xs)", "returns tuple instead of list"),
        ("def f(xs): return [x / 2 for x in xs]", "returns float instead of int"),
        ("def f(xs): return [True]", "returns bool instead of int"),
        ("def f(xs): return map(abs, xs)", "returns what is no plain value: map"),
        ("class L(list): pass\ndef f(xs): return L(xs)", "returns what is no plain value: L"),
        ("def f(xs):\n    xs.append(xs)\n    return xs", "returns what is no plain value: nested too deep"),
        ("import random\ndef f(xs): return [random.randrange(10**6)]", "returns something else on a second run"),
        ("def f(xs): return [hash(str(x)) for x in xs]", "returns something else on a second run"),
        ("def f(xs): return list(xs) if xs[0] < 9 else None", "returns NoneType instead of list"),
        ("def f(xs):\n    while True: pass", "timeout"),
        ("def f(xs): return [0] * 10**10", "raises on an input: MemoryError"),
        ("x = [0]\nwhile True: x += x", "fails when loaded: MemoryError"),
        ("import os\nwhile True: os.fork()", "fails when loaded: BlockingIOError"),
        ("open('/py/x', 'w')", "fails when loaded: OSError"),
        ("import socket\nsocket.create_connection(('127.0.0.1', 9))", "fails when loaded: ConnectionRefusedError"),
        ("while True: print('x' * 1000)", "output"),
        ("import sys\nsys.exit(0)", "fails when loaded: SystemExit"),
        ("import os\nos._exit(0)", "ends without a result"),
        ("import os\nos._exit(7)", "crashed"),
        ("", "does not define the entry point"),
    ],
)  # fmt: skip
def test_what_is_not_valid_says_why(executor, program, reason):
    found = judged(executor, TASK, program)
    assert (found.valid.tolist(), found.classes, found.reasons) == ([False], ("",), (reason,))


def test_printing_and_demonstrations_do_no_harm(executor):
    found = judged(
        executor, TASK,
        "print('hi', flush=True)\ndef f(xs):\n    print(xs)\n    return sorted(xs)\n"
        "if __name__ == '__main__':\n    f(input())",
        "Here it is:\n```python\ndef f(xs): return sorted(xs)\n```\nIt sorts.",
    )  # fmt: skip
    assert found.classes[0] == found.classes[1] != ""


FORGERIES = {
    "prints a result": "print('{\"outputs\": []}')\nimport os\nos._exit(0)",
    "writes to every descriptor": """
        import json, os
        line = ('0' * 32 + ' ' + json.dumps({"outputs": [[1]] * 20}) + '\\n').encode()
        for fd in range(64):
            try: os.write(fd, line)
            except OSError: pass
        os._exit(0)
    """,
    "claims good values without the token": """
        import json, os
        for fd in range(3, 64):
            try: os.write(fd, (json.dumps({"outputs": [[1]] * 20}) + '\\n').encode())
            except OSError: pass
        os._exit(0)
    """,
    "adds a second line": """
        import os
        for fd in range(3, 64):
            try: os.write(fd, b'{"outputs": [[1]]}\\n')
            except OSError: pass
        def f(xs): return sorted(xs)
    """,
    "finds the token and claims odd values": """
        import json, os, sys
        frame = sys._getframe()
        while frame and "token" not in frame.f_locals: frame = frame.f_back
        token, out = frame.f_locals["token"], frame.f_locals["out"]
        os.write(out, (token + ' {"outputs": [{"verdict": true}]}\\n').encode())
        os._exit(0)
    """,
    "claims too few": """
        import json, os, sys
        frame = sys._getframe()
        while frame and "token" not in frame.f_locals: frame = frame.f_back
        os.write(frame.f_locals["out"], (frame.f_locals["token"] + ' {"outputs": [[1]]}\\n').encode())
        os._exit(0)
    """,
}


@pytest.mark.parametrize("program", FORGERIES.values(), ids=FORGERIES)
@pytest.mark.parametrize("task", [TASK, DOUBLE], ids=["open", "closed"])
def test_a_verdict_cannot_be_forged(executor, task, program):
    found = judged(executor, task, program)
    assert not found.valid[0]
    assert "result" in found.reasons[0]


def test_a_value_that_claims_to_equal_everything_does_not(executor):
    liar = """
    class Yes(int):
        def __eq__(self, other): return True
        __hash__ = int.__hash__
    def f(x): return Yes(5)
    """
    assert judged(executor, DOUBLE, liar).reasons == ("returns what is no plain value: Yes",)


def test_expected_values_never_enter_the_sandbox():
    asked = []

    class Spy:
        name = "spy"

        def run(self, program, stdin="", *, limits):
            asked.append(program + stdin)
            return Ran("ok", 0, "", "", 0.0)

    gate([ClosedTask("f", (Case((1,), "canary"),))], ["def f(x): return 1"], Spy())
    assert len(asked) == 1
    assert "canary" not in asked[0]


def test_closed_tasks_are_valid_by_their_cases_and_told_apart_by_structure(executor):
    pytest.importorskip("tree_sitter")
    found = judged(
        executor, DOUBLE,
        "def f(x): return 2 * x",
        "def f(number):\n    # twice\n    return 7 * number if number > 9 else 2 * number",
        "def f(y): return 2 * y",
        "def f(x): return x + 2",
        "def f(x): return 2.0 * x",
        "def f(x): return 2 if x == 1 else 9",
    )  # fmt: skip
    assert found.kind == "structural"
    assert found.valid.tolist() == [True, True, True, False, True, False]
    assert found.classes[0] == found.classes[2] != found.classes[1]
    assert found.reasons[3::2] == ("passes 0 of 3 cases", "passes 1 of 3 cases")


def test_order_is_kept_over_many_programs(executor):
    programs = [f"def f(xs): return [{i % 3}]" for i in range(9)]
    found = gate([TASK] * 9, programs, executor, at_once=3)
    assert found.valid.all()
    assert len(set(found.classes)) == 3
    assert all(found.classes[i] == found.classes[i % 3] for i in range(9))


def test_one_start_serves_all_probes():
    starts = []

    class Spy:
        name = "spy"

        def run(self, program, stdin="", *, limits):
            starts.append(limits)
            return Ran("crashed", 1, "", "", 0.0)

    found = gate([TASK], ["def f(xs): return xs"], Spy(), limits=QUICK)
    assert starts == [QUICK]
    assert found.reasons == ("crashed",)


def test_without_an_executor_nothing_runs():
    with pytest.raises(SandboxUnavailableError, match="not at all"):
        gate([TASK], ["def f(xs): return xs"], None)


def test_the_two_kinds_are_never_pooled(executor):
    with pytest.raises(GaugeError, match="not pooled"):
        gate([TASK, DOUBLE], ["", ""], executor)
    with pytest.raises(GaugeError, match="no task"):
        gate([], [], executor)
    opened = judged(executor, TASK, "def f(xs): return xs")
    closed = opened._replace(kind="structural")
    with pytest.raises(GaugeError, match="not pooled"):
        join([opened, closed])
    with pytest.raises(GaugeError, match="two executors"):
        join([opened, opened._replace(executor="other")])
    both = join([opened, opened])
    assert (both.valid.tolist(), both.classes) == ([True, True], opened.classes * 2)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ("x = 1", "x = 1"),
        ("Sure!\n```python\nx = 1\n```\nand\n```\ny = 2\n```", "x = 1\n"),
        ("```\nx = 1\n", "x = 1\n"),
        ("~~~py\nx = '```'\n~~~", "x = '```'\n"),
        ("  ```python\n  x = 1\n  ```", "  x = 1\n"),
        ("use `x = 1` here", "use `x = 1` here"),
        ("", ""),
    ],
)
def test_the_program_of_a_reply(reply, code):
    assert extract_code(reply) == code


def test_tasks_that_are_none():
    with pytest.raises(TooFewSamplesError, match="19 different"):
        OpenTask("f", "int", tuple((i % 19,) for i in range(40)))
    with pytest.raises(GaugeError, match="plain JSON"):
        OpenTask("f", "int", (({1, 2},),) * 20)
    with pytest.raises(GaugeError, match="name of a function"):
        OpenTask("f()", "int", PROBES)
    with pytest.raises(GaugeError, match="list\\[T\\]"):
        OpenTask("f", "numpy.ndarray", PROBES)
    with pytest.raises(TooFewSamplesError):
        ClosedTask("f", ())


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("int", 3), ("float", 2.5), ("bool", True), ("str", "x"), ("None", None), ("list[int]", [1]), ("list", [""]),
        ("dict[str, list[float]]", {"a": [1.0]}), ("tuple[int, str]", (1, "a")), ("tuple[int, ...]", (1, 2, 3)),
        ("set[int]", {1}), ("int | None", None), ("int | str", "a"), ("Any", {"a": (1,)}), ("list[Any]", [None]),
    ],
)  # fmt: skip
def test_values_of_their_type(written, value):
    assert conform(value, parse_type(written)) == value


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("int", True), ("int", 1.0), ("bool", 1), ("list[int]", (1,)), ("list[int]", [1, "a"]), ("None", 0),
        ("tuple[int, int]", (1,)), ("tuple[int, ...]", (1, "a")), ("dict[str, int]", {1: 1}), ("int | str", None),
        ("set[int]", [1]), ("float", "1"), ("float", 10**400),
    ],
)  # fmt: skip
def test_values_of_another_type(written, value):
    with pytest.raises(WrongType):
        conform(value, parse_type(written))


@pytest.mark.parametrize("written", ["", "list[", "dict[int]", "f()", "list[int, str]", "int or str", "5", "os.path"])
def test_types_that_cannot_be_checked(written):
    with pytest.raises(GaugeError, match="cannot be checked"):
        parse_type(written)


def test_canonical_values():
    assert canonical(1 / 3) == canonical(0.333333333333) != canonical(0.33333334)
    assert canonical(-0.0) == canonical(0.0)
    assert canonical(1.0) != canonical(1)
    assert canonical([1]) != canonical((1,))
    assert canonical({"b": 1, "a": 2}) == canonical({"a": 2, "b": 1})
    assert canonical({3, 1, 2}) == canonical({1, 2, 3})
    assert canonical(float("nan")) == canonical(float("nan"))
    assert conform(3, parse_type("float")) == 3.0
    assert type(conform([3], parse_type("list[float]"))[0]) is float


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (1, 1.0, True), (0.1 + 0.2, 0.3, True), (1, True, False), ([1], (1,), False), ([1, [2]], [1, [2.0]], True),
        ({"a": 1}, {"a": 1.0}, True), ({"a": 1}, {"b": 1}, False), ({1, 2}, {2, 1}, True), ("1", 1, False),
        ([1], [1, 2], False), (10**400, 1.0, False),
    ],
)  # fmt: skip
def test_same(a, b, equal):
    assert same(a, b) is equal


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", "null", "nonsense", '{"outputs": 3}', '{"outputs": [{"a": 1, "b": 2}]}', '{"outputs": [1.5]}',
     '{"outputs": [{"float": "x"}]}', '{"outputs": [{"set": [[1]]}]}', '{"outputs": [{"dict": [1]}]}',
     '{"outputs": [1, 2]}', '{"error": 3}', '{"outputs": ' + "[" * 50_000 + "]" * 50_000 + "}"],
)  # fmt: skip
def test_odd_results_are_reasons_and_no_exceptions(text):
    asked = code_driver.call("", "f", [(1,)])
    found = code_driver.read(asked, Ran("ok", 0, f"{asked.token} {text}\n", "", 0.0))
    assert found == ((), "ends with an odd result")


@pytest.mark.parametrize(
    "text", ["", "\n", "{result}", "{result}\n\n", "{result}\nmore\n", "x{result}\n", "{json}\n"]
)
def test_a_result_is_exactly_one_line_with_the_token(text):
    asked = code_driver.call("", "f", [(1,)])
    json = '{"outputs": [1]}'
    result = f"{asked.token} {json}"
    assert code_driver.read(asked, Ran("ok", 0, f"{result}\n", "", 0.0)) == ((1,), "")
    stdout = text.replace("{result}", result).replace("{json}", json)
    assert code_driver.read(asked, Ran("ok", 0, stdout, "", 0.0)) == ((), "ends without a result")


def test_tokens_are_new_each_time():
    assert len({code_driver.call("", "f", [(1,)]).token for _ in range(50)}) == 50
