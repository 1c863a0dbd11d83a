"""Memory that was freed and not given back.

A pass over thousands of tokens allocates and frees gigabytes in pieces of tens of megabytes. The C library of Linux
(glibc) keeps what a thread freed for the next time, and because sizes differ from pass to pass, what is kept grows to
several times of what was in use. Nothing has leaked; the process is only larger than it need be.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


def give_back() -> None:
    """Let the system have the pages that hold nothing. Some ten milliseconds; does nothing without glibc."""
    _trimmer()(0)


@cache
def _trimmer() -> Callable[[int], int]:
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library; Windows
        return lambda _padding: 0
    return found
