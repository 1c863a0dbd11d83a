"""A run as one HTML file that opens offline: text, pictures and transcripts in it, nothing to load, nothing to send.

What models and users wrote is untrusted. It reaches the page in two ways only: through the template engine, which
escapes everything, and through a JSON block that the script reads and shows with ``textContent``. On top of that
the page's own policy allows one script and one style sheet, by their hashes, and no address at all.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from multitudes.core.errors import MissingExtra, StoreError
from multitudes.core.records import Reading
from multitudes.report import figures, ladder, rerun, sections
from multitudes.report.beside import beside
from multitudes.report.drift_figure import drift_figure
from multitudes.report.svg import Markup
from multitudes.report.words import STOPS, clean, cleaned, counted, emphasised
from multitudes.study.data import RunData
from multitudes.study.summary import WEAK_MODEL, is_small, summarise

FILE = "report.html"
_TEMPLATES = Path(__file__).parent / "templates"
_IN_SCRIPT = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def write_report(run: RunData, path: Path | None = None) -> Path:
    """Write the report beside the run, or to ``path``: whole, or not at all.

    Raises:
        MissingExtra: The extra ``report`` is not installed.
        StoreError: The file cannot be written.
    """
    path = path or run.folder / FILE
    page = build_report(run).encode()
    part = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(page)
        os.chmod(part, 0o666 & ~_umask())
        os.replace(part, path)
    except OSError as error:
        if part:
            Path(part).unlink(missing_ok=True)
        raise StoreError(
            "the report cannot be written", where=str(path), found=error.strerror or str(error),
            hint="give it another place with --out",
        ) from error  # fmt: skip
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def build_report(run: RunData) -> str:
    """The page. The same run gives the same text, on any machine and at any time.

    Raises:
        MissingExtra: The extra ``report`` is not installed.
    """
    script, style = _asset("report.js"), _asset("report.css")
    page: str = _template().render(
        **cleaned(_context(run)),
        figures=_figures(run),
        curves=_curves(run),
        data=_data(run),
        script=script,
        style=style,
        policy=f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "base-uri 'none'; form-action 'none'",
    )
    return clean(page)


@cache
def _template() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtra("report", needed_for="the report") from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("report.html.j2")


@cache
def _asset(name: str) -> Markup:
    return Markup("\n" + (_TEMPLATES / name).read_text("utf-8"))


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def _context(run: RunData) -> dict[str, Any]:
    summary = summarise(run)
    spoke = [
        {"part": part, **{k: "" if v is None else str(v) for k, v in m.model_dump().items()}}
        for part, m in summary.model.items()
    ]
    return {
        "name": run.spec.name,
        "context": run.population.context or run.spec.population.context,
        "deck": sections.deck(run),
        "headline": [emphasised(sentence) for sentence in summary.headline],
        "weak": WEAK_MODEL if is_small(run) else "",
        "unfinished": sections.unfinished(run),
        "scenarios": [s.model_dump() for s in run.spec.scenarios],
        "quotes": sections.quotes(run),
        "alike": sections.alike(run),
        "leak_missing": figures.why_missing(_reading(run, "leak")),
        "n_talks": len(run.conversations),
        "n_redrawn": sum(any(t.rejected for t in c.turns) for c in run.conversations),
        "surveyed": run.questionnaire is not None,
        "scores": sections.scores(run),
        "faults": sections.faults(run),
        "cost": sections.cost(summary.usage),
        "models": spoke,
        "pins": [
            ("study hash", summary.study.hash), ("seed", str(run.spec.seed)),
            *([("questionnaire hash", run.questionnaire.hash)] if run.questionnaire else []),
            *((f"{k} template hash", str(v)) for k, v in run.info["templates"].items()),
            *((k, str(v)) for k, v in run.info["versions"].items()),
        ],
        "study_toml": rerun.study_toml(run.spec),
        "commands": rerun.commands(run),
        "people_count": counted(len(run.population), "person", "people"),
    }  # fmt: skip


def _reading(run: RunData, gauge: str) -> Reading | None:
    return next((r for r in run.readings if r.gauge == gauge), None)


def _figures(run: RunData) -> list[figures.Figure]:
    """The figures in the order of reading. Their markup is made by ``svg.tag`` and is not cleaned again."""
    dimensions = run.questionnaire.dimensions if run.questionnaire else run.population.dimensions
    axes = {d.id: (d.name, d.low, d.high) for d in dimensions}
    if not run.readings:
        return []
    people = beside(_reading(run, "variance"))
    return [
        figures.persona_map(_reading(run, "coverage"), sections.distinct_names(run), axes),
        figures.gates(_reading(run, "coverage"), {k: v[0] for k, v in axes.items()}),
        figures.variance_bars(_reading(run, "variance")),
        ladder.ladder(_reading(run, "variance")),
        ladder.components(_reading(run, "variance")),
        *([people] if people else []),
        figures.diversity(_reading(run, "diversity")),
    ]


def _curves(run: RunData) -> list[figures.Figure]:
    if not run.readings:
        return []
    leak, listener = _reading(run, "leak"), _reading(run, "listener")
    return [
        figures.drift(
            leak, [("first_draw_by_turn", "ink", "first draw"), ("rate_by_turn", "accent", "line that was kept")],
            id_="leak", title="Sliding into the Assistant", share=True, null_name="a person: none",
            caption="How many lines sound like the Assistant, turn by turn: people who stay people keep both curves "
            "on the floor; curves that climb are voices that slip.",
        ),
        figures.drift(
            listener, [("identification_accuracy", "accent", "named rightly")],
            id_="accuracy", title="Recognised by what was said so far", share=True, null_name="guessing", top=1,
            caption="How often a listener who has heard the conversation so far names the right person: if the "
            "people were interchangeable, the curve would lie on the dashed line.",
        ),
        figures.drift(
            listener,
            [("bits_by_turn", "ink", "this line alone"), ("identification_bits", "accent", "all lines so far")],
            id_="bits", title="Bits of identity", null_name="no information",
            caption="How much the listener learns about who is speaking, in bits: if the people were "
            "interchangeable, both curves would lie on the dashed line; below it the lines mislead.",
        ),
        drift_figure(_reading(run, "drift")),
    ]  # fmt: skip


def _data(run: RunData) -> Markup:
    """What the script shows, as JSON that cannot end the block it stands in."""
    content = {
        "people": sections.people(run),
        "talks": sections.transcripts(run),
        "survey": sections.survey(run, _reading(run, "coverage")),
        "stops": STOPS,
    }
    text = json.dumps(cleaned(content), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_IN_SCRIPT))
