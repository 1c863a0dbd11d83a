"""A comparison of diversity as one page: a chart by domain, what validity did to it, and the most alike pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from multitudes.measure.diversity.arms import BUDGETS, Budget, Cell, DiversityComparison
from multitudes.measure.diversity.compare import MARGIN
from multitudes.report.page import page, write_page
from multitudes.report.svg import Markup, Scale, dot_row, nice_range, scale, tag, track
from multitudes.report.words import percent, shown, two

_NAMES = {
    "ead": "distinct words and phrases (EAD)",
    "distinct": "distinct n-grams",
    "cosine": "spread of embeddings",
    "pos_compression": "variety of syntax (tags)",
    "pos_diversity": "distinct tag n-grams",
    "template_rate": "few texts with a common sentence pattern",
    "templates_per_token": "few common sentence patterns per word",
    "ast_jsd": "variety of syntax (programs)",
    "d_pair": "effective diversity",
    "classes": "different valid answers",
    "rouge_l": "unlike by longest common subsequence",
    "self_bleu": "unlike by shared phrases",
    "self_repetition": "few repeated phrases",
}
_LEDE = (
    "Against {first}, paired over prompts. Right of the line is more diverse; the shaded stretch is a difference of "
    "less than 10 %. Verdicts are adjusted for the number of tests. A diversity number is worth what its validity "
    "is: noise is diverse."
)
_OUTCOMES = (
    "A gain in effective diversity counts if validity falls by no more than two points and placed people still are "
    "where they were put. Tokens are those of prompt and reply. Undominated: no other arm is both more valid and "
    "more diverse."
)


def write_comparison(found: DiversityComparison, path: Path) -> Path:
    """Write the page, whole or not at all.

    Raises:
        StoreError: It cannot be written.
    """
    return write_page(comparison_page(found), path)


def comparison_page(found: DiversityComparison) -> str:
    """The page as text; what models wrote is escaped, and the page's policy allows one style sheet and no more."""
    parts = [
        tag("h1", "Diversity compared"),
        tag("p", _LEDE.format(first=found.arms[0]), class_="small"),
        *(_chart(found, arm) for arm in found.arms[1:]),
        _outcomes(found),
        _valid(found),
        _alike(found),
        _section("What this cannot say", tag("ul", *(tag("li", c) for c in found.caveats))),
        _section("Equal budget", tag("ul", *(tag("li", line) for line in _budget(found)))),
    ]
    return page("Diversity compared", tag("main", *parts))


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _section(title: str, *children: object) -> Markup:
    return tag("section", tag("h2", title), *children)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Markup:
    """A table whose rows become cards on a narrow page; the first two cells of a row name it.

    Columns in which nothing is known are left out.
    """
    known = [0, 1, *(k for k in range(2, len(head)) if any(row[k] != "n/a" for row in rows))]
    head, rows = tuple(head[k] for k in known), [tuple(row[k] for k in known) for row in rows]
    top = tag("thead", tag("tr", *(tag("th", h, scope="col") for h in (f"{head[0]}, {head[1]}", *head[2:]))))
    body = [
        tag(
            "tr",
            tag("th", tag("b", row[0]), f", {row[1]}", scope="row", class_="said"),
            *(tag("td", cell, data_h=h) for h, cell in zip(head[2:], row[2:], strict=True)),
        )
        for row in rows
    ]
    return tag("div", tag("table", top, tag("tbody", *body), class_="scores many"), class_="scroll")


def _chart(found: DiversityComparison, arm: str) -> Markup:
    mine = [c for c in found.cells if c.after == arm]
    headline, rest = ([c for c in mine if c.headline is which] for which in (True, False))
    turns = [tag("li", t.sentence) for t in found.crossovers if t.after == arm]
    more = None
    if rest:
        clear = sum(c.verdict.startswith(("higher", "lower")) for c in rest)
        told = f"{len(rest)} exploratory comparisons, {clear} of them with a difference"
        more = tag("details", tag("summary", told), *_rows(rest), class_="data")
    return _section(
        f"{arm} against {found.arms[0]}", *_rows(headline), tag("ul", *turns) if turns else None, more
    )  # fmt: skip


def _rows(cells: list[Cell]) -> list[Markup]:
    drawn = [c for c in cells if c.effect is not None and not c.plain]
    ends = [v for c in drawn for v in (c.effect, c.low, c.high) if v is not None] + [-MARGIN, MARGIN]
    span = nice_range(min(ends), max(ends))
    at = scale(span.low, span.high, 0, 100)
    by_score: dict[tuple[str, Budget], list[Cell]] = defaultdict(list)
    for c in cells:
        by_score[c.score, c.budget].append(c)
    rows: list[Markup] = []
    for (score, budget), mine in by_score.items():
        rows.append(tag("h3", _NAMES.get(score, score), tag("small", f" {BUDGETS[budget]}")))
        rows += [_row(c, at) for c in mine]
    note = f"Log ratio from {two(span.low)} to {two(span.high)}, with 95 % intervals."
    return [*rows, tag("p", note, class_="small")] if rows else []


def _row(c: Cell, at: Scale) -> Markup:
    around = "" if c.low is None or c.high is None else f"{_signed(c.low)} to {_signed(c.high)}"
    drawing = None
    if c.effect is None:
        around = c.note
    elif c.plain:
        around = f"difference {_signed(c.effect)} ({around})"
    else:
        drawing = track(
            [dot_row(c.effect, c.low, c.high, 0.0, at)], zones=[(at(-MARGIN), at(MARGIN))],
            label=f"{c.domain}: {_signed(c.effect)}, {c.verdict}",
        )  # fmt: skip
    return tag(
        "div",
        tag("div", c.domain, class_="row-name"),
        tag("div", drawing, class_="row-track"),
        tag("div", tag("b", c.verdict), tag("small", around), class_="row-value"),
        class_="row",
    )


def _outcomes(found: DiversityComparison) -> Markup | None:
    if not found.outcomes:
        return None
    head = ("domain", "arm", "tokens per text", "tokens against first", "valid", "change", "D_pair", "gain",
            "adherence r", "change", "tokens per different valid answer", "undominated", "verdict")  # fmt: skip
    rows = [
        (
            o.domain, o.arm, _amount(o.cost), _times(o.cost_ratio), percent(o.validity),
            _change(o.validity_change, o.validity_low, o.validity_high), shown(o.d_pair), _change(o.gain),
            shown(o.adherence), _change(o.adherence_change, o.adherence_low, o.adherence_high),
            _amount(o.cost_per_answer), {True: "yes", False: "no", None: "n/a"}[o.frontier],
            o.verdict or "what the others are compared with",
        )
        for o in found.outcomes
    ]  # fmt: skip
    return _section("What each arm gains, costs and loses", tag("p", _OUTCOMES, class_="small"), _table(head, rows))


def _amount(value: float | None) -> str:
    return "n/a" if value is None else f"{value:,.0f}"


def _times(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f} ×"


def _change(value: float | None, low: float | None = None, high: float | None = None) -> str:
    if value is None:
        return "n/a"
    around = "" if low is None or high is None else f" ({_signed(low)} to {_signed(high)})"
    return _signed(value) + around


def _valid(found: DiversityComparison) -> Markup | None:
    if not found.effective:
        return None
    rows = []
    for e in found.effective:
        terms = ("n/a" if t is None else _signed(t) for t in (e.term_validity, e.term_difference))
        name = f"{e.domain} ({e.stamp})" if e.stamp else e.domain
        rows.append((name, e.after, f"{e.valid_before:.0%}", f"{e.valid_after:.0%}", *terms))
    head = ("domain", "arm", "valid before", "valid after", "because more is valid", "because valid texts differ")
    return _section("Why effective diversity changed", _table(head, rows))


def _alike(found: DiversityComparison) -> Markup | None:
    if not found.alike:
        return None
    pairs = []
    for r in found.alike:
        where = f" in common, {r['arm']}, {r['domain']}: {r['prompt'][:80]}"
        two_texts = (tag("blockquote", tag("p", r[side][:400], class_="said")) for side in ("first", "second"))
        pairs.append(
            tag("div", tag("p", tag("b", f"{r['rouge_l']:.0%}"), where, class_="small said"),
                tag("div", *two_texts, class_="two"), class_="likeness")
        )  # fmt: skip
    return _section("The most alike pairs of one prompt", *pairs)


def _budget(found: DiversityComparison) -> list[str]:
    lines = []
    for domain, b in found.budget.items():
        cut, shorter = (", ".join(f"{arm} {x:.0%}" for arm, x in b[key].items()) for key in ("cut", "shorter"))
        lines.append(
            f"{domain}: {b['prompts']} prompts, {b['texts_per_prompt']} texts each, at equal length "
            f"{b['tokens_per_text']} words; texts cut to that: {cut}; shorter, and matched by one of another arm "
            f"that was cut to the same: {shorter}"
            + (f"; texts beyond the common number, of which random subsets were taken: {b['beyond']}" if b["beyond"]
               else "")
            + (f"; texts of prompts that not all arms have, left out: {b['unpaired']}" if b["unpaired"] else "")
        )  # fmt: skip
    return lines
