"""The drift of a study as one figure of its report: both sides on the axis, over their own turns."""

from __future__ import annotations

import math

from multitudes.core.records import Reading
from multitudes.report.figures import Figure, why_missing, with_
from multitudes.report.svg import Series, curve_panel, nice_range
from multitudes.report.words import interval, number, shown, two

_SIDES = (("z_target_by_turn", "accent", "target"), ("z_user_by_turn", "ink", "simulated people"))


def drift_figure(reading: Reading | None) -> Figure:
    """Curves of z with bands; where there is no axis or no tap, a sentence in their place."""
    caption = (
        "Where the models were on the axis while they wrote, from their own activations: 0 is the average role, 1 "
        "the default Assistant. People who stay people keep near 0; a target that stays the Assistant keeps above "
        "the dashed line."
    )
    blank = Figure("drift", "Along the Assistant axis", caption, missing=why_missing(reading))
    if reading is None or blank.missing:
        return blank
    curves = {c.name: c for c in reading.curves}
    series = [
        Series(called, tone, tuple((p.x, p.value, _known(p.low), _known(p.high), p.n) for p in curves[name].points))
        for name, tone, called in _SIDES
        if name in curves and curves[name].points
    ]
    values = [v for s in series for p in s.points for v in p[1:4] if v is not None and math.isfinite(v)]
    if not values:
        return with_(blank, missing="No turn could be scored.")
    about = reading.tables.get("axis") or {}
    limit = _known(number(about.get("limit")))
    y = nice_range(min(*values, 0.0), max(*values, 1.0))
    told = "; ".join(
        f"{s.name}: {two(s.points[0][1])} at turn {s.points[0][0]:g}, {two(s.points[-1][1])} at turn "
        f"{s.points[-1][0]:g}"
        for s in series
    )
    edge = "edge of the default's range"
    body = curve_panel(series, y, x_label="own turn", tick=shown, null=limit, null_name="", title=blank.title,
                       description=told)  # fmt: skip
    rows = tuple(
        (s.name, f"{x:g}", two(v), interval(lo, hi, two), str(n)) for s in series for x, v, lo, hi, n in s.points
    )
    key = (*((s.tone, s.name) for s in series), *((("null", edge),) if limit is not None else ()))
    notes = tuple(
        f"{s.name.removeprefix('z_').capitalize()}: {s.note}." for s in reading.scores if s.value is None and s.note
    )
    where = (
        f"Layer {about.get('layer')} of {about.get('model') or 'the model'}, own activations, read while it wrote."
    )
    head = ("side", "own turn", "z", "95% interval", "n")
    return with_(blank, body=body, key=key, notes=(where, *notes), head=head, rows=rows)


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
