"""The report as text: nothing a model or a user wrote becomes markup, and every state of a run has a page."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from report_runs import STATES, make_run

from multitudes.core.errors import MissingExtra, StoreError
from multitudes.core.loop import run_sync
from multitudes.core.records import Curve, Persona, Point, Population, Reading
from multitudes.report import build
from multitudes.report.build import build_report, write_report
from multitudes.report.rerun import study_toml
from multitudes.report.svg import nice_range, tag
from multitudes.study.data import open_run
from multitudes.study.run import run_study
from multitudes.study.spec import StudySpec
from multitudes.study.summary import WEAK_MODEL

NASTY = (
    "<script>alert(1)</script></script><!--<img src=x onerror=alert(2)>\"'{{913*917}}{%raw%}\u2028\u2029\x00\x07\x1b"
    "\ud800\u202eend & <svg/onload=alert(3)><style>*{display:none}</style></textarea></title>]]>"
)


class Page(HTMLParser):
    """Counts elements, attributes and text as a browser's tokeniser would."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: dict[str, int] = {}
        self.attributes: list[tuple[str, str, str | None]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text: list[str] = []
        self.comments: list[str] = []
        self._in: str = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[name] = self.tags.get(name, 0) + 1
        self.attributes += [(name, k, v) for k, v in attrs]
        self._in = name
        if name == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, name: str) -> None:
        self._in = ""

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def handle_data(self, data: str) -> None:
        if self._in == "script":
            attrs, so_far = self.scripts[-1]
            self.scripts[-1] = (attrs, so_far + data)
        elif self._in != "style":
            self.text.append(data)

    @property
    def data(self) -> Any:
        return json.loads(next(text for attrs, text in self.scripts if attrs.get("id") == "data"))


# --- escaping -----------------------------------------------------------------------------------------------------


def test_nothing_written_by_a_model_or_user_becomes_markup() -> None:
    plain, nasty = Page(build_report(make_run())), Page(build_report(make_run(NASTY)))
    assert nasty.tags == plain.tags  # not one element more or less
    assert [(t, k) for t, k, _ in nasty.attributes] == [(t, k) for t, k, _ in plain.attributes]
    assert nasty.comments == plain.comments == []
    assert [a for a, _ in nasty.scripts] == [{"type": "application/json", "id": "data"}, {}]


def test_what_was_said_reads_as_it_was_said() -> None:
    page = Page(build_report(make_run(NASTY)))
    assert "{{913*917}}" in "".join(page.text)
    assert "837221" not in "".join(page.text)
    said = page.data["talks"][0]["turns"][0]["text"]
    assert said.startswith("first <script>alert(1)</script></script><!--")
    assert "\u2028\u2029␀␇␛\ufffd" in said  # what no page can hold is made visible


def test_the_data_block_cannot_end_itself() -> None:
    text = build_report(make_run(NASTY))
    block = text.split('id="data">')[1].split("</script>")[0]
    assert not set("<>&\u2028\u2029") & set(block)
    assert json.loads(block)["people"][0]["name"].startswith("<script>")


def test_the_page_can_be_encoded_and_holds_no_control_characters() -> None:
    text = build_report(make_run(NASTY))
    assert text.encode()
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f\ud800-\udfff]", text)


def test_names_of_elements_and_attributes_are_ours_and_values_are_escaped() -> None:
    assert tag("text", '<b>"', fill='"><script>') == '<text fill="&quot;&gt;&lt;script&gt;">&lt;b&gt;"</text>'


def test_script_never_writes_html() -> None:
    code = (Path(build.__file__).parent / "templates" / "report.js").read_text()
    banned = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|Function\(|fetch\(|XMLHttp|\.style\b"
    assert not re.search(banned, code)


# --- offline ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["plain", "see https://example.org/x.js or //example.org"])
def test_nothing_is_loaded(text: str) -> None:
    page = Page(build_report(make_run(text)))
    assert not {"link", "iframe", "img", "object", "embed", "base", "source", "audio", "video"} & set(page.tags)
    loading = [(t, k, v) for t, k, v in page.attributes if k in ("src", "href", "action", "srcset", "data", "poster")]
    assert all(t == "a" and k == "href" and v and v.startswith("#") for t, k, v in loading)
    style = (Path(build.__file__).parent / "templates" / "report.css").read_text()
    assert "url(" not in style
    assert "@import" not in style


def test_policy_allows_only_the_page_s_own_script_and_style() -> None:
    page = Page(build_report(make_run()))
    policy = next(v for t, k, v in page.attributes if t == "meta" and k == "content" and v and "default-src" in v)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert not any(k == "style" or k.startswith("on") for _, k, _ in page.attributes)


# --- states of a run ----------------------------------------------------------------------------------------------

SAYS = {
    "no survey": "This study has no survey.",
    "no conversations": "This study has no conversations.",
    "nothing yet": "This run is not finished",
    "all faulted": "Every fault",
    "one person": "1, made by given",
    "no gauge could be read": "Not measured: no leak here.",
    "an empty reading": "Nobody has enough scored answers to be placed.",
}


@pytest.mark.parametrize("state", STATES)
def test_every_state_has_a_page(state: str) -> None:
    text = build_report(make_run(**STATES[state]))
    page = Page(text)
    assert SAYS[state] in "".join(page.text)
    assert len(page.scripts) == 2
    assert "undefined" not in "".join(page.text).lower()


def test_two_of_three_axes_one_axis_and_many_axes_have_a_map() -> None:
    for k, panels in ((1, 1), (2, 1), (3, 3), (6, 15), (8, 7)):
        axes = [f"x{i}" for i in range(k)]
        table = {"axes": axes, "personas": ["p0", "p1"], "z": [[0.2] * k, [0.8] * k], "t": None}
        reading = Reading(gauge="coverage", scores=(), tables={"persona_map": table})
        page = Page(build_report(make_run(readings=(reading,))))
        assert sum("Map of" in (v or "") for t, a, v in page.attributes if (t, a) == ("svg", "aria-label")) == panels


def test_a_collapsed_population_is_called_by_its_name() -> None:
    table = {"axes": ["a", "b"], "personas": ["p0", "p1", "p2"], "z": [[0.5, 0.5]] * 3, "t": [[0.1, 0.9]] * 3}
    reading = Reading(gauge="coverage", scores=(), tables={"persona_map": table})
    assert "all 3 answers are here" in build_report(make_run(readings=(reading,)))


def test_unscored_and_not_applicable_are_told_apart() -> None:
    text = " ".join(Page(build_report(make_run())).text)
    assert "unscored" in text
    assert "n/a" in text
    assert "∞" in text
    assert "nan" not in re.findall(r"[a-z]+", text.lower())


def test_weak_model_note_stands_right_under_the_headlines() -> None:
    run = make_run()
    small = replace(run, info={**run.info, "models": {"simulator": {"name": "smollm2", "small_model": True}}})
    assert WEAK_MODEL not in build_report(run)
    text = build_report(small)
    assert 0 < text.index(WEAK_MODEL) - text.index('class="headlines"') < 4000
    assert text.index(WEAK_MODEL) < text.index("<figure")


def test_people_who_share_a_name_are_told_apart() -> None:
    twins = tuple(Persona(id=f"twin-{k}", name="Ann", text=f"number {k}") for k in range(2))
    run = make_run(population=Population(personas=twins), readings=(), conversations=())
    assert [p["name"] for p in Page(build_report(run)).data["people"]] == ["Ann (twin-0)", "Ann (twin-1)"]


def test_quotes_lead_to_the_turn_they_were_said_in() -> None:
    page = Page(build_report(make_run()))
    link = next(v for t, k, v in page.attributes if t == "a" and k == "href" and v and v.startswith("#talk-"))
    talk, turn = map(int, link.removeprefix("#talk-").split("-"))
    assert page.data["talks"][talk]["id"] == "c0"
    assert page.data["talks"][talk]["turns"][turn]["who"] == "user"


def test_the_most_alike_lines_stand_side_by_side_with_who_said_them() -> None:
    text = build_report(make_run("plain"))
    part = text[text.index('id="alike"') : text.index('id="transcripts"')]
    assert "<b>80%</b> in common, between people" in part
    assert part.index("one plain") < part.index("plain 0") < part.index("two plain") < part.index("? plain")
    assert part.count("read on") == 1  # one of the two conversations is not there any more
    assert re.search(r'href="#talk-0-0"', part)
    bare = build_report(make_run(readings=()))
    assert "#alike" not in bare
    assert 'id="alike"' not in bare


def test_long_runs_keep_their_ticks_apart() -> None:
    points = tuple(Point(x=x, value=x / 300, low=None, high=None, n=3) for x in range(1, 301))
    curve = Curve(gauge="leak", name="rate_by_turn", x_label="own turn", points=points, null=0.0)
    text = build_report(make_run(readings=(Reading(gauge="leak", scores=(), curves=(curve,)),)))
    assert len(text) < 120_000


@pytest.mark.parametrize(("low", "high"), [(0, 0), (0.0625, 0.3), (-1.3, 1.7), (1e-9, 2e-9), (-5e6, 0.1)])
def test_axes_hold_their_values_and_have_few_ticks(low: float, high: float) -> None:
    found = nice_range(low, high)
    assert found.low <= low <= high <= found.high
    assert 3 <= len(found.ticks) <= 7


# --- the file -----------------------------------------------------------------------------------------------------


def test_the_study_file_in_the_report_is_the_study() -> None:
    spec = StudySpec.model_validate(
        {"name": "s", "seed": 9, "scenarios": [{"id": "a", "goal": 'say "no"\n\\ \x7f é'}, {"id": "b", "goal": "b"}],
         "population": {"dimensions": [{"id": "d", "name": "D", "low": "l", "high": "h", "ladder": ["x", "y"]}]},
         "models": {"target": {"url": "http://127.0.0.1/x", "body": {"a": [{"b c": None, "d": 1}]}}},
         "budget": {"tokens": 5}}
    )  # fmt: skip
    read = StudySpec.model_validate(tomllib.loads(study_toml(spec).replace("␡", "\\u007f")))
    assert read.scenarios == spec.scenarios
    assert read.population == spec.population
    assert read.budget == spec.budget


def test_the_same_run_gives_the_same_bytes() -> None:
    assert build_report(make_run(NASTY)) == build_report(make_run(NASTY))


def test_written_whole_or_not_at_all(tmp_path: Path) -> None:
    run = make_run(folder=tmp_path)
    assert write_report(run) == tmp_path / "report.html"
    assert write_report(run).read_text("utf-8") == build_report(run)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        write_report(run, tmp_path / "folder")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "report.html"]


def test_missing_template_engine_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    build._template.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtra, match=r"multitudes\[report\]"):
        build_report(make_run())
    build._template.cache_clear()


def test_rebuilt_from_the_store_without_a_model(tmp_path: Path) -> None:
    spec = StudySpec.model_validate(
        {"name": "fake", "population": {"n": 5, "context": "callers"}, "scenarios": [{"id": "s", "goal": "cash"}],
         "models": {"simulator": "fake:people", "target": "fake:echo"}, "conversation": {"turns": 2},
         "survey": {"questionnaire": "help-line", "mode": "sampled", "runs": 1}}
    )  # fmt: skip
    run = run_sync(run_study(spec, tmp_path / "run"))
    code = (
        "import sys; from pathlib import Path; from multitudes.study.data import open_run\n"
        "from multitudes.report.build import write_report\n"
        "write_report(open_run(Path(sys.argv[1])), Path(sys.argv[2]))\n"
        "heavy = {'torch', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    out = tmp_path / "again.html"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "run"), str(out)], check=True)
    assert out.read_text("utf-8") == build_report(run) == build_report(open_run(tmp_path / "run"))
    said = sum(len(t.text) for c in run.conversations for t in c.turns)
    assert out.stat().st_size < 200_000 + 4 * said
