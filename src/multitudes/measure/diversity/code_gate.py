"""Is a program any good, and does it do the same as another? The validity gate for code.

Two kinds of task. *Open-ended* ("write f: list[int] -> list[int] that ..."): any program that keeps the declared type
is valid, and two programs are the same if they return the same. *Closed* (cases fix what f returns): valid is who
passes all cases. All valid programs then behave alike, so they are told apart by their syntax tree, and the result is
called structural. The two kinds are never pooled.

Programs run only in an injected executor: see ``sandbox.executor``. Without one, nothing runs.

Source: our reading of the framework of arXiv 2504.12522; the protocol is our own.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.core.canonical import content_hash
from multitudes.core.checks import check_same_length
from multitudes.core.errors import GaugeError
from multitudes.measure.diversity.code_driver import Call, Outputs, call, read
from multitudes.measure.diversity.code_values import Declared, WrongType, canonical, conform, parse_type, same
from multitudes.measure.diversity.trees import syntax_shape
from multitudes.measure.errors import TooFewSamplesError
from multitudes.sandbox.executor import Executor, Limits, SandboxUnavailableError, run_many

Kind = Literal["behavioural", "structural"]

MIN_PROBES = 20
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n]*\n(.*?)(?:^[ \t]*\1|\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class OpenTask:
    """A task with many good answers.

    Attributes:
        entry: Name of the function.
        returns: Its declared type, as ``code_values.parse_type`` reads it.
        probes: At least 20 different inputs, each a tuple of arguments in plain JSON values. They tell behaviours
            apart; they are not tests.
    """

    entry: str
    returns: str
    probes: tuple[tuple[Any, ...], ...]

    def __post_init__(self) -> None:
        parse_type(self.returns)
        different = len(set(_texts(self.entry, self.probes, "probes")))
        if different < MIN_PROBES:
            raise TooFewSamplesError(
                "too few probe inputs to tell behaviours apart",
                where="probes",
                found=f"{different} different",
                expected=f">= {MIN_PROBES}",
            )


class Case(NamedTuple):
    """Arguments in plain JSON values, and what the function must return: any plain value."""

    arguments: tuple[Any, ...]
    expected: Any


@dataclass(frozen=True)
class ClosedTask:
    """A task with one right behaviour.

    Attributes:
        entry: Name of the function.
        cases: At least one. Their expected values never enter the sandbox.
    """

    entry: str
    cases: tuple[Case, ...]

    def __post_init__(self) -> None:
        if not _texts(self.entry, [case.arguments for case in self.cases], "cases"):
            raise TooFewSamplesError("a closed task without a case", where="cases", found="0", expected=">= 1")


class CodeVerdicts(NamedTuple):
    """Verdicts on n programs.

    Attributes:
        kind: What a class is: ``behavioural`` same outputs, ``structural`` same syntax tree.
        executor: Sandbox and interpreter.
        valid: (n,) V.
        classes: (n,) S, a hash; "" where V is False.
        reasons: (n,) why V is False; "" where it is True.
    """

    kind: Kind
    executor: str
    valid: NDArray[np.bool_]
    classes: tuple[str, ...]
    reasons: tuple[str, ...]


class _Verdict(NamedTuple):
    name: str  # of the class; "" if not valid
    reason: str


def _texts(entry: str, inputs: Sequence[Sequence[Any]], where: str) -> list[str]:
    if not entry.isidentifier():
        raise GaugeError("an entry point is the name of a function", where="entry", found=repr(entry))
    try:
        return [json.dumps(list(arguments), allow_nan=False) for arguments in inputs]
    except (TypeError, ValueError) as error:
        raise GaugeError(
            "an input that cannot be handed to a sandbox", where=where, found=str(error), expected="plain JSON values"
        ) from error


def extract_code(reply: str) -> str:
    """The program in a model's reply: the first fenced block (to the end if it is never closed), else all of it."""
    found = _FENCE.search(reply)
    return found[2] if found else reply


def gate(
    tasks: Sequence[OpenTask] | Sequence[ClosedTask],
    replies: Sequence[str],
    executor: Executor | None,
    *,
    limits: Limits | None = None,
    at_once: int | None = None,
) -> CodeVerdicts:
    """V and S of replies with programs in them.

    A program is started once and called on all inputs there; open-ended ones a second time, in another process with
    another hash seed, and must return the same again.

    Args:
        tasks: (n,) the task of each reply, all open-ended or all closed.
        replies: (n,) what the model wrote.
        executor: Where the programs run; see ``sandbox.executor.find_executor``.
        limits: Of each start: 2 s of processor, 256 MB, 5 s wall, 64 KB of output if None.
        at_once: Programs at a time.

    Raises:
        SandboxUnavailableError: No executor.
        SandboxError: The sandbox failed, which is no verdict on a program.
        GaugeError: Lengths that differ, no task, or both kinds of task.
        MissingExtra: Closed tasks need tree-sitter.
    """
    if executor is None:
        raise SandboxUnavailableError(
            "programs are run in a sandbox or not at all",
            where="executor",
            found="None",
            hint="find_executor() of multitudes.sandbox.executor finds one or says what to install",
        )
    check_same_length(tasks=tasks, replies=replies)
    kind = _one_kind([_kind_of(task) for task in tasks])
    programs = [extract_code(reply) for reply in replies]
    run = _runner(executor, limits, at_once)
    judge = _open if kind == "behavioural" else _closed
    found = judge(tasks, programs, run)  # type: ignore[arg-type]  # one kind, as was just checked
    return CodeVerdicts(
        kind=kind,
        executor=executor.name,
        valid=np.array([bool(verdict.name) for verdict in found], dtype=np.bool_),
        classes=tuple(verdict.name for verdict in found),
        reasons=tuple(verdict.reason for verdict in found),
    )


def join(parts: Sequence[CodeVerdicts]) -> CodeVerdicts:
    """Verdicts of several gates as one.

    Raises:
        GaugeError: None, behavioural and structural ones together, or two executors: their numbers mean different
            things.
    """
    kind = _one_kind([part.kind for part in parts])
    names = sorted({part.executor for part in parts})
    if len(names) > 1:
        raise GaugeError("verdicts of two executors", where="parts", found=", ".join(names), expected="one")
    return CodeVerdicts(
        kind,
        names[0],
        np.concatenate([part.valid for part in parts]),
        tuple(name for part in parts for name in part.classes),
        tuple(reason for part in parts for reason in part.reasons),
    )


def _kind_of(task: OpenTask | ClosedTask) -> Kind:
    return "behavioural" if isinstance(task, OpenTask) else "structural"


def _one_kind(kinds: Sequence[Kind]) -> Kind:
    if len(set(kinds)) != 1:
        raise GaugeError(
            "behavioural and structural classes are not pooled" if kinds else "no task",
            where="tasks",
            found=", ".join(sorted(set(kinds))) or "none",
            expected="open-ended tasks or closed tasks",
            hint="report the two kinds of task apart",
        )
    return kinds[0]


def _runner(
    executor: Executor, limits: Limits | None, at_once: int | None
) -> Callable[[Sequence[Call]], list[Outputs]]:
    def run(calls: Sequence[Call]) -> list[Outputs]:
        ran = run_many(executor, [asked.job for asked in calls], limits=limits, at_once=at_once)
        return [read(asked, result) for asked, result in zip(calls, ran, strict=True)]

    return run


def _open(
    tasks: Sequence[OpenTask], programs: Sequence[str], run: Callable[[Sequence[Call]], list[Outputs]]
) -> list[_Verdict]:
    def behaviours(indices: Sequence[int]) -> list[_Verdict]:
        outputs = run([call(programs[i], tasks[i].entry, tasks[i].probes) for i in indices])
        return [_behaviour(o, parse_type(tasks[i].returns)) for i, o in zip(indices, outputs, strict=True)]

    found = behaviours(range(len(tasks)))
    again = [i for i, verdict in enumerate(found) if verdict.name]
    for i, second in zip(again, behaviours(again), strict=True):
        if second.name != found[i].name:
            found[i] = _Verdict("", second.reason or "returns something else on a second run")
    return found


def _behaviour(outputs: Outputs, declared: Declared) -> _Verdict:
    if outputs.reason:
        return _Verdict("", outputs.reason)
    try:
        values = [canonical(conform(value, declared)) for value in outputs.values]
    except WrongType as error:
        return _Verdict("", f"returns {error}")
    return _Verdict(content_hash(values), "")


def _closed(
    tasks: Sequence[ClosedTask], programs: Sequence[str], run: Callable[[Sequence[Call]], list[Outputs]]
) -> list[_Verdict]:
    calls = [
        call(program, task.entry, [case.arguments for case in task.cases])
        for task, program in zip(tasks, programs, strict=True)
    ]
    return [
        _structure(task, program, outputs) for task, program, outputs in zip(tasks, programs, run(calls), strict=True)
    ]


def _structure(task: ClosedTask, program: str, outputs: Outputs) -> _Verdict:
    if outputs.reason:
        return _Verdict("", outputs.reason)
    passed = sum(same(case.expected, value) for case, value in zip(task.cases, outputs.values, strict=True))
    if passed < len(task.cases):
        return _Verdict("", f"passes {passed} of {len(task.cases)} cases")
    shape = syntax_shape(program)
    if shape is None:
        return _Verdict("", "has a syntax tree that the parser does not know")
    return _Verdict(hashlib.sha256(shape.serialised.encode()).hexdigest(), "")
