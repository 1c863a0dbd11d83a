"""Calls one function of an untrusted program on many inputs, in one start of the sandbox.

The driver is the program that the sandbox runs; the candidate reaches it as data on standard input. The driver moves
its real output to a private place before the candidate's first line, so whatever the candidate prints goes to
standard error and counts against the output limit. The result is one line that begins with a token drawn for this
run. Anything else on that channel, a second line, a missing one, is no result.

A candidate shares a process with the driver, so a very hostile one could find the token and write the line itself. It
then has claimed outputs, as a function that returns these outputs would: types, expected values and repetition are
all checked outside, and expected values never enter the sandbox. There is no verdict inside to forge.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

from multitudes.sandbox.executor import Job, Ran

MOST_NESTING = 40

DRIVER = f"""
import json, os, sys


def encode(value, left={MOST_NESTING}):
    kind = type(value)
    if not left:
        raise ValueError("nested too deep")
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return {{"float": repr(value)}}
    if kind is list:
        return [encode(v, left - 1) for v in value]
    if kind in (tuple, set):
        return {{kind.__name__: [encode(v, left - 1) for v in value]}}
    if kind is dict:
        return {{"dict": [[encode(k, left - 1), encode(v, left - 1)] for k, v in value.items()]}}
    raise TypeError(kind.__name__)


def outcome(source, entry, inputs, loads):
    try:
        code = compile(source, "candidate", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {{"error": "does not parse"}}
    names = {{"__name__": "candidate"}}
    try:
        exec(code, names)
    except BaseException as error:
        return {{"error": "fails when loaded: " + type(error).__name__}}
    function = names.get(entry)
    if not callable(function):
        return {{"error": "does not define the entry point"}}
    outputs = []
    for text in inputs:
        try:
            value = function(*loads(text))
        except BaseException as error:
            return {{"error": "raises on an input: " + type(error).__name__}}
        try:
            outputs.append(encode(value))
        except BaseException as error:
            return {{"error": "returns what is no plain value: " + str(error)[:80]}}
    return {{"outputs": outputs}}


def main(dumps=json.dumps, write=os.write, leave=os._exit):
    task = json.load(sys.stdin)
    token = task.pop("token")
    out = os.dup(1)
    os.dup2(2, 1)
    os.close(0)
    line = (token + " " + dumps(outcome(**task, loads=json.loads)) + "\\n").encode()
    while line:
        line = line[write(out, line):]
    leave(0)


main()
"""


class Outputs(NamedTuple):
    """What a function returned on each input; ``reason`` says why there is nothing, and is empty if there is."""

    values: tuple[Any, ...]
    reason: str


class Call(NamedTuple):
    """A run of the driver: what to hand to the sandbox, and how to know its answer."""

    job: Job
    token: str
    inputs: int


def call(source: str, entry: str, inputs: Sequence[Sequence[Any]]) -> Call:
    """The job that calls ``entry`` of ``source`` once per input: a sequence of arguments in plain JSON values."""
    token = secrets.token_hex(16)
    texts = [json.dumps(list(arguments), allow_nan=False) for arguments in inputs]
    stdin = json.dumps({"token": token, "source": source, "entry": entry, "inputs": texts})
    return Call(Job(DRIVER, stdin), token, len(texts))


def read(asked: Call, ran: Ran) -> Outputs:
    """The outputs of a run. Anything odd is a reason, never an exception: the candidate may have written it."""
    if ran.status != "ok":
        return Outputs((), ran.status)
    prefix = asked.token + " "
    if not (ran.stdout.startswith(prefix) and ran.stdout.count("\n") == 1 and ran.stdout.endswith("\n")):
        return Outputs((), "ends without a result")
    try:
        found = json.loads(ran.stdout.removeprefix(prefix))
        if isinstance(found, dict) and isinstance(found.get("error"), str):
            return Outputs((), found["error"][:200])
        values = tuple(_decode(value) for value in found["outputs"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Outputs((), "ends with an odd result")
    return Outputs(values, "") if len(values) == asked.inputs else Outputs((), "ends with an odd result")


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(v) for v in value]
    if not isinstance(value, dict):
        if isinstance(value, float):
            raise ValueError("a float that was not marked as one")
        return value
    ((kind, inner),) = value.items()
    match kind:
        case "float":
            return float(inner)
        case "tuple":
            return tuple(_decode(v) for v in inner)
        case "set":
            return {_decode(v) for v in inner}
        case "dict":
            return {_decode(k): _decode(v) for k, v in inner}
    raise ValueError("an unknown kind of value")
