"""The most alike lines of a run lead to where they were said."""

from multitudes.models.base import Sampling
from multitudes.models.fake import echo, people
from multitudes.report.sections import alike, ordered
from multitudes.simulate.targets import ModelTarget
from multitudes.study.run import Voices


def test_quoted_lines_are_those_of_their_conversation_and_turn(tmp_path, small, run):
    spec = small(survey=None, measure={"gauges": ["diversity"]})
    found = run(spec, tmp_path / "a", voices=Voices(people(), ModelTarget(echo(), Sampling()), people(), None))
    by_id = {c.id: c for c in found.conversations}
    rows = found.readings[0].tables["alike"]
    assert {r["where"] for r in rows} == {"across", "within"}
    for side in (side for row in rows for side in row["sides"]):
        said = by_id[side["conversation"]]
        assert said.turns[side["turn"]].text == side["text"]
        assert said.turns[side["turn"]].speaker == "user"
        assert said.persona_id == side["source"]
    for row in rows:
        assert len({side["source"] for side in row["sides"]}) == (2 if row["where"] == "across" else 1)
    talks, shown = ordered(found), alike(found)
    for row, drawn in zip(rows, shown, strict=True):
        for side, link in zip(row["sides"], (s["link"] for s in drawn["sides"]), strict=True):
            talk, turn = map(int, link.removeprefix("#talk-").split("-"))
            assert (talks[talk].id, turn) == (side["conversation"], side["turn"])
