"""``multitudes axis chat``: talk, and see after every turn where on the axis it lies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from multitudes.cli._show import console, ending

WIDTH = 41  # columns of the ruler
LOW, HIGH = -1.0, 2.0  # z at its ends; beyond them the mark is an arrow


def chat(
    folder: Annotated[Path, typer.Argument(help="Folder of an axis.")],
    model: Annotated[str, typer.Argument(help="The model it was fitted on.")] = "smollm2",
    role: Annotated[str | None, typer.Option(help="A role of the shipped set, such as lighthouse-keeper.")] = None,
    system: Annotated[str, typer.Option(help="System text, instead of a role.")] = "",
    cap: Annotated[bool, typer.Option("--cap", help="Hold the projection above the recommended floor.")] = False,
    hold: Annotated[bool, typer.Option("--hold", help="Keep the role inside its own range.")] = False,
    steer: Annotated[
        float, typer.Option(help="Push along the axis, in mean token lengths; < 0 is away from the Assistant.")
    ] = 0.0,
    max_tokens: Annotated[int, typer.Option(help="Longest reply.")] = 60,
    temperature: Annotated[float, typer.Option(help="0 is the most likely words.")] = 0.7,
    seed: Annotated[int, typer.Option(help="Root of all seeds.")] = 0,
) -> None:
    """Talk to a model while the projection of each of its turns is drawn; an empty line ends it.

    0 is the average role, 1 the default Assistant. One short turn is a noisy reading: half a unit either way.
    """
    with ending():
        from multitudes.axis import remedy
        from multitudes.axis.artifact import load_axis
        from multitudes.axis.roles import shipped
        from multitudes.core.errors import ConfigError, did_you_mean
        from multitudes.core.loop import run_sync
        from multitudes.core.seeds import derive_seed
        from multitudes.models.base import Message, Request, Sampling
        from multitudes.models.load import load

        axis = load_axis(folder)
        speaker = load(model)
        axis.fits(speaker)
        if role is not None:
            known = {r.id: r for r in shipped().roles}
            if role not in known:
                raise ConfigError("no such role", where="--role", found=repr(role), hint=did_you_mean(role, known))
            system = known[role].prompts[0]
        if hold and not system:
            raise ConfigError("nobody to hold", where="--hold", hint="give --role or --system")
        speaker = remedy.steer(speaker, axis, steer) if steer else speaker
        speaker = remedy.cap(speaker, axis) if cap else speaker
        speaker = remedy.hold(speaker, axis, seed=seed) if hold else speaker
        console.print(f"{speaker.info.name}; projection at layer {axis.layer}", markup=False)
        if speaker.info.small_model:
            console.print("A small model: it is weak at playing people.", markup=False)
        console.print(ruler(None), markup=False)
        said: list[Message] = [Message("system", system)]
        values: list[float] = []
        while True:
            try:
                line = input("you: ").strip()
            except EOFError:
                break
            if not line:
                break
            said.append(Message("user", line))
            request = Request(
                tuple(said), Sampling(temperature=temperature, top_p=0.9, max_tokens=max_tokens),
                seed=derive_seed("axis chat", seed, len(said)), watch=(axis.layer,),
            )  # fmt: skip
            reply = run_sync(speaker.reply([request]))[0]
            if reply.fault is not None:
                console.print(f"({reply.fault.code}: {reply.fault.detail})", markup=False)
                said.pop()
                continue
            said.append(Message("assistant", reply.text))
            console.print(reply.text.strip(), markup=False)
            seen = reply.internals
            if seen is not None and seen.n_tokens >= 3:
                values.append(float(axis.z(axis.project(seen.means, [axis.layer]), [axis.layer])[0]))
                moved = max(seen.engaged.values(), default=0.0)
                extra = f"  moved {moved:.0%} of tokens" if seen.engaged else ""
                console.print(f"{ruler(values[-1])} z = {values[-1]:+.2f}{extra}", markup=False)
            else:
                console.print("(too short to be read)", markup=False)
        run_sync(speaker.aclose())


def ruler(z: float | None) -> str:
    """A line from z = −1 to 2 with marks at 0 (average role) and 1 (Assistant), and the turn's place on it.

    >>> ruler(0.5)
    '[------------|-----●------|-------------]'
    >>> ruler(9.0)[-2:], ruler(None)[:6]
    ('▶]', 'role 0')
    """
    if z is None:
        return f"role 0 {'-' * 12} Assistant 1"
    inner = WIDTH - 2
    cells = ["-"] * inner

    def at(value: float) -> int:
        return round((value - LOW) / (HIGH - LOW) * (inner - 1))

    cells[at(0.0)] = cells[at(1.0)] = "|"
    if z < LOW:
        cells[0] = "◀"
    elif z > HIGH:
        cells[-1] = "▶"
    else:
        cells[at(z)] = "●"
    return f"[{''.join(cells)}]"
