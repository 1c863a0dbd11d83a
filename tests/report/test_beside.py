"""The panel beside people on the page: a dot for each group, the other looks in words, nothing without people."""

from report_runs import make_run

from multitudes.core.records import Reading, Score
from multitudes.report.beside import beside
from multitudes.report.build import build_report

GROUPS = [
    {"attribute": "town", "group": "Ulm", "people": 40, "simulated": 10, "raw": 0.2, "pooled": 0.1, "low": -0.1,
     "high": 0.3, "note": ""},
    {"attribute": "town", "group": "Rom", "people": 44, "simulated": 9, "raw": -0.5, "pooled": -0.4, "low": -0.6,
     "high": -0.2, "note": ""},
    {"attribute": "town", "group": "<b>Oslo", "people": 3, "simulated": 9, "raw": None, "pooled": None, "low": None,
     "high": None, "note": "3 people and 9 personas; 30 and 2 needed"},
]  # fmt: skip
SCORES = (
    Score(gauge="variance", name="group_bias", value=-0.4, note="town = Rom"),
    Score(gauge="variance", name="alt_winning_rate", value=0.75, note="epsilon 0.1"),
    Score(gauge="variance", name="alt_advantage", value=None, note="too few items"),
    Score(gauge="variance", name="first_component", value=0.6, low=0.4, high=0.8),
    Score(gauge="variance", name="first_component_people", value=0.3),
)


def test_groups_are_dots_and_small_ones_are_named():
    figure = beside(Reading(gauge="variance", scores=SCORES, tables={"groups": GROUPS}))
    assert figure.body.count('class="dot accent"') == 2
    assert [r[0] for r in figure.rows[:3]] == ["town = Ulm", "town = Rom", "town = <b>Oslo"]
    assert figure.rows[1][1:] == ("44 and 9", "−0.4", "−0.6 to −0.2")
    notes = " ".join(figure.notes)
    assert "Too small to compare: town = <b>Oslo." in notes
    assert "passed from 50%): 75%; epsilon 0.1." in notes
    assert "one left out: n/a; too few items." in notes
    assert "along one line: 60% (40% to 80%)." in notes
    low = figure.body.index("town = Rom")
    assert 'cx="16.67%"' in figure.body[low:]  # -.4 on a scale from -.6 to .6


def test_the_page_shows_it_and_escapes_it():
    page = build_report(make_run(readings=(Reading(gauge="variance", scores=SCORES, tables={"groups": GROUPS}),)))
    assert "Beside people" in page
    assert "<b>Oslo" not in page
    assert "&lt;b&gt;Oslo" in page


def test_without_large_groups_it_says_why_and_without_people_there_is_no_figure():
    unknown = Score(gauge="variance", name="group_bias", value=None, note="no attribute that both sides know")
    alone = beside(Reading(gauge="variance", scores=(unknown, *SCORES[1:])))
    assert "No group can be compared: no attribute that both sides know." in alone.body
    assert beside(Reading(gauge="variance", scores=(Score(gauge="variance", name="icc_within", value=0.4),))) is None
    assert beside(None) is None
    assert "Beside people" not in build_report(make_run())
