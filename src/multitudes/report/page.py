"""One self-contained page: a head whose policy allows its own style and script by their hashes and nothing else."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from multitudes.core.errors import StoreError
from multitudes.report.svg import Markup, tag
from multitudes.report.words import clean, emphasised

_TEMPLATES = Path(__file__).parent / "templates"


def page(title: str, *body: object, styles: Sequence[str] = ("report.css",), script: str = "") -> str:
    """The whole page as text; the same content gives the same text.

    Args:
        title: Of the window.
        body: What stands in it; text among it is escaped.
        styles: Files of the templates folder, joined into one style sheet.
        script: A file of the templates folder; none if empty.
    """
    style = Markup("\n" + "".join((_TEMPLATES / f).read_text("utf-8") for f in styles))
    code = Markup("\n" + (_TEMPLATES / script).read_text("utf-8")) if script else None
    allowed = f"script-src {_hash(code)}; " if code is not None else ""
    policy = f"default-src 'none'; {allowed}style-src {_hash(style)}; base-uri 'none'; form-action 'none'"
    head = tag(
        "head",
        Markup('<meta charset="utf-8">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">'),
        tag("title", title),
        tag("style", style),
    )
    scripts = () if code is None else (tag("script", code),)
    return clean("<!doctype html>\n" + tag("html", head, tag("body", *body, *scripts), lang="en") + "\n")


def write_page(text: str, path: Path) -> Path:
    """Write a page, whole or not at all.

    Raises:
        StoreError: It cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StoreError("the page cannot be written", where=str(path), found=error.strerror or str(error)) from error
    return path


def header(kicker: str, title: str, standfirst: Markup, deck: Sequence[tuple[str, str]]) -> Markup:
    """The top of a page: what kind of page, of what, in one sentence, and a row of facts."""
    return tag(
        "header",
        tag("p", kicker, class_="kicker"),
        tag("h1", title, class_="said"),
        standfirst,
        tag("dl", *(tag("div", tag("dt", k), tag("dd", v, class_="said")) for k, v in deck), class_="deck"),
    )


def headline(warned: Sequence[str], said: Sequence[str], *more: Markup, class_: str = "headlines") -> Markup:
    """What has to be read first, and what was found, a sentence an item; numbers in them are set apart."""
    first = (
        tag("div", tag("strong", "Read this first."), tag("ul", *(tag("li", w) for w in warned)), class_="weak",
            role="note")
        if warned
        else None
    )  # fmt: skip
    rows = [tag("li", *map(_piece, emphasised(s))) for s in said]
    return tag(
        "section", tag("h2", "What was found", class_="eyebrow", id="h-headline"), first,
        tag("ul", *rows, class_=class_), *more, id="headline", aria_labelledby="h-headline",
    )  # fmt: skip


def _piece(piece: tuple[str, str]) -> object:
    kind, text = piece
    return tag("b", text) if kind == "number" else tag("span", text, class_="aside") if kind == "aside" else text


def section(id_: str, title: str, *children: object, lead: str = "", label: str = "") -> Markup:
    """A section under its title; ``label`` says whose activations its numbers are."""
    head = [
        tag("h2", title, id=f"h-{id_}"),
        tag("p", lead, class_="lead") if lead else None,
        tag("p", label, class_="label-line small") if label else None,
    ]
    return tag("section", *head, *children, id=id_, aria_labelledby=f"h-{id_}")


def ending(what: str) -> Markup:
    """The last line of a page."""
    said = tag("p", f"One file, made from the stored {what}. It loads nothing and sends nothing.")
    return tag("footer", said, class_="end")


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"
