"""How long ``import multitudes`` takes, each time in a fresh interpreter; the bare interpreter beside it."""

import statistics
import subprocess
import sys
import time

from _common import finish, machine

ROUNDS = 15


def seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def main() -> None:
    at = machine()
    seconds("import multitudes")
    pairs = [(seconds("pass"), seconds("import multitudes")) for _ in range(ROUNDS)]
    bare, full = (1000 * statistics.median(p[i] for p in pairs) for i in (0, 1))
    inside = subprocess.run(
        [sys.executable, "-c", "import time; t=time.perf_counter(); import multitudes; print(time.perf_counter()-t)"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    print(f"interpreter alone      {bare:7.1f} ms (median of {ROUNDS})")
    print(f"with import multitudes {full:7.1f} ms")
    print(f"the import             {full - bare:7.1f} ms (inside one process: {1000 * float(inside):.1f} ms)")
    figures = {"bare_ms": round(bare, 1), "with_import_ms": round(full, 1), "import_ms": round(full - bare, 1)}
    finish("import_time", figures, "import under 100 ms", full - bare < 100, at)


if __name__ == "__main__":
    main()
