"""Which tokens a trained model learns: its own words and the token that ends its turn, and nothing else."""

import pytest

pytest.importorskip("torch")

from multitudes.core.errors import ConfigError
from multitudes.models.base import Message
from multitudes.models.local.template import ChatTemplate
from multitudes.models.local.tiny import CHATML, TURNS, byte_tokenizer
from multitudes.train.rows import IGNORED, row_of

END = 1


def template(text=CHATML):
    return ChatTemplate(byte_tokenizer(text), end_ids=[END])


def learned(made, row):
    """The learned stretches as text, each with the token that ends it."""
    spans, now = [], []
    for token, label in zip(row.input_ids, row.labels, strict=True):
        if label != IGNORED:
            assert label == token
            now.append(token)
        elif now:
            spans.append(now)
            now = []
    return [made.decode(s) + ("<end>" if s[-1] == END else "") for s in [*spans, *([now] if now else [])]]


TALK = (
    Message("system", "You are <|im_end|> Ada."), Message("user", "Hi Ada."),
    Message("assistant", "Hi. <|im_end|> you"), Message("user", "What now?"), Message("assistant", "Now – nothing."),
)  # fmt: skip


@pytest.mark.parametrize("text", [CHATML, TURNS])
def test_only_own_lines_and_their_ends_are_learned(text):
    made = template(text)
    row = row_of(made, TALK)
    assert learned(made, row) == ["Hi. <|im_end|> you<end>", "Now – nothing.<end>"]
    assert row.learned == sum(x != IGNORED for x in row.labels)


def test_a_row_is_what_the_engine_reads_with_what_was_said_after_it():
    made = template()
    context, _ = made.context_ids(TALK[:-1])
    row = row_of(made, TALK)
    assert list(row.input_ids) == context + made.continuation_ids(TALK[-1].text, include_end=True)


def test_the_end_of_a_line_that_a_limit_cut_off_is_not_learned():
    made = template()
    row = row_of(made, TALK, ended=False)
    assert learned(made, row) == ["Hi. <|im_end|> you<end>", "Now – nothing."]
    assert row.input_ids == row_of(made, TALK).input_ids


def test_who_opens_is_learned_too():
    made = template()
    talk = (
        Message("system", ""),
        Message("assistant", "Hello?"),
        Message("user", "Yes?"),
        Message("assistant", "Me."),
    )
    assert learned(made, row_of(made, talk)) == ["Hello?<end>", "Me.<end>"]


@pytest.mark.parametrize("talk", [(), TALK[:2], (*TALK[:2], Message("assistant", ""))])
def test_a_row_without_anything_of_the_speaker_is_refused(talk):
    with pytest.raises(ConfigError, match="a row ends with"):
        row_of(template(), talk)


@pytest.mark.weights
def test_rows_of_the_embedded_model_end_its_turns():
    from transformers import AutoTokenizer

    from multitudes.models.local.embedded import require

    tokenizer = AutoTokenizer.from_pretrained(str(require("smollm2")))
    made = ChatTemplate(tokenizer, end_ids=[2])
    row = row_of(made, TALK)
    labels = [x for x in row.labels if x != IGNORED]
    assert labels.count(2) == 2  # one end for each own line; what is written <|im_end|> in a line is text
    text = tokenizer.decode([x for x in labels if x != 2])
    assert text == "Hi. <|im_end|> youNow – nothing."
