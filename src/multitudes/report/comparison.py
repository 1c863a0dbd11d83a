"""A comparison of diversity as one page: a chart by domain, what validity did to it, and the most alike pairs."""

from __future__ import annotations

import base64
import hashlib
import os
from collections import defaultdict
from pathlib import Path

from multitudes.core.errors import StoreError
from multitudes.measure.diversity.compare import MARGIN, Cell, DiversityComparison
from multitudes.report.svg import Markup, dot_row, nice_range, scale, tag, track
from multitudes.report.words import clean, two

_NAMES = {
    "ead": "distinct words and phrases (EAD)",
    "distinct": "distinct n-grams",
    "cosine": "spread of embeddings",
    "pos_compression": "variety of syntax (tags)",
    "ast_jsd": "variety of syntax (programs)",
    "d_pair": "effective diversity",
    "rouge_l": "unlike by longest common subsequence",
    "self_bleu": "unlike by shared phrases",
    "self_repetition": "few repeated phrases",
}
_LEDE = (
    "Against {first}, paired over prompts. Right of the line is more diverse; the shaded stretch is a difference of "
    "less than 10 %. Verdicts are adjusted for the number of tests. A diversity number is worth what its validity "
    "is: noise is diverse."
)


def write_comparison(found: DiversityComparison, path: Path) -> Path:
    """Write the page, whole or not at all.

    Raises:
        StoreError: It cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(comparison_page(found), encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StoreError("the page cannot be written", where=str(path), found=error.strerror or str(error)) from error
    return path


def comparison_page(found: DiversityComparison) -> str:
    """The page as text; what models wrote is escaped, and the page's policy allows one style sheet and no more."""
    style = Markup((Path(__file__).parent / "templates" / "report.css").read_text("utf-8"))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = tag(
        "head",
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        tag("title", "Diversity compared"),
        tag("style", style),
    )
    parts = [
        tag("h1", "Diversity compared"),
        tag("p", _LEDE.format(first=found.arms[0]), class_="small"),
        *(_chart(found, arm) for arm in found.arms[1:]),
        _valid(found),
        _alike(found),
        _section("What this cannot say", tag("ul", *(tag("li", c) for c in found.caveats))),
        _section("Equal budget", tag("ul", *(tag("li", line) for line in _budget(found)))),
    ]
    return clean("<!doctype html>" + tag("html", head, tag("body", tag("main", *parts)), lang="en"))


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _section(title: str, *children: object) -> Markup:
    return tag("section", tag("h2", title), *children)


def _table(head: tuple[str, ...], rows: list[Markup]) -> Markup:
    top = tag("thead", tag("tr", *(tag("th", h, scope="col") for h in head)))
    return tag("div", tag("table", top, tag("tbody", *rows), class_="plain"), class_="scroll")


def _chart(found: DiversityComparison, arm: str) -> Markup:
    cells = [c for c in found.cells if c.after == arm and c.effect is not None and not c.plain]
    ends = [v for c in cells for v in (c.effect, c.low, c.high) if v is not None] + [-MARGIN, MARGIN]
    span = nice_range(min(ends), max(ends))
    at = scale(span.low, span.high, 0, 100)
    by_score: dict[str, list[Cell]] = defaultdict(list)
    for c in cells:
        by_score[c.score].append(c)
    rows: list[Markup] = []
    for score, mine in by_score.items():
        rows.append(tag("h3", _NAMES.get(score, score) + (" · headline" if mine[0].headline else "")))
        for c in mine:
            effect = c.effect or 0.0
            drawing = track(
                [dot_row(effect, c.low, c.high, 0.0, at)],
                zones=[(at(-MARGIN), at(MARGIN))],
                label=f"{c.domain}: {_signed(effect)}, {c.verdict}",
            )
            around = "" if c.low is None or c.high is None else f"{_signed(c.low)} to {_signed(c.high)}"
            value = tag("div", tag("b", c.verdict), tag("small", around), class_="row-value")
            name, drawn = tag("div", c.domain, class_="row-name"), tag("div", drawing, class_="row-track")
            rows.append(tag("div", name, drawn, value, class_="row"))
    turns = [tag("li", t.sentence) for t in found.crossovers if t.after == arm]
    note = tag("p", f"Log ratio from {two(span.low)} to {two(span.high)}, with 95 % intervals.", class_="small")
    return _section(f"{arm} against {found.arms[0]}", *rows, note, tag("ul", *turns) if turns else None)


def _valid(found: DiversityComparison) -> Markup | None:
    if not found.effective:
        return None
    rows = []
    for e in found.effective:
        terms = ("n/a" if t is None else _signed(t) for t in (e.term_validity, e.term_difference))
        cells = (e.domain, e.after, f"{e.valid_before:.0%}", f"{e.valid_after:.0%}", *terms)
        rows.append(tag("tr", *(tag("td", c) for c in cells)))
    head = ("domain", "arm", "valid before", "valid after", "because more is valid", "because valid texts differ")
    return _section("Why effective diversity changed", _table(head, rows))


def _alike(found: DiversityComparison) -> Markup | None:
    if not found.alike:
        return None
    rows = []
    for r in found.alike:
        where = f"{r['arm']}, {r['domain']}, {r['prompt'][:60]}: {r['rouge_l']:.0%} in common"
        rows.append(tag("tr", *(tag("td", cell) for cell in (where, r["first"][:400], r["second"][:400]))))
    return _section("The most alike pairs of one prompt", _table(("where", "one", "the other"), rows))


def _budget(found: DiversityComparison) -> list[str]:
    lines = []
    for domain, b in found.budget.items():
        cut = ", ".join(f"{arm} {share:.0%}" for arm, share in b["cut"].items())
        lines.append(
            f"{domain}: {b['prompts']} prompts, {b['texts_per_prompt']} texts each, lexical scores at "
            f"{b['tokens_per_text']} words; texts cut: {cut}; left out for equal numbers: {b['left_out']}"
        )
    return lines
