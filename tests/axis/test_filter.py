"""The filter, line by line: what a verdict must hold, whose name is whose, what is kept and what is asked twice."""

import asyncio

import pytest

pytest.importorskip("torch")

from multitudes.axis.adherence import by_judge, by_likelihood, read_score
from multitudes.core.errors import ModelError
from multitudes.models.base import Reply, ReplyFault
from multitudes.models.fake import FakeModel

# --- verdicts


@pytest.mark.parametrize(
    ("said", "score"),
    [
        ("3", 3), (" 0.", 0), ("Score: 2", 2), ("**1**", 1), ("(3)", 3), ("2\n", 2),
        ("-1", None), ("−1", None), ("+3", None), ("2.5", None), ("3,5", None), ("3/3", None), ("1 or 2", None),
        ("0-3", None), ("10", None), ("4", None), ("03", None), ("v3", None), ("3rd", None), ("score_3", None),
        ("three", None), ("", None), ("٣", None), ("3²", None), ("2 2", None), ("1e0", None),
    ],
)  # fmt: skip
def test_a_verdict_is_exactly_one_integer_from_0_to_3(said, score):
    assert read_score(said) == (-1 if score is None else score)


class Judge(FakeModel):
    """Says what a list says, and counts what it was asked."""

    def __init__(self, replies):
        super().__init__("judge", lambda *_: "")
        self.replies, self.asked = list(replies), []

    async def reply(self, requests):
        self.asked += requests
        return [self.replies.pop(0) for _ in requests]


def test_one_retry_then_unscored_and_a_reply_that_was_cut_is_no_verdict():
    """Cut off, '0 = it refuses' would be a refusal and '1' might have been '10'."""
    cut = Reply("0 = it refuses, speaking", finish="length")
    judge = Judge([cut, Reply("3"), Reply("yes"), Reply("2"), Reply("no")])
    assert asyncio.run(by_judge(judge, [("d", "q", "a"), ("d", "q", "b"), ("d", "q", "c")])) == [2, 3, -1]
    assert len(judge.asked) == 5
    assert {r.sampling.temperature for r in judge.asked} == {0}
    assert judge.asked[0].messages != judge.asked[3].messages  # the same words at temperature 0 give the same reply
    assert asyncio.run(by_judge(Judge([]), [])) == []


def test_a_refusal_of_the_provider_is_unscored_and_its_failure_is_no_verdict_at_all():
    refused = Reply("", finish="error", fault=ReplyFault("refused", "content"))
    assert asyncio.run(by_judge(Judge([refused, refused]), [("d", "q", "a")])) == [-1]
    for code in ("rate_limit", "timeout", "server", "budget"):
        down = Reply("", finish="error", fault=ReplyFault(code, "later"))
        with pytest.raises(ModelError, match="run the same command again"):
            asyncio.run(by_judge(Judge([down]), [("d", "q", "a")]))


# --- names


@pytest.mark.parametrize(
    "text",
    [
        "I am SmolLM and I like boats.", "I’m SmolLM.", "My name is smollm, at your service.", "As SmolLM, I sail.",
        "You can call me SmolLM.", "I was trained by Hugging Face to sail.", "I'm a sailor made by HuggingFace.",
    ],
)  # fmt: skip
def test_naming_oneself_or_ones_maker_is_naming_oneself(text):
    who = {"names": ("SmolLM",), "makers": ("Hugging Face",)}
    assert by_likelihood(text, 0.2, 0.0, **who).score == 2
    assert by_likelihood(text, 0.2, 0.0).score == 3  # nothing of it is in the lists that all models share
    assert by_likelihood(text, -0.2, 0.0, **who).score == 1


@pytest.mark.parametrize(
    "text",
    [
        "My boat was made by Hugging Face.", "Sam and I am here.", "I was raised by the sea.", "I know SmolLM.",
        "The net was trained by Hugging Face. I am the cook.", "I am a smollmer.",
    ],
)  # fmt: skip
def test_others_may_be_named(text):
    assert by_likelihood(text, 0.2, 0.0, names=("SmolLM", ""), makers=("Hugging Face", " ")).score == 3


def test_an_animal_called_like_the_model_is_in_its_role():
    assert by_likelihood("As a llama I chew. I am a llama of the high plains.", 0.2, 0, names=("Llama",)).score == 3


def test_a_refusal_in_role_is_3_and_one_out_of_it_0():
    said = "I'm sorry, but I can't assist with that request."
    assert by_likelihood(said, 0.2, 0.0).score == 3
    assert by_likelihood(said, -0.2, 0.0).score == 0
    assert by_likelihood("No. The harbour master forbids it.", 0.2, 0.0).score == 3
