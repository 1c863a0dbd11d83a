"""Made-up sweeps: what settings do is stated, not measured."""

from __future__ import annotations

import numpy as np

from multitudes.axis.calibration import Sweep
from multitudes.axis.cap import cap_edit
from multitudes.axis.capability import Material, Measured
from multitudes.axis.role_play import Played, Reread, Talk
from multitudes.axis.settings import Setting
from multitudes.models.base import Internals, Reply


def made_up(axis, rows, *, n_roles=10, whos=None, floor=0.0):
    """A sweep in which setting k moves z by rows[k][0] and perplexity by the factor rows[k][1].

    ``whos``: D of who a role says it is, plain first; ``floor``: without a role.
    """
    talks = [Talk(f"t{i}", "x", ("?",), True, f"t{i}") for i in range(n_roles)]
    edit = cap_edit(axis, 0.75, layers=[0, 1])
    settings = [Setting("plain")] + [
        Setting("cap", tuple(range(width)), q, edit=edit, name=f"{q}:{width}") for _, _, width, q in rows
    ]
    gap = float(axis.mu_default[1] - axis.mu_roles[1])
    noise = np.resize([0.1, -0.1], n_roles)

    def played(z):
        means = np.array([(axis.mu_roles[1] + gap * (z + (e if z else 0))) * axis.unit[1] for e in noise])
        seen = Internals(9, np.zeros((1, 48), np.float32), {0: 0.5, 1: 0.5} if z else {}, 0.1)
        reply = Reply("x", token_ids=(1,) * 10, internals=seen)
        return Played((reply,) * n_roles, ((),) * n_roles, means[:, None].astype(np.float32), (seen,) * n_roles)

    flat = np.linspace(2.9, 3.1, 16)
    read = [Measured(flat + np.log(r), (), np.zeros(0), 0.5, 0.1, 99) for r in (1.0, *(row[1] for row in rows))]
    spoken = [Reread(np.ones(n_roles), np.ones(n_roles), np.zeros(n_roles))] * len(settings)
    sweep_played = [played(0.0), *(played(row[0]) for row in rows)]
    who = [np.full(n_roles, d) for d in (whos or [np.nan] * len(settings))]
    return Sweep(
        axis,
        talks,
        settings,
        (1,),
        sweep_played,
        read,
        spoken,
        who,
        np.full(n_roles, floor),
        Material([], [], [], []),
        0,
    )
