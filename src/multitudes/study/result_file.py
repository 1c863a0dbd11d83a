"""A result as a JSON file, whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multitudes.core.errors import StoreError


def write_result(result: Mapping[str, Any], path: Path) -> Path:
    """Write plain values, whole or not at all.

    Raises:
        StoreError: It cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(result, ensure_ascii=False, allow_nan=False, indent=1) + "\n"
        part.write_text(text, encoding="utf-8", errors="replace")
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StoreError("cannot be written", where=str(path), found=error.strerror or str(error)) from error
    return path
