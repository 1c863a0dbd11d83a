"""Names for people who have none: drawn apart from everything else, so that a name carries no stance."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from multitudes.core.errors import PersonaError
from multitudes.personas._templates import lines_of

INITIALS = ("", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ")  # used in turn, once all plain pairs are taken


def draw_names(n: int, rng: np.random.Generator, *, taken: Collection[str] = ()) -> list[str]:
    """``n`` different names, none of them in ``taken``.

    First and last names come from our own lists of many cultures and are paired at random, without replacement:
    more than 2 * 10^5 pairs, then again with a middle initial. The names of a smaller ``n`` are the first ones of
    a larger ``n`` with the same generator state.

    Raises:
        PersonaError: If there are not that many names.
    """
    most = len(lines_of("wordlists", "first_names")) * len(lines_of("wordlists", "last_names")) * len(INITIALS)
    names = [] if n > most else [name for name, _ in zip(_stream(rng, frozenset(taken)), range(n), strict=False)]
    if len(names) < n:
        raise PersonaError("not enough names", found=repr(n), expected=f"at most {len(names) or most}")
    return names


def _stream(rng: np.random.Generator, taken: frozenset[str]) -> Iterator[str]:
    first, last = lines_of("wordlists", "first_names"), lines_of("wordlists", "last_names")
    for initial in INITIALS:
        middle = f" {initial}. " if initial else " "
        for pair in rng.permutation(len(first) * len(last)):
            given, family = first[pair // len(last)], last[pair % len(last)]
            name = given + middle + family
            if given != family and name not in taken:
                yield name
