"""``multitudes plan``: how many people, questions and runs, before anything is asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multitudes.cli._show import console, ending, print_json, print_table

if TYPE_CHECKING:
    from multitudes.measure.variance.planner import Choice, Plan
    from multitudes.measure.variance.power import Power

app = typer.Typer(help="Plan a study: sizes, cost and power before anything is spent.", no_args_is_help=True)

PILOT_KEYS = ("persona", "interaction", "run", "wording", "icc_low", "placebo_icc")
DEFAULT_ICC = 0.3


@app.callback()
def _group() -> None:
    """Keeps ``variance`` a command of its own although it is the only one."""


@app.command()
def variance(
    icc: Annotated[
        float | None, typer.Option(help=f"Assumed ICC_within of the personas (else {DEFAULT_ICC}).")
    ] = None,
    components: Annotated[
        str | None, typer.Option(help="Instead: variances PERSONA,INTERACTION,RUN[,WORDING].")
    ] = None,
    pilot: Annotated[Path | None, typer.Option(help="Instead: a JSON file with persona, interaction, run.")] = None,
    icc_low: Annotated[float | None, typer.Option(help="Unfavourable end of the ICC.")] = None,
    placebo_icc: Annotated[float | None, typer.Option(help="ICC_within of random texts (else 0.1).")] = None,
    power: Annotated[float, typer.Option(help="Probability of support that is enough.")] = 0.8,
    factor: Annotated[float, typer.Option(help="Factor in noise ratio that is human-like; strict: 1.5.")] = 2.0,
    human: Annotated[bool, typer.Option("--human/--no-human", help="People answered these items twice.")] = True,
    tokens: Annotated[str, typer.Option(help="Tokens of a persona, an item, an answer.")] = "150,60,8",
    rates: Annotated[str | None, typer.Option(help="Tokens per second PREFILL,DECODE; else embedded model.")] = None,
    prices: Annotated[str | None, typer.Option(help="USD per million tokens PROMPT,COMPLETION.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """The cheapest design that can tell persona signal from noise, its cost, and the alternatives."""
    with ending():
        from multitudes.measure.variance.planner import PLACEBO_ICC, Rates, Tokens, plan
        from multitudes.measure.variance.power import HUMAN_LOG_SE
        from multitudes.measure.variance.questions import Margins
        from multitudes.models.budget import Prices
        from multitudes.study.dry_run import EMBEDDED_DECODE_TPS, EMBEDDED_PREFILL_TPS

        found = _assumptions(icc, components, pilot)
        told = {"icc_low": icc_low, "placebo_icc": placebo_icc}
        more = {**{k: found[k] for k in told if k in found}, **{k: v for k, v in told.items() if v is not None}}
        speed = _numbers("--rates", rates, 2, positive=True) if rates else [EMBEDDED_PREFILL_TPS, EMBEDDED_DECODE_TPS]
        made = plan(
            found["assumed"],
            icc_low=more.get("icc_low"),
            placebo_icc=more.get("placebo_icc", PLACEBO_ICC),
            power=power,
            human=HUMAN_LOG_SE if human else None,
            margins=Margins(q2=factor),
            tokens=Tokens(*(int(x) for x in _numbers("--tokens", tokens, 3))),
            rates=Rates(*speed),
            prices=Prices(*_numbers("--prices", prices, 2)) if prices else None,
        )
        if as_json:
            print_json(_as_data(made))
            return
        for line in _lines(made, power, embedded=rates is None):
            console.print(line, markup=False)
        print_table(_table(made))


def _assumptions(icc: float | None, components: str | None, pilot: Path | None) -> dict[str, Any]:
    """The assumed components and whatever else a pilot file says."""
    from multitudes.core.errors import ConfigError
    from multitudes.measure.variance.power import Assumed, from_icc

    given = {"--icc": icc, "--components": components, "--pilot": pilot}
    if sum(value is not None for value in given.values()) > 1:
        named = ", ".join(name for name, value in given.items() if value is not None)
        raise ConfigError("assumptions are there twice", found=named, expected="one of --icc, --components, --pilot")
    if components is not None:
        return {"assumed": Assumed(*_numbers("--components", components, 3, 4))}
    if pilot is None:
        return {"assumed": from_icc(DEFAULT_ICC if icc is None else icc)}
    values = {k: max(v, 0.0) for k, v in _read_pilot(pilot).items()}  # estimates may fall below 0
    parts = {k: values.pop(k) for k in Assumed._fields if k in values}
    return {"assumed": Assumed(**parts), **values}


def _read_pilot(path: Path) -> dict[str, float]:
    import json

    from multitudes.core.errors import DataFormatError

    expected = f"an object of numbers: {', '.join(PILOT_KEYS[:3])}; optional {', '.join(PILOT_KEYS[3:])}"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataFormatError("a pilot that cannot be read", where=str(path), found=str(error)) from error
    wrong = (
        [repr(values)[:60]]
        if not isinstance(values, dict)
        else [f"no {k!r}" for k in PILOT_KEYS[:3] if k not in values]
        + [f"unknown {k!r}" for k in values if k not in PILOT_KEYS]
        + [f"{k} = {v!r}" for k, v in values.items() if not _is_number(v)]
    )
    if wrong:
        raise DataFormatError("a pilot of another form", where=str(path), found=", ".join(wrong), expected=expected)
    return {k: float(v) for k, v in values.items()}


def _is_number(value: object) -> bool:
    from math import isfinite

    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _numbers(name: str, text: str, *counts: int, positive: bool = False) -> list[float]:
    from math import isfinite

    from multitudes.core.errors import ConfigError

    try:
        found = [float(x) for x in text.split(",")]
    except ValueError:
        found = []
    if len(found) not in counts or not all(isfinite(x) and (x > 0 if positive else x >= 0) for x in found):
        what = f"{' or '.join(map(str, counts))} numbers {'above' if positive else 'of at least'} 0"
        raise ConfigError("a list of numbers is wrong", where=name, found=repr(text), expected=f"{what}, with commas")
    return found


def _lines(made: Plan, power: float, *, embedded: bool) -> list[str]:
    from multitudes.measure.variance.power import PLACEBO_PERSONAS, runs_for_reliability, trait_power

    a = made.assumed
    lines = [
        f"assumed: persona {a.persona:.3g}, interaction {a.interaction:.3g}, run {a.run:.3g}, "
        f"wording {a.wording:.3g} (ICC_within {a.icc:.2f}); random texts {made.placebo.icc:.2f}"
    ]
    if made.best is None:
        return [*lines, f"no design of the grid supports Q1 and Q2 with probability {power:g}; the nearest:"]
    best, d, cost = made.best, made.best.design, made.best.cost
    lines += [
        f"cheapest: {d.personas} personas x {d.items} items x {d.wordings} wordings x {d.runs} runs, "
        f"and three arms of {PLACEBO_PERSONAS}: none, random texts, shuffled",
        f"calls: {cost.calls:,}",
        f"tokens in: {cost.prompt:,}; {cost.prefill:,} new to an engine that reuses prefixes",
        f"tokens out: {cost.decode:,}",
        f"time: about {cost.seconds / 60:,.1f} minutes"
        + (" for the embedded model on two cores" if embedded else ""),
        "money: none, or unknown; give --prices" if cost.usd is None else f"money: {cost.usd:,.2f} USD",
        f"power, simulated: {_powers(best.simulated)}",
    ]
    if d.wordings == 1:
        lines.append("one wording: what a persona makes of a wording counts as persona signal")
    if made.unfavourable is not None:
        lines.append(f"power at the unfavourable end: {_powers(made.unfavourable)}")
    lines.append(f"power that personas differ across items (σ²_p > 0): {trait_power(a, d):.2f}")
    lines.append(f"runs for a persona's mean on one item, reliability 0.8: {runs_for_reliability(a.icc)}")
    return lines


def _powers(found: Power | None) -> str:
    if found is None:
        return "-"
    q2 = "Q2 not assessed" if found.q2 is None else f"Q2 {found.q2:.2f}, both {found.both:.2f}"
    return f"Q1 {found.q1:.2f}, {q2}"


def _table(made: Plan) -> Any:
    from rich.table import Table

    table = Table(title="alternatives, cheapest first: power by formula, and simulated", box=None)
    for name in ("P", "I", "V", "R", "calls", "minutes", "USD", "Q1", "Q2", "both", "simulated"):
        table.add_column(name, justify="right")
    for c in made.alternatives:
        row = [*map(str, c.design), f"{c.cost.calls:,}", f"{c.cost.seconds / 60:,.1f}"]
        row += ["-" if c.cost.usd is None else f"{c.cost.usd:,.2f}"]
        row += ["-" if x is None else f"{x:.2f}" for x in c.formula]
        table.add_row(*row, "-" if c.simulated is None else f"{c.simulated.both:.2f}")
    return table


def _as_data(made: Plan) -> dict[str, Any]:
    return {
        "assumed": {**made.assumed._asdict(), "icc_within": made.assumed.icc},
        "placebo": {**made.placebo._asdict(), "icc_within": made.placebo.icc},
        "best": None if made.best is None else _choice(made.best),
        "unfavourable": None if made.unfavourable is None else made.unfavourable._asdict(),
        "alternatives": [_choice(c) for c in made.alternatives],
    }


def _choice(c: Choice) -> dict[str, Any]:
    return {
        "design": c.design._asdict(),
        "cost": c.cost._asdict(),
        "power_by_formula": c.formula._asdict(),
        "power_simulated": None if c.simulated is None else c.simulated._asdict(),
    }
