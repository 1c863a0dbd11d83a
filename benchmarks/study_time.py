"""The example study, warm: weights on disk, a fresh run folder, a fresh process. With ``--setup``, from nothing.

``--setup`` copies the repository into an empty folder and times ``make study`` there: environment, installation,
conversion, study, report. Downloads are part of that time and depend on the network, so it reports them as they were.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _common import finish, machine

ROOT = Path(__file__).parent.parent


def warm() -> tuple[float, dict[str, object]]:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        command = [
            sys.executable,
            "-m",
            "multitudes.cli.main",
            "study",
            str(ROOT / "examples/help_line.toml"),
            "--json",
        ]
        done = subprocess.run(
            [*command, "--out", f"{folder}/run"], check=True, capture_output=True, text=True
        )  # fmt: skip
        took = time.perf_counter() - start
        text = done.stdout[done.stdout.index("{") :]
        return took, json.loads(text)["usage"]


def setup() -> float:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".venv", "runs", ".git", "*cache*"))
        env = {**os.environ, "MULTITUDES_CACHE": f"{folder}/cache"}
        start = time.perf_counter()
        subprocess.run(["make", "study"], cwd=copy, env=env, check=True)
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--setup", action="store_true", help="also time `make study` from an empty folder")
    at, args = machine(), parser.parse_args()
    took, usage = warm()
    print(f"example study, warm: {took:.1f} s; {usage}")
    figures: dict[str, object] = {"study_warm_s": round(took, 1), "usage": usage}
    holds = took < 120
    if args.setup:
        nothing = setup()
        print(f"make study from nothing: {nothing:.1f} s, downloads included")
        figures["setup_to_report_s"] = round(nothing, 1)
        holds = holds and nothing < 360
    finish("study_time", figures, "study under 120 s warm; from nothing under 360 s without downloads", holds, at)


if __name__ == "__main__":
    main()
