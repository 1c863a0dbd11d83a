"""The picture page of an axis: one HTML file that opens offline, loads nothing and sends nothing.

Role names and all else that comes from a model or a file of roles is escaped by ``svg.tag``; the page's policy allows
its one script and its one style sheet, by their hashes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from multitudes.axis.axis import Axis
from multitudes.report import axis_facts as facts
from multitudes.report.axis_caps import caps
from multitudes.report.axis_curves import panels
from multitudes.report.axis_facts import Place, Space, at, curve, fixed
from multitudes.report.axis_lines import axis_lines
from multitudes.report.axis_marks import colour_key, reach_of
from multitudes.report.axis_space import scatter, strips
from multitudes.report.page import ending, header, headline, page, section, write_page
from multitudes.report.svg import Markup, join, tag
from multitudes.report.words import counted, number, percent, shown

__all__ = ["axis_lines", "axis_page", "write_axis_page"]

_ENDS = 6  # roles listed at either end of z
_SEARCH = Markup(
    '<input type="search" id="find" autocomplete="off" spellcheck="false" placeholder="tutor, ghost, …">'
)


def write_axis_page(axis: Axis, path: Path) -> Path:
    """Write the page, whole or not at all.

    Raises:
        StoreError: It cannot be written.
    """
    return write_page(axis_page(axis), path)


def axis_page(axis: Axis) -> str:
    """The page as text; the same axis gives the same text."""
    model = str(axis.about.get("model", "a model"))
    found = facts.space(axis)
    body = [
        tag("a", "Skip to what was found", class_="skip", href="#headline"),
        _header(axis, model),
        tag(
            "main", _headline(axis), _nav(axis, found), _space(axis, found), _near(axis, found), _layers(axis),
            _controls(axis), _caps(axis), _published(axis), _made(axis),
        ),
        ending("axis"),
    ]  # fmt: skip
    title = f"The Assistant Axis of {model} · multitudes"
    return page(title, *body, styles=("report.css", "axis.css"), script="axis.js")


def _header(axis: Axis, model: str) -> Markup:
    deck = (
        ("Direction", f"{axis.method.replace('_', ' ')}, {axis.about.get('preset', 'no')} preset"),
        ("Roles", counted(len(axis.roles), "role")),
        ("Blocks", f"{axis.n_layers} of width {axis.d_model:,}"),
        ("Analysis layer", str(axis.layer)),
        ("Capped layers", facts.window_words(axis.window)),
        ("Answers in role", percent(facts.pass_share(axis))),
    )
    standfirst = tag("p", facts.verdict(axis), class_="standfirst verdict-line")
    return header("multitudes · Assistant Axis", model, standfirst, deck)


def _headline(axis: Axis) -> Markup:
    said = [facts.first_component(axis), facts.separated(axis), facts.prompt_effect(axis), facts.noise(axis)]
    return headline(facts.warnings(axis), [s for s in said if s], class_="headlines plain-first")


def _nav(axis: Axis, found: Space) -> Markup:
    links = (("space", "Persona space"), ("near", "Who is near"), ("layers", "Layer by layer"),
             ("controls", "Controls"), ("caps", "Which cap"),
             ("published", "Published figures"), ("made", "How it was made"))  # fmt: skip
    absent = {"near": not found.roles, "caps": not facts.about(axis, "calibration")}
    shown_ones = [(id_, name) for id_, name in links if not absent.get(id_)]
    return tag(
        "nav", *(join([tag("a", name, href=f"#{id_}"), " "]) for id_, name in shown_ones), aria_label="Sections"
    )


def _space(axis: Axis, found: Space) -> Markup:
    if not found.roles:
        nobody = tag("p", "This axis holds no roles: it was imported.", class_="empty")
        return section("space", "Persona space", nobody)
    families = sorted({p.family for p in found.roles})
    options = [tag("option", "all", value="")]
    options += [tag("option", facts.family_name(f), value=f) for f in families]
    tools = tag(
        "form",
        tag("label", "Find a role", _SEARCH, class_="find"),
        tag("label", "Family", tag("select", *options, id="family")),
        tag("div", colour_key(reach_of(found.roles)), class_="colours"),
        tag("p", "", id="told", class_="told said", aria_live="polite"),
        class_="tools",
    )
    known = [p for p in found.roles if math.isfinite(p.z)]
    ends = tag(
        "div", _list("Nearest to the Assistant", known[:_ENDS]), _list("Farthest from it", known[:-_ENDS - 1:-1]),
        class_="ends",
    )  # fmt: skip
    lead = (
        f"Each mark is a role: the mean of its activations at layer {axis.layer}, on the two components along which "
        "the roles differ most. The star is the default Assistant, and the line to it is the axis. Point at a mark, "
        "or walk through them with the arrow keys."
    )
    explained = (at(axis, "explained_1"), at(axis, "explained_2"))
    plot = tag("div", scatter(found, explained), class_="plot")
    return section("space", "Persona space", tag("div", tools, plot, ends, class_="plane"), lead=lead)


def _list(title: str, places: Sequence[Place]) -> Markup:
    rows = [tag("tr", tag("th", p.name, scope="row", class_="said"), tag("td", fixed(p.z))) for p in places]
    return tag("table", tag("caption", title), tag("tbody", *rows), class_="pairs")


def _near(axis: Axis, found: Space) -> Markup:
    if not found.roles:
        return Markup("")
    where = {
        "fixed_text": "on the fixed text that built the axis", "imported": "on a fixed text, along the imported axis",
    }.get(axis.method, "on the answers that built it")  # fmt: skip
    lead = (
        f"z {where}: the average role is 0, the default Assistant 1. The upright stroke is the mean of a family. "
        "Triangles are prompts that hold no role at all: they show what a long prompt alone does."
    )
    head = ("", "role", "family", "z", "in role", "PC1", "PC2")
    rows = [
        tag(
            "tr", tag("td", k + 1), tag("th", p.name, scope="row", class_="said"),
            tag("td", facts.family_name(p.family)), tag("td", fixed(p.z)), tag("td", percent(p.kept)),
            tag("td", fixed(p.x)), tag("td", fixed(p.y)), data_role=k,
        )
        for k, p in enumerate(found.roles)
    ]  # fmt: skip
    table = tag(
        "div",
        tag("table", _thead(head), tag("tbody", *rows), class_="roles"),
        class_="scroll", tabindex=0, role="region", aria_label="All roles",
    )  # fmt: skip
    data = tag("details", tag("summary", f"All {len(found.roles)} roles, the nearest first"), table, class_="data")
    controls = {k: at(axis, f"z_{k}") for k in ("neutral", "placebo")}
    return section("near", "Who is near the Assistant", strips(found, controls), data, lead=lead)


def _thead(head: Sequence[str]) -> Markup:
    return tag("thead", tag("tr", *(tag("th", h, scope="col") for h in head)))


def _layers(axis: Axis) -> Markup:
    lead = (
        f"The same numbers at every block. The upright line is the analysis layer ({axis.layer}), the shaded stretch "
        f"the capped layers ({facts.window_words(axis.window)}); beside each name stands its value at the analysis "
        "layer."
    )
    return section("layers", "Layer by layer", panels(axis), lead=lead)


def _table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], *, class_: str = "plain") -> Markup:
    cells = [[tag("th", row[0], scope="row"), *(tag("td", c, class_="said") for c in row[1:])] for row in rows]
    body = [tag("tr", *row) for row in cells]
    return tag("table", tag("caption", caption), _thead(head) if head else None, tag("tbody", *body), class_=class_)


def _controls(axis: Axis) -> Markup:
    control = facts.about(axis, "controls")
    own = number(control.get("axis"))
    auc: list[tuple[str, ...]] = [("the axis", fixed(at(axis, "separation") if own is None else own), "", "")]
    for kind, words in facts.RANDOM.items():
        row = control.get(kind)
        if isinstance(row, Mapping):
            parts = [fixed(number(row.get(k))) for k in ("median", "p95")]
            auc.append((words, *parts, str(row.get("draws", ""))))
    z = [
        (f"{name} prompts", fixed(at(axis, f"z_{name}")), fixed(at(axis, f"z_{name}_answers")))
        for name in ("neutral", "placebo")
    ]
    if not math.isnan(partly := at(axis, "z_somewhat_answers")):
        z.append(("answers in role in part", "", fixed(partly)))
    cosines = [
        (words, fixed(at(axis, f"cosine_{k}")))
        for k, words in facts.ALTERNATIVES.items()
        if k in facts.ALWAYS or not math.isnan(at(axis, f"cosine_{k}"))
    ]
    cosines.insert(0, ("the other method", fixed(at(axis, "other_method"))))
    tau = [(_threshold(k), fixed(number(v)), _near_default(number(v))) for k, v in facts.about(axis, "z_tau").items()]
    tables = [
        _table("Separation of single answers: AUC, chance 0.5", ("along", "AUC", "95 of 100 below", "draws"), auc),
        _table("Neither the default nor a role: z", ("", "where it was fitted", "in answers"), z),
        _table("Cosine of the axis with the one from …", (), cosines, class_="plain pairs"),
        _table("Thresholds of a cap: mean z over the capped layers", ("quantile of answers", "z", ""), tau)
        if tau
        else tag("p", "No thresholds.", class_="empty"),
    ]
    for row in facts.agreed(axis):
        told = [("weighted κ: at most 1, 0 by chance", row.kappa), ("kept or dropped alike", row.same),
                ("scored by both", row.counts), *([("note", row.note)] if row.note else [])]  # fmt: skip
        tables.append(_table(f"The judge beside {row.who}", (), told, class_="plain pairs hashes words"))
    return section(
        "controls", "Controls", tag("div", *tables, class_="two"),
        lead=f"What nothing, or something else, would have given, at layer {axis.layer}.",
    )  # fmt: skip


def _caps(axis: Axis) -> Markup:
    found = caps(axis)
    return section("caps", "Which cap", *found) if found else Markup("")


def _threshold(name: str) -> str:
    return "mean of the default" if name == "default_mean" else name


def _near_default(z: float | None) -> str:
    if z is None or not math.isfinite(z):
        return ""
    side = "below " if z < 0.995 else "above " if z > 1.005 else ""
    return f"{side}the default's mean"


def _published(axis: Axis) -> Markup:
    dims, edge = at(axis, "dims70"), at(axis, "edge")
    rows = [
        ("cos(axis, PC1) at the analysis layer", fixed(at(axis, "pc1_cosine")), f"> {facts.PUBLISHED_MIDDLE:.2f}"),
        ("the smallest of all layers", fixed(facts.finite_min(curve(axis, "pc1_cosine"))),
         f"> {facts.PUBLISHED_ALL:.2f}"),
        ("components that hold 70% of the spread", "unscored" if math.isnan(dims) else f"{dims:.0f}",
         facts.PUBLISHED_DIMS),
        ("default on PC1", f"{percent(edge)} of roles lie beyond it",
         f"within {facts.PUBLISHED_EDGE:.2f} of the extreme"),
    ]  # fmt: skip
    return section(
        "published", "Beside published figures", _table("", ("", "this axis", facts.PUBLISHED), rows),
        lead=f"From {facts.PUBLISHED}, on models of 27, 32 and 70 billion parameters with 275 roles and 240 "
        "questions; read there, not checked here.",
    )  # fmt: skip


_MADE = (
    ("model", "Model"), ("engine", "Engine"), ("weights_sha256", "Hash of the weights"), ("licence", "Licence"),
    ("dtype", "Number type"), ("preset", "Preset"), ("seed", "Seed"), ("role_set", "Roles"),
    ("role_set_hash", "Hash of roles and questions"), ("default_n", "Responses of the default"),
    ("temperature", "Temperature"), ("top_p", "Top-p"), ("max_tokens", "Longest answer, tokens"),
    ("orientation", "Orientation"), ("from", "Imported from"), ("caps", "Imported caps"),
)  # fmt: skip


def _made(axis: Axis) -> Markup:
    rows: list[tuple[str, str]] = [
        ("Direction", "; ".join(filter(None, [
            f"{axis.method}: {facts.METHODS.get(axis.method, 'unknown')}", facts.scaled(axis)
        ]))),
        ("Answers", facts.kept_sentence(axis)), ("Roles in it", facts.roles_sentence(axis)),
    ]  # fmt: skip
    words = _table("", (), rows, class_="plain pairs hashes words")
    rows = [(name, _plain(axis.about[k])) for k, name in _MADE if axis.about.get(k) not in (None, "")]
    null = axis.about.get("null") or ()
    if null:
        rows.append(("Null of the filter, nats a token", ", ".join(shown(number(v)) for v in null)
                     + " (5%, 50%, 95% of answers that were not given in the role)"))  # fmt: skip
    scores = facts.about(axis, "scores")
    if scores:
        told = {"3": "in role", "2": "in part", "1": "no sign of it", "0": "refused", "-1": "unscored"}
        rows.append(("Scores of role answers", ", ".join(f"{told.get(k, k)} {v}" for k, v in scores.items())))
    rows += [(f"Version of {k}", str(v)) for k, v in facts.about(axis, "versions").items()]
    arms = [(str(k), str(v) or "(no text)") for k, v in facts.about(axis, "default_arms").items()]
    prompts = (
        tag("details", tag("summary", "What the default was told"), _table("", (), arms, class_="plain pairs hashes"),
            class_="data")
        if arms
        else None
    )  # fmt: skip
    return section("made", "How it was made", words, _table("", (), rows, class_="plain pairs hashes"), prompts)


def _plain(value: Any) -> str:
    return shown(value) if isinstance(value, float) else str(value)
