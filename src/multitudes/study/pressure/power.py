"""How many base prompts an effect needs, in one sentence that is printed before anything is asked."""

from __future__ import annotations

from multitudes.measure.retention.power import detectable, prompts_needed
from multitudes.measure.retention.verdict import MIN_CLUSTERS_FOR_VERDICT
from multitudes.study.pressure.spec import PressureSpec


def power_line(spec: PressureSpec) -> str:
    """What the run can find, and what it would need.

    >>> from multitudes.study.pressure.spec import make_spec
    >>> power_line(make_spec("small")).split(":")[0]
    'power'
    """
    need = prompts_needed(spec.effect, spec.sd, spec.correlation)
    family = prompts_needed(spec.effect, spec.sd, spec.correlation, tests=max(1, len(spec.pressing)))
    least = detectable(spec.prompts, spec.sd, spec.correlation)
    line = (
        f"power: a difference of {spec.effect:g} in AUC_R (SD {spec.sd:g}, r {spec.correlation:g}) needs {need} base "
        f"prompts, {family} with all {len(spec.pressing)} pressures in one family; this run has {spec.prompts} and "
        f"finds {least:.2f} at best"
    )
    if spec.prompts < MIN_CLUSTERS_FOR_VERDICT:
        line += f", so it gives numbers and no verdict (at least {MIN_CLUSTERS_FOR_VERDICT} are needed for one)"
    return line
