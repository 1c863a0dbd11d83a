"""What every benchmark prints: its table, and as the last line one JSON object."""

from __future__ import annotations

import json
import os
import platform
import resource
import time
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """The machine in words, with its load at this moment."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_1min": round(os.getloadavg()[0], 2),
        "threads": os.environ.get("OMP_NUM_THREADS", "all cores"),
    }


def peak_rss_mib() -> float:
    """Largest resident memory of this program so far, in MiB.

    Linux: VmHWM, because ``ru_maxrss`` begins with what the parent process held.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        found = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        if found:
            return int(found[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Timer:
    """Wall and CPU seconds of a ``with``."""

    def __enter__(self) -> Timer:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        self.wall = self.cpu = 0.0
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu


def finish(name: str, figures: dict[str, Any], goal: str, holds: bool | None, at: dict[str, Any]) -> None:
    """Print the last line."""
    print(json.dumps({"name": name, "figures": figures, "goal": goal, "holds": holds, "machine": at}))
