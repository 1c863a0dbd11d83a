"""Structured replies: how to ask for JSON, how to read it out of a text, and whether it follows its schema.

The schemas are a small part of JSON Schema: ``type``, ``properties``, ``required``, ``enum``, ``items``,
``additionalProperties``, ``minimum``, ``maximum``, ``minItems``, ``maxItems``, and words that only describe. A schema
with any other word is refused before a call is made, because a rule that is not checked is worse than none.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from multitudes.core.errors import ConfigError
from multitudes.models.base import Message, Reply, ReplyFault, Request
from multitudes.models.retry import TryFailed

JsonMode = Literal["json_schema", "json_object", "instructions"]
JSON_MODES: tuple[JsonMode, ...] = ("json_schema", "json_object", "instructions")  # from the strongest down

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,), "number": (int, float),
    "boolean": (bool,), "null": (type(None),),
}  # fmt: skip
_RULES = {
    "type", "properties", "required", "enum", "items", "additionalProperties",
    "minimum", "maximum", "minItems", "maxItems",
}  # fmt: skip
_DESCRIPTIONS = {"title", "description", "default", "examples", "$schema", "$id", "$comment"}

_FENCED = re.compile(r"\s*```\w*\s*\n(.*?)\n?\s*```\s*", re.DOTALL)
_QUOTED_OR_BRACE = re.compile(r'"(?:[^"\\]|\\.)*"|[{}]', re.DOTALL)


class BadJson(ValueError):
    """A text without one readable JSON value."""


# --- asking ----------------------------------------------------------------------------------------------------


def response_format(mode: JsonMode, schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """The request field that asks a server for JSON; None where only words can ask."""
    if mode == "json_schema":
        return {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}
    return {"type": "json_object"} if mode == "json_object" else None


def with_instructions(messages: tuple[Message, ...], schema: Mapping[str, Any]) -> tuple[Message, ...]:
    """``messages`` whose system message also asks for JSON that follows ``schema``."""
    ask = f"Answer with one JSON value that follows this JSON schema, and nothing else:\n{json.dumps(schema)}"
    if messages[0].role == "system":
        return (Message("system", f"{messages[0].text}\n\n{ask}".lstrip()), *messages[1:])
    return (Message("system", ask), *messages)


def with_repair(
    messages: tuple[Message, ...], *, bad: str, errors: Sequence[str], schema: Mapping[str, Any]
) -> tuple[Message, ...]:
    """``messages`` followed by a bad answer and what is wrong with it."""
    ask = (
        "That answer cannot be used: " + "; ".join(errors) + ". Answer again with one JSON value that follows this "
        f"JSON schema, and nothing else:\n{json.dumps(schema)}"
    )
    return (*messages, Message("assistant", bad), Message("user", ask))


class JsonAsker:
    """Asks for JSON in the strongest way a server takes, reads it, and repairs it once.

    Args:
        ask: One call. Raises ``TryFailed`` with status 400 or 422 for a mode the server does not take.
    """

    def __init__(self, ask: Callable[[Request, JsonMode], Awaitable[Reply]]) -> None:
        self._ask = ask
        self._mode = 0  # index into JSON_MODES: the strongest that was not refused yet

    async def ask(self, request: Request) -> Reply:
        """A reply with ``data``, or with the fault ``parse`` and the raw text.

        Raises:
            TryFailed: The first call failed.
        """
        schema = request.schema or {}
        first = await self._ask_in_best_mode(request)
        if first.fault:
            return first
        data, errors = read_json(first.text, schema)
        if not errors:
            return replace(first, data=data)
        messages = with_repair(request.messages, bad=first.text, errors=errors, schema=schema)
        try:
            second = await self._ask_in_best_mode(replace(request, messages=messages))
        except TryFailed as failure:
            fault = ReplyFault(failure.code, f"while repairing ({'; '.join(errors)}): {failure.detail}")
            return replace(first, text="", finish="error", tries=first.tries + failure.tries, fault=fault)
        both = _with_both_bills(first, second)
        if second.fault:
            return both
        data, errors = read_json(second.text, schema)
        if errors:
            return replace(both, finish="error", fault=ReplyFault("parse", "; ".join(errors)))
        return replace(both, data=data)

    async def _ask_in_best_mode(self, request: Request) -> Reply:
        """What the server refuses and takes in a weaker mode is not tried again."""
        mode = self._mode
        while True:
            try:
                reply = await self._ask(request, JSON_MODES[mode])
            except TryFailed as failure:
                refused = failure.code == "refused" and failure.status in (400, 422)
                if not refused or mode == len(JSON_MODES) - 1:
                    raise
                mode += 1
            else:
                self._mode = max(self._mode, mode)
                return reply


def _with_both_bills(first: Reply, second: Reply) -> Reply:
    """``second``, which repaired ``first``, with what the two cost together."""
    known = first.cost_usd is not None and second.cost_usd is not None
    return replace(
        second,
        usage=first.usage + second.usage,
        cost_usd=(first.cost_usd or 0.0) + (second.cost_usd or 0.0) if known else None,
        latency_s=first.latency_s + second.latency_s,
        tries=first.tries + second.tries,
    )


# --- reading ---------------------------------------------------------------------------------------------------


def parse_json(text: str) -> Any:
    """The JSON value that ``text`` is, with or without a code fence, or else the first balanced object in it.

    An object that was cut off is never replaced by a smaller one inside it.

    >>> parse_json('Sure! {"label": "calm"} Anything else?')
    {'label': 'calm'}

    Raises:
        BadJson: No such value, a key twice in one object, or a number JSON does not have.
    """
    fenced = _FENCED.fullmatch(text)
    whole = fenced[1] if fenced else text
    try:
        return _strict(whole)
    except json.JSONDecodeError:
        pass  # prose around it
    except BadJson:
        if whole.lstrip().startswith(("{", "[", '"')) or "{" not in whole:
            raise
        # prose that begins with a word such as Infinity
    start, depth = 0, 0
    for token in _QUOTED_OR_BRACE.finditer(text):
        if token[0] == "{":
            start = start if depth else token.start()
            depth += 1
        elif token[0] == "}" and depth:
            depth -= 1
            if depth == 0:
                try:
                    return _strict(text[start : token.end()])
                except json.JSONDecodeError:
                    continue  # braces in prose
    raise BadJson("no complete JSON object")


def read_json(text: str, schema: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """The JSON value in ``text``, and what is wrong with it; None where there is no value."""
    try:
        data = parse_json(text)
    except BadJson as error:
        return None, [str(error)]
    return data, check_schema(data, schema)


def _strict(text: str) -> Any:
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
        json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError:
        raise
    except UnicodeEncodeError:
        raise BadJson("half of a surrogate pair") from None
    except RecursionError:
        raise BadJson("nested too deeply") from None
    except ValueError as error:  # a number of more digits than Python converts, or one of ours
        raise BadJson(str(error)) from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [k for k, _ in pairs]
        raise BadJson("key twice in one object: " + repr(next(k for k in keys if keys.count(k) > 1)))
    return value


def _no_constant(name: str) -> Any:
    raise BadJson(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise BadJson(f"{digits} is too large")
    return value


# --- checking --------------------------------------------------------------------------------------------------


def refuse_unknown_rules(schema: Mapping[str, Any], *, where: str = "schema") -> None:
    """Refuse a schema with a word that ``check_schema`` does not check.

    Raises:
        ConfigError: Naming the word and its path.
    """
    unknown = sorted(set(schema) - _RULES - _DESCRIPTIONS)
    if unknown:
        raise ConfigError("unknown schema words", where=where, found=", ".join(unknown), expected=_listed(_RULES))
    types = _types_of(schema)
    if not set(types) <= set(_TYPES):
        raise ConfigError("unknown type", where=f"{where}.type", found=repr(types), expected=_listed(_TYPES))
    for name, part in schema.get("properties", {}).items():
        refuse_unknown_rules(part, where=f"{where}.properties.{name}")
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), Mapping):
            refuse_unknown_rules(schema[word], where=f"{where}.{word}")


def check_schema(data: Any, schema: Mapping[str, Any], *, path: str = "$") -> list[str]:
    """What is wrong with ``data``, one line each with its path; empty if it follows ``schema``.

    ``true`` is no number and ``1.0`` no integer.

    >>> check_schema({"age": "old"}, {"type": "object", "properties": {"age": {"type": "integer"}}})
    ["$.age: expected integer, found 'old'"]
    """
    types = _types_of(schema)
    if types and not any(_is_a(data, t) for t in types):
        return [f"{path}: expected {' or '.join(types)}, found {_short(data)}"]
    errors = []
    if "enum" in schema and not any(type(data) is type(e) and data == e for e in schema["enum"]):
        errors.append(f"{path}: expected one of {list(schema['enum'])!r}, found {_short(data)}")
    if isinstance(data, dict):
        errors += _check_object(data, schema, path)
    elif isinstance(data, list):
        errors += _check_bounds(len(data), schema, "minItems", "maxItems", f"{path} (length)")
        if "items" in schema:
            for i, item in enumerate(data):
                errors += check_schema(item, schema["items"], path=f"{path}[{i}]")
    elif _is_a(data, "number"):
        errors += _check_bounds(data, schema, "minimum", "maximum", path)
    return errors


def _check_object(data: dict[str, Any], schema: Mapping[str, Any], path: str) -> list[str]:
    errors = [f"{path}.{key}: missing" for key in schema.get("required", ()) if key not in data]
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    for key, value in data.items():
        if key in known:
            errors += check_schema(value, known[key], path=f"{path}.{key}")
        elif isinstance(others, Mapping):
            errors += check_schema(value, others, path=f"{path}.{key}")
        elif not others:
            errors.append(f"{path}.{key}: not allowed")
    return errors


def _check_bounds(value: float, schema: Mapping[str, Any], low: str, high: str, path: str) -> list[str]:
    errors = []
    if low in schema and value < schema[low]:
        errors.append(f"{path}: expected at least {schema[low]}, found {value}")
    if high in schema and value > schema[high]:
        errors.append(f"{path}: expected at most {schema[high]}, found {value}")
    return errors


def _is_a(data: Any, name: str) -> bool:
    return isinstance(data, _TYPES[name]) and (name == "boolean" or not isinstance(data, bool))


def _types_of(schema: Mapping[str, Any]) -> tuple[str, ...]:
    types = schema.get("type", ())
    return (types,) if isinstance(types, str) else tuple(types)


def _short(data: Any) -> str:
    text = repr(data)
    return text if len(text) <= 60 else text[:60] + "..."


def _listed(names: Any) -> str:
    return ", ".join(sorted(names))
