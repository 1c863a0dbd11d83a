"""The command ``multitudes``: one file per verb, each imported when it is called."""

from __future__ import annotations

import importlib
from typing import Annotated

import typer

app = typer.Typer(
    name="multitudes",
    help="Simulate many different people with a model trained to be one; measure how much of it is real.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        import multitudes

        typer.echo(f"multitudes {multitudes.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of no command in particular."""


COMMANDS = ("study", "report", "show", "compare", "export", "survey", "chat", "measure", "anchors")
GROUPS = ("personas", "models", "plan", "axis", "pressure", "train")

for _name in COMMANDS:
    _module = importlib.import_module(f"multitudes.cli.{_name}")
    app.command(name=_name)(getattr(_module, _name))
for _name in GROUPS:
    app.add_typer(importlib.import_module(f"multitudes.cli.{_name}").app, name=_name)


def run() -> None:
    """Entry point."""
    app()


if __name__ == "__main__":
    run()
