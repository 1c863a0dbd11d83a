"""Values that a program returned: do they have the declared type, and are they the same?

A type is written as Python annotates it: ``int``, ``float``, ``bool``, ``str``, ``None``, ``Any``, ``list[T]``,
``set[T]``, ``dict[K, V]``, ``tuple[A, B]``, ``tuple[T, ...]``, ``A | B``. Types are exact: True is no int. As type
checkers have it, an int may stand where a float is declared, and is then that float.
"""

from __future__ import annotations

import ast
import json
from typing import Any, NamedTuple

from multitudes.core.errors import GaugeError

DIGITS = 9  # significant digits of a float that count
_SIMPLE: dict[str, Any] = {kind.__name__: kind for kind in (int, float, bool, str, list, tuple, dict, set)}
_ARITY = {"list": 1, "set": 1, "dict": 2}


class Declared(NamedTuple):
    """A declared type: its name and what it is made of. ``tuple[T, ...]`` is named ``tuple...``."""

    name: str
    parts: tuple[Declared, ...] = ()


class WrongType(ValueError):
    """A value that is not of the declared type. Caught by the gate: the answer is invalid."""


def parse_type(text: str) -> Declared:
    """A written type.

    Raises:
        GaugeError: A type that is not in the list above.

    >>> parse_type("list[int]")
    Declared(name='list', parts=(Declared(name='int', parts=()),))
    """
    try:
        return _parse(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, WrongType) as error:
        raise GaugeError(
            "a declared type that cannot be checked",
            where="returns",
            found=repr(text),
            expected="int, float, bool, str, None, Any, list[T], set[T], dict[K, V], tuple[...] or A | B",
        ) from error


def _parse(node: ast.expr) -> Declared:
    match node:
        case ast.Name(id=name) if name in _SIMPLE or name == "Any":
            return Declared(name)
        case ast.Constant(value=None):
            return Declared("None")
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return Declared("|", (_parse(left), _parse(right)))
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=[part, ast.Constant(value=end)])) if (
            end is ...
        ):
            return Declared("tuple...", (_parse(part),))
        case ast.Subscript(value=ast.Name(id=name), slice=inner) if name in (*_ARITY, "tuple"):
            parts = tuple(map(_parse, inner.elts if isinstance(inner, ast.Tuple) else [inner]))
            if len(parts) == _ARITY.get(name, len(parts)):
                return Declared(name, parts)
    raise WrongType(ast.unparse(node))


def conform(value: Any, declared: Declared) -> Any:
    """``value``, with ints where floats are declared made floats.

    Raises:
        WrongType: It is not of that type.
    """
    name, parts = declared
    if name == "Any" or (name == "None" and value is None):
        return value
    if name == "|":
        try:
            return conform(value, parts[0])
        except WrongType:
            return conform(value, parts[1])
    if name == "float" and type(value) is int:
        try:
            return float(value)
        except OverflowError as error:
            raise WrongType("an int too large for a float") from error
    kind = _SIMPLE.get(name.removesuffix("..."))
    if kind is None or type(value) is not kind:
        raise WrongType(f"{type(value).__name__} instead of {name}")
    if not parts:
        return value
    if name == "dict":
        return {conform(k, parts[0]): conform(v, parts[1]) for k, v in value.items()}
    if name == "tuple":
        if len(value) != len(parts):
            raise WrongType(f"a tuple of {len(value)} instead of {len(parts)}")
        return tuple(conform(v, part) for v, part in zip(value, parts, strict=True))
    return kind(conform(v, parts[0]) for v in value)


def canonical(value: Any) -> Any:
    """``value`` in JSON in which equal values are equal: floats have 9 significant digits, sets and keys an order."""
    if isinstance(value, float):
        return {"float": format(value + 0.0, f".{DIGITS}g")}  # -0.0 + 0.0 is 0.0
    if isinstance(value, list):
        return [canonical(v) for v in value]
    if isinstance(value, tuple):
        return {"tuple": [canonical(v) for v in value]}
    if isinstance(value, set):
        return {"set": sorted(map(canonical, value), key=_text)}
    if isinstance(value, dict):
        return {"dict": sorted(([canonical(k), canonical(v)] for k, v in value.items()), key=_text)}
    return value


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def same(expected: Any, found: Any) -> bool:
    """Whether two values are equal, floats to 9 significant digits, an int equal to a float of its value."""
    if {type(expected), type(found)} == {int, float}:
        try:
            expected, found = float(expected), float(found)
        except OverflowError:
            return False
    if type(expected) is not type(found):
        return False
    if isinstance(expected, list | tuple):
        return len(expected) == len(found) and all(map(same, expected, found))
    if isinstance(expected, dict):
        return expected.keys() == found.keys() and all(same(v, found[k]) for k, v in expected.items())
    return bool(canonical(expected) == canonical(found))
