"""How a role is drawn: colour and shape by z, a name where there is room, the key that says so.

Colour has two ends, blue and orange, which the common kinds of colour blindness keep apart. On grey paper both ends
are dark, so the shape says the side as well: a disc is nearer to the Assistant than the average role, a diamond is
farther.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from multitudes.report.axis_facts import Place, family_name
from multitudes.report.svg import Markup, picture, tag
from multitudes.report.words import percent, shortened, two

STEPS = 9  # colours; odd, so that the average role has one of its own
LETTER, BOLD = 6.7, 7.5  # mean width of a letter of a name, in pixels, in the widest of the page's fonts
LINE = 13  # height of a name
MAX_NAME = 24
ROUND = (0.0, math.pi, -math.pi / 2, math.pi / 2, -math.pi / 4, math.pi / 4, -3 * math.pi / 4, 3 * math.pi / 4)
REACH = (8.0, 16.0, 28.0, 44.0, 64.0, 90.0)  # how far a name may stand from its mark, nearest first

Box = tuple[float, float, float, float]
Spot = tuple[float, float]


def reach_of(roles: Iterable[Place]) -> float:
    """The largest |z|: both ends of the colours."""
    return max((abs(p.z) for p in roles if math.isfinite(p.z)), default=0.0) or 1.0


def tone(z: float, reach: float) -> str:
    """The class of the colour.

    >>> tone(-1.0, 1.0), tone(0.0, 1.0), tone(1.0, 1.0)
    ('t0', 't4', 't8')
    """
    if not math.isfinite(z):
        return "t4"
    return f"t{min(STEPS - 1, int((z / reach + 1) / 2 * STEPS))}"


def told(p: Place) -> str:
    """A role in words, for pointer, keyboard and screen reader."""
    kept = "" if p.kept is None else f"; {percent(p.kept)} of its answers in role"
    z = two(p.z) if math.isfinite(p.z) else "unknown"
    return f"{p.name}: z = {z}, {family_name(p.family)}{kept}"


def role_mark(p: Place, index: int, x: float, y: float, reach: float, r: float = 4.5) -> Markup:
    """A disc on the Assistant's side of the average role, a diamond on the other."""
    look = {"class_": f"role {tone(p.z, reach)}", "data_role": index, "data_name": p.name, "data_family": p.family}
    name = tag("title", told(p))
    if p.z >= 0:
        return tag("circle", name, cx=x, cy=y, r=r, **look)
    side = r * 1.7
    turned = f"rotate(45 {x:.2f} {y:.2f})"
    return tag("rect", name, x=x - side / 2, y=y - side / 2, width=side, height=side, transform=turned, **look)


def star(x: float, y: float, r: float = 11.0) -> Markup:
    """The default Assistant."""
    points = [
        (x + k * math.sin(i * math.pi / 5), y - k * math.cos(i * math.pi / 5))
        for i in range(10)
        for k in (r if i % 2 == 0 else r * 0.45,)
    ]
    name = tag("title", "the default Assistant: z = 1")
    return tag("polygon", name, class_="default", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in points))


def triangle(x: float, y: float, name: str) -> Markup:
    """A control without a role."""
    points = f"{x:.1f},{y - 5.5:.1f} {x + 5.5:.1f},{y + 4:.1f} {x - 5.5:.1f},{y + 4:.1f}"
    return tag("polygon", tag("title", name), class_="control", points=points)


def around(spot: Spot, r: float = 6.0) -> Box:
    """The box of a mark."""
    return spot[0] - r, spot[1] - r, spot[0] + r, spot[1] + r


def meets(a: Box, b: Box) -> bool:
    """Whether two boxes have a point in common."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


class Names:
    """Names beside marks, each where it lies on no other name, on no mark if that can be, and inside the frame."""

    def __init__(self, frame: Box, marks: Sequence[Spot], taken: Sequence[Box] = ()) -> None:
        self._frame, self._marks, self._taken = frame, [around(m) for m in marks], list(taken)

    def place(self, text: str, spot: Spot, index: int | None, *, must: bool, class_: str = "label") -> Markup | None:
        """The name, with a line to its mark where it stands apart; None if there is no room.

        Args:
            text: The name.
            spot: Where the mark is.
            index: Number of the role; None for anything else.
            must: Look farther away, and rather cover a mark than leave the name out.
            class_: Look of the text.
        """
        short = shortened(text, MAX_NAME)
        width = len(short) * (BOLD if "strong" in class_ else LETTER)
        for covers in (False, True) if must else (False,):
            for reach in REACH if must else REACH[:1]:
                for angle in ROUND:
                    box = _beside(spot, reach, angle, width)
                    if self._free(box, spot, covers=covers):
                        self._taken.append(box)
                        return _named(short, box, spot, index, class_, tied=reach > REACH[1])
        return None

    def _free(self, box: Box, spot: Spot, *, covers: bool) -> bool:
        f = self._frame
        if not (box[0] >= f[0] and box[1] >= f[1] and box[2] <= f[2] and box[3] <= f[3]):
            return False
        if any(meets(box, other) for other in self._taken):
            return False
        return covers or not any(meets(box, m) for m in self._marks if m != around(spot))


def _beside(spot: Spot, reach: float, angle: float, width: float) -> Box:
    """A box of a name whose nearest edge or corner is ``reach`` away from ``spot``."""
    dx, dy = math.cos(angle), math.sin(angle)
    x, y = spot[0] + reach * dx, spot[1] + reach * dy
    left = x if dx > 0.3 else x - width if dx < -0.3 else x - width / 2
    top = y if dy > 0.3 else y - LINE if dy < -0.3 else y - LINE / 2
    return left, top, left + width, top + LINE


def _named(text: str, box: Box, spot: Spot, index: int | None, class_: str, *, tied: bool) -> Markup:
    anchor, at = "middle", (box[0] + box[2]) / 2
    if box[0] >= spot[0]:  # beside its mark the name ends where the box does, however wide the letters turn out
        anchor, at = "start", box[0]
    elif box[2] <= spot[0]:
        anchor, at = "end", box[2]
    label = tag("text", text, class_=class_, x=at, y=box[3] - 3, text_anchor=anchor, data_label=index)
    if not tied:
        return label
    x, y = min(max(spot[0], box[0]), box[2]), min(max(spot[1], box[1]), box[3])
    return Markup(tag("line", class_="tie", x1=spot[0], y1=spot[1], x2=x, y2=y) + label)


def colour_key(reach: float) -> Markup:
    """The colours with the z they stand for, and the two shapes."""
    width, left, cell, low = 300, 8, 284 / STEPS, 46
    parts: list[object] = [
        tag("rect", class_=f"cell t{k}", x=left + k * cell, y=18, width=cell, height=12) for k in range(STEPS)
    ]
    for share, anchor, word in ((0.0, "start", "← away"), (0.5, "middle", "average role"),
                                (1.0, "end", "Assistant →")):  # fmt: skip
        x = left + share * STEPS * cell
        parts.append(tag("text", word, class_="axis", x=x, y=12, text_anchor=anchor))
    for share, anchor, away in ((0.0, "start", 16), (0.5, "middle", 0), (1.0, "end", -16)):
        x = left + share * STEPS * cell + away
        parts.append(tag("text", two((2 * share - 1) * reach), class_="tick", x=x, y=low, text_anchor=anchor))
    side = 4.5 * 1.7
    parts.append(tag("rect", class_="role t1", x=left + 5 - side / 2, y=low - 4 - side / 2, width=side, height=side,
                     transform=f"rotate(45 {left + 5} {low - 4})"))  # fmt: skip
    parts.append(tag("circle", class_="role t7", cx=left + STEPS * cell - 5, cy=low - 4, r=4.5))
    words = "Blue to orange by z; a diamond lies below 0, a disc above."
    return picture(parts, width, 52, title="Colours and shapes by z", description=words)
