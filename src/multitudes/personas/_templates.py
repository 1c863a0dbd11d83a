"""Prompt templates: text files beside the code, filled in one pass and known by their hash."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from multitudes.core.canonical import content_hash

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@cache
def template(name: str) -> str:
    """Text of ``templates/NAME.txt``."""
    return (files(__package__) / "templates" / f"{name}.txt").read_text(encoding="utf-8")


@cache
def lines_of(folder: str, name: str) -> tuple[str, ...]:
    """Lines of ``FOLDER/NAME.txt`` that are not empty."""
    text = (files(__package__) / folder / f"{name}.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line.strip())


def fill(text: str, /, **values: str) -> str:
    r"""``text`` with every ``{name}`` replaced; a line with an empty value is left out.

    Only the template is searched for placeholders, once and line by line, so a value comes through byte for byte
    whatever it contains.

    >>> fill("Hello {who}.\nYou want {what}.", who="{what}", what="")
    'Hello {what}.'
    """
    kept = []
    for line in text.removesuffix("\n").split("\n"):
        names = _PLACEHOLDER.findall(line)
        if all(values[n] for n in names):
            kept.append(_PLACEHOLDER.sub(lambda m: values[m[1]], line))
    return "\n".join(kept)


def hash_of(*names: str) -> str:
    """SHA-256 of the named templates, 16 hex digits."""
    return content_hash([[n, template(n)] for n in names], length=16)
