"""TOML with line numbers: the standard reader has none, and an error without a line is half an error."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from multitudes.core.errors import DataFormatError

KeyPath = tuple[str | int, ...]

_HEADER = re.compile(r"""\s*(\[\[?)\s*([\w."' -]+?)\s*\]\]?\s*(#.*)?$""")
_KEY = re.compile(r"""\s*("[^"]*"|'[^']*'|[A-Za-z0-9_.-]+)\s*=""")
_QUOTES = re.compile('"""' + "|'''")


def read_text(path: Path) -> str:
    """Text of a UTF-8 file, without a byte order mark.

    Raises:
        DataFormatError: If the file is missing or not UTF-8; names line and byte.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataFormatError(
            "cannot be read", where=str(path), found=error.strerror or str(error), hint="check the path"
        ) from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise not_utf8(f"{path}:{line}", error) from error


def not_utf8(where: str, error: UnicodeDecodeError) -> DataFormatError:
    """The error for bytes that are not UTF-8."""
    return DataFormatError(
        "the file is not UTF-8",
        where=where,
        found=f"byte 0x{error.object[error.start]:02x}",
        expected="UTF-8 text",
        hint="save it as UTF-8, for example: iconv -f LATIN1 -t UTF-8 OLD > NEW",
    )


def parse(text: str, *, where: str) -> dict[str, Any]:
    """The TOML document.

    Raises:
        DataFormatError: If it is not TOML; the message has line and column.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DataFormatError("not valid TOML", where=where, found=str(error), hint="mend that line") from error


def key_lines(text: str) -> dict[KeyPath, int]:
    """Line number, from 1, of every table header and every ``key =`` in a TOML document.

    Keys inside inline tables and arrays are not listed: ``line_of`` gives the line of what holds them.
    """
    lines: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    prefix: KeyPath = ()
    quote = ""  # the mark that ends the multi-line string we are in
    for number, line in enumerate(text.splitlines(), start=1):
        rest = line
        if not quote:
            if header := _HEADER.match(line):
                prefix = _names(header[2])
                if header[1] == "[[":
                    counts[prefix] = counts.get(prefix, -1) + 1
                    prefix = (*prefix, counts[prefix])
                lines.setdefault(prefix, number)
                continue
            if key := _KEY.match(line):
                lines.setdefault((*prefix, *_names(key[1])), number)
        for mark in _QUOTES.findall(rest):
            quote = mark if not quote else ("" if mark == quote else quote)
    return lines


def _names(dotted: str) -> KeyPath:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def line_of(lines: dict[KeyPath, int], path: KeyPath) -> int:
    """Line of ``path``, else of the nearest thing that holds it."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)
