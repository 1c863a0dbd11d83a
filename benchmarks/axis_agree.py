"""Does the axis depend on who chose the roles? Ours beside a second set, on the embedded model, fixed text.

The second set are the published role prompts (MIT, read by path, not part of the package): JSON lines, gzipped,
with ``id`` and ``instructions``. As many of them as our small preset has are drawn by seed. They are half as long as
ours, so that "there is a long system text" weighs differently in the two. Both axes share the default and the
questions, which flatters; so the cosine of our axis on one half of the questions with theirs on the other half
stands beside, which share neither, and the cosine of our own halves as what could be expected at best.
"""

import argparse
import asyncio
import gzip
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from _common import Timer, finish, machine
from multitudes.axis.collect import collect_fixed
from multitudes.axis.components import cosine
from multitudes.axis.fit import analysis_layer, fit_axis
from multitudes.axis.presets import preset, roles_of
from multitudes.axis.roles import Role, RoleSet, shipped
from multitudes.axis.window import cap_window
from multitudes.models.load import load


def second_set(path: Path, ours: RoleSet, n: int) -> RoleSet:
    """``n`` of the published roles with our questions and arms."""
    rows = [json.loads(line) for line in gzip.open(path, "rt", encoding="utf-8")]
    rows = [r for r in rows if r["id"] != "default"]
    chosen = np.random.default_rng(0).choice(len(rows), n, replace=False)
    roles = tuple(
        Role(r["id"], r["id"], 1, True, "", tuple(i["pos"] for i in r["instructions"]), presets=("small",))
        for r in (rows[i] for i in sorted(chosen))
    )
    return replace(ours, name=path.name, roles=roles)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("roles", type=Path, help="roles.jsonl.gz of the published inputs")
    args = parser.parse_args()
    at, model, size, ours = machine(), load("smollm2"), preset("small"), shipped()
    theirs = second_set(args.roles, ours, len(roles_of(size, ours)))
    fits = []
    with tempfile.TemporaryDirectory() as scratch, Timer() as took:
        for k, everything in enumerate((ours, theirs)):
            sums = asyncio.run(collect_fixed(model, everything, size, Path(scratch) / str(k)))
            fits.append(fit_axis(sums, seed=0, min_count=3, min_families=1))
    a, b = fits
    whole = cosine(a.axis, b.axis)
    apart = (cosine(a.halves[0], b.halves[1]) + cosine(a.halves[1], b.halves[0])) / 2
    layers = [analysis_layer(model.n_layers), *cap_window(model.n_layers)]
    print(f"{len(a.roles)} of our roles, {len(b.roles)} published ones, {took.wall:.0f} s")
    print(f"{'layer':>6}{'whole':>8}{'apart':>8}{'ours apart':>12}")
    for k in layers:
        print(f"{k:>6}{whole[k]:>8.3f}{apart[k]:>8.3f}{a.split_half[k]:>12.3f}")
    figures = {"whole": [round(float(whole[k]), 3) for k in layers], "layers": layers,
               "apart": [round(float(apart[k]), 3) for k in layers]}  # fmt: skip
    finish("axis_agree", figures, "reported; no goal is set", None, at)


if __name__ == "__main__":
    main()
