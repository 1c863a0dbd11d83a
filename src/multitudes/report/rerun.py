"""What a reader needs to run the study again: its file, its commands, and what exactly spoke."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

from multitudes.report.words import clean
from multitudes.study.data import RunData
from multitudes.study.spec import StudySpec

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def study_toml(spec: StudySpec) -> str:
    """The study as the TOML file that ``multitudes study`` reads, every default written out."""
    lines: list[str] = []
    _table(spec.model_dump(mode="json", by_alias=True), "", lines)
    return clean("\n".join(lines).strip() + "\n")


def _table(values: dict[str, Any], path: str, lines: list[str]) -> None:
    nested: list[tuple[str, Any]] = []
    for key, value in values.items():
        whole = f"{path}.{_key(key)}" if path else _key(key)
        if value is None:
            continue
        if isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
            nested.append((whole, value))
        else:
            lines.append(f"{_key(key)} = {_inline(value)}")
    for whole, value in nested:
        for one in value if isinstance(value, list) else [value]:
            if one and any(v is not None for v in one.values()):
                lines.extend(["", f"[[{whole}]]" if isinstance(value, list) else f"[{whole}]"])
                _table(one, whole, lines)


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(k)} = {_inline(v)}" for k, v in value.items() if v is not None) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(v) for v in value if v is not None) + "]"
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("\x7f", "\\u007f") if isinstance(value, str) else text


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _inline(key)


def commands(run: RunData) -> tuple[str, ...]:
    """Command lines that make the run and this page again, relative to where the study file lies."""
    folder = shlex.quote(clean(run.folder.name) or "RUN")
    file = shlex.quote(f"{run.spec.name}.toml")
    simulator = run.info["models"].get("simulator", {})
    fetch = (f"multitudes models fetch {shlex.quote(simulator['name'])}",) if simulator.get("small_model") else ()
    return (
        *fetch,
        f"multitudes study {file} --out {folder}",
        f"multitudes show {folder} --json",
        f"multitudes report {folder}",
    )
