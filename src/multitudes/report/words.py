"""Numbers and names in a form a reader can take in, and text in a form a page can hold."""

from __future__ import annotations

import math
import re
from typing import Any

_CONTROL = {i: chr(0x2400 + i) for i in range(32) if chr(i) not in "\t\n\r"} | {0x7F: "␡"}
_HIDDEN = re.compile("[\x80-\x9f\u202d\u202e\ud800-\udfff\ufffe\uffff]")

GAUGES = {
    "leak": "Sounding like the Assistant",
    "listener": "Telling the people apart",
    "coverage": "Space that is covered, and obedience",
    "variance": "Person or noise",
    "diversity": "Variety of words",
    "fluency": "Still language",
    "drift": "Along the Assistant axis",
}
STOPS = {
    "max_turns": "all turns held",
    "user_done": "the person was done",
    "endless_goodbye": "endless goodbyes",
    "target_closed": "the target closed it",
    "budget": "stopped by the budget",
    "simulator_fault": "simulator's fault",
    "target_fault": "target's fault",
    "provider_fault": "provider's fault",
    "config_fault": "configuration's fault",
    "imported": "read from a file",
}


def clean(text: str) -> str:
    """The text with every character that a page cannot hold made visible: control pictures, or U+FFFD.

    Directional overrides count among them: they would turn the page's own words around.
    """
    return _HIDDEN.sub("\ufffd", text.translate(_CONTROL))


def cleaned(value: Any) -> Any:
    """The same for every string of plain data, keys included."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(str(k)): cleaned(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(v) for v in value]
    return value


def number(value: Any) -> float | None:
    """A number of a stored table: NaN and infinities travel as strings there."""
    return None if value is None else float(value)


def shown(value: float | None) -> str:
    """A number to three digits; ``n/a`` where none applies and ``unscored`` where one could not be had.

    >>> [shown(v) for v in (None, math.nan, -0.0535449, 36047.1, math.inf)]
    ['n/a', 'unscored', '−0.0535', '36,000', '∞']
    """
    if value is None:
        return "n/a"
    if math.isnan(value):
        return "unscored"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    rounded = float(f"{value:.3g}")
    small = 0 < abs(rounded) < 1e-4
    text = f"{rounded:.2e}" if small else f"{rounded:,.10f}".rstrip("0").rstrip(".")
    return text.replace("-", "−") if text not in ("-0",) else "0"


def percent(value: float | None) -> str:
    """A share in words.

    >>> [percent(v) for v in (0.0625, 0.00002, 1.0, None)]
    ['6%', 'under 0.1%', '100%', 'n/a']
    """
    if value is None or math.isnan(value) or math.isinf(value):
        return shown(value)
    if 0 < abs(value) < 0.001:
        return "under 0.1%" if value > 0 else "about 0%"
    digits = 1 if abs(value) < 0.0095 else 0
    return f"{value * 100:.{digits}f}%".replace("-", "−")


def two(value: float) -> str:
    """A number to two places, for a figure.

    >>> two(-0.0002), two(-0.518), two(2.0)
    ('0', '−0.52', '2')
    """
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text.replace("-", "−")


def shortened(text: str, most: int) -> str:
    """At most ``most`` characters.

    >>> shortened("Patience on the line", 9)
    'Patience…'
    """
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def interval(low: float | None, high: float | None, form: Any = shown) -> str:
    """``low to high``, or nothing."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return ""
    return f"{form(low)} to {form(high)}"


def counted(n: int, one: str, many: str | None = None) -> str:
    """``1 person``, ``2 people``."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """Seconds in the two largest units that say something."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


_PARTS = re.compile(r"(?P<aside>\([^()]*\))|(?P<number>[+−-]?\d[\d,.]*(?:\s?%|(?= of \d))?)")


def emphasised(sentence: str) -> list[tuple[str, str]]:
    """A headline in pieces: ``plain``, ``number`` (what the eye should find) and ``aside`` (intervals in brackets).

    >>> emphasised("Right 75% of the time (56% to 94%).")
    [('plain', 'Right '), ('number', '75%'), ('plain', ' of the time '), ('aside', '(56% to 94%)'), ('plain', '.')]
    """
    out: list[tuple[str, str]] = []
    at = 0
    for found in _PARTS.finditer(sentence):
        if found.start() > at:
            out.append(("plain", sentence[at : found.start()]))
        kind = "aside" if found["aside"] else "number"
        text = found[0]
        if kind == "number" and text[-1] in ".,":  # the end of the sentence is no part of the number
            text = text[:-1]
        out.append((kind, text))
        at = found.start() + len(text)
    if at < len(sentence):
        out.append(("plain", sentence[at:]))
    return out
