"""What every command prints with: one console, one progress display, one way to end with an error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from multitudes.core.errors import MultitudesError

PLAIN_WIDTH = 150  # columns where nobody looks through a terminal window, so that no table is cut

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

LABELS = {
    "people": "making people",
    "conversations": "conversations",
    "answers": "survey answers",
    "evidence": "listening",
    "gauges": "measuring",
    "fixed text": "reading a text",
    "roles": "asking roles",
    "calibration": "first replies",
    "pressure": "pressing",
    "prose": "reading held",
    "judge": "judging",
    "jailbreaks": "asking jailbreaks",
}


@contextmanager
def ending() -> Iterator[None]:
    """Turn our errors into one clear message and their exit code; an interrupt into 130."""
    import typer

    try:
        yield
    except MultitudesError as error:
        errors.print(f"error: {error}", style="red", markup=False)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt as error:
        errors.print("interrupted; what was finished is stored: run the same command again to go on")
        raise typer.Exit(130) from error


@contextmanager
def progress() -> Iterator[Callable[[Any], None]]:
    """On standard error: a live display on a terminal; plain lines, one per tenth, elsewhere."""
    if not errors.is_terminal:
        yield _plain()
        return
    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors) as bars:
        tasks: dict[str, Any] = {}

        def watch(step: Any) -> None:
            if step.name not in tasks:
                tasks[step.name] = bars.add_task(LABELS.get(step.name, step.name), total=step.total)
            bars.update(tasks[step.name], completed=step.done, total=step.total)

        yield watch


def _plain() -> Callable[[Any], None]:
    last: dict[str, int] = {}

    def watch(step: Any) -> None:
        tenth = 10 * step.done // step.total if step.total else 10
        if last.get(step.name) != tenth:
            last[step.name] = tenth
            errors.print(f"{LABELS.get(step.name, step.name)}: {step.done}/{step.total}")

    return watch


def print_table(table: Any) -> None:
    """A table on standard output: long cells wrap within their column, where plain lines may run on."""
    console.print(table, soft_wrap=False)


def print_json(value: Any) -> None:
    """Strict JSON on standard output, nothing else; NaN travels as the string "NaN"."""
    import json

    from multitudes.core.canonical import strict_values

    json.dump(strict_values(value), sys.stdout, indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")
