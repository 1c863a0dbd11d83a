"""Texts of models that are asked for once and stored: one JSON line each, whatever comes in between."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from multitudes.core.canonical import canonical_json
from multitudes.core.errors import DataFormatError, ModelError, StoreError
from multitudes.core.loop import run_sync
from multitudes.models.base import ChatModel, Sampling
from multitudes.simulate.samples import Prompt, Text, sample

OWN = ("", "empty", "parse", "too_long")  # no fault, or the model's own: such a text counts as it is
AT_ONCE = 64  # replies in one batch and one write
MOST_TIMES = 40  # texts of a cheap arm for one of the dearest, at equal cost
ROUNDS = 8  # of sampling more, until the cost is met
Wanted = Sequence[tuple[Prompt, int]]
Watch = Callable[[str, int, int], None]


class Shelf(NamedTuple):
    """Where the texts of one model are and how they are asked for.

    Attributes:
        name: The model.
        open_model: Opens it.
        path: Its file.
        sampling: How texts are drawn.
        root: Root of the seeds.
        watch: Called with the name, how many texts are there, and how many are wanted.
    """

    name: str
    open_model: Callable[[], ChatModel]
    path: Path
    sampling: Sampling
    root: str
    watch: Watch

    def texts(self, wanted: Wanted) -> list[Text]:
        """One text for each prompt and sample number, in order; what is stored is not asked again.

        Raises:
            ModelError: Texts that a server could not give.
            DataFormatError: Stored texts that were asked for in another way, or that cannot be read.
        """
        settings = {
            "model": self.name, "root": self.root, "temperature": self.sampling.temperature,
            "max_tokens": self.sampling.max_tokens,
        }  # fmt: skip
        known = _read(self.path, settings)
        place = {p.id: n for n, (p, _) in enumerate(wanted)}  # samples of one prompt together: engines share its work
        todo = sorted(((p, i) for p, i in wanted if (p.id, i) not in known), key=lambda w: place[w[0].id])
        self.watch(self.name, len(wanted) - len(todo), len(wanted))
        if todo:
            model = self.open_model()
            try:
                for start in range(0, len(todo), AT_ONCE):
                    part = todo[start : start + AT_ONCE]
                    found = run_sync(sample(model, part, sampling=self.sampling, root=self.root))
                    had = [
                        t for t in found if t.fault in OWN
                    ]  # what a server could not give is asked again next time
                    _append(self.path, settings, had)
                    known |= {(t.prompt, t.sample): t for t in had}
                    self.watch(self.name, len(wanted) - len(todo) + start + len(part), len(wanted))
            finally:
                run_sync(model.aclose())
        missing = [(p.id, i) for p, i in wanted if (p.id, i) not in known]
        if missing:
            raise ModelError(
                "some texts could not be had", where=self.name, found=f"{len(missing)} of {len(wanted)}",
                hint="run the same command again: what is there is kept",
            )  # fmt: skip
        return [known[p.id, i] for p, i in wanted]


def grid(prompts: Sequence[Prompt], start: int, end: int) -> list[tuple[Prompt, int]]:
    """Samples ``start`` to ``end`` - 1 of every prompt, one round of all prompts after the other."""
    return [(p, i) for i in range(start, end) for p in prompts]


def cost_of(text: Text) -> int:
    """Tokens of prompt and reply."""
    return text.prompt_tokens + text.tokens


def at_cost(shelf: Shelf, prompts: Sequence[Prompt], texts: Sequence[Text], tokens: float) -> list[Text]:
    """``texts``, and as many more of the same prompts as bring their cost nearest to ``tokens``.

    More are asked for in rounds over all prompts, so that no prompt gets two more than another. Which ones are used
    depends on the texts alone, not on what else the file holds.

    Args:
        shelf: Of the model.
        prompts: Of one domain.
        texts: What is there, in rounds over the prompts, the same number of each.
        tokens: What the dearest model took.
    """
    out = list(texts)
    k = len(texts) // len(prompts)
    more = grid(prompts, k, k * MOST_TIMES)
    spent, used = float(sum(map(cost_of, out))), 0
    for _ in range(ROUNDS):
        each = max(spent / len(out), 1.0)
        count = min(round((tokens - spent) / each), len(more) - used)
        if count <= 0:
            break
        found = shelf.texts(more[used : used + count])
        for text in found:
            if abs(spent + cost_of(text) - tokens) > abs(spent - tokens):
                return out
            out.append(text)
            spent, used = spent + cost_of(text), used + 1
    return out


def _read(path: Path, settings: Mapping[str, Any]) -> dict[tuple[str, int], Text]:
    """Texts that are there already, a line that a kill cut off left out; refused if asked in another way."""
    if not path.is_file():
        return {}
    *lines, rest = path.read_text(encoding="utf-8").split("\n")
    rows = [_row(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line]
    if rest:  # a line that was never finished
        whole = path.with_name(f".{path.name}.part")
        whole.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        os.replace(whole, path)
    for row in rows:
        other = {key: row.get(key) for key in settings}
        if other != settings:
            raise DataFormatError(
                "texts that were asked in another way", where=str(path), found=str(other),
                expected=str(dict(settings)), hint="use another --out",
            )  # fmt: skip
    return {(r["prompt"], r["sample"]): Text(**{f: r[f] for f in Text._fields}) for r in rows}


def _row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataFormatError("not a line of JSON", where=where, found=line[:80], hint="use another --out") from error
    if not isinstance(row, dict) or not {"model", *Text._fields} <= set(row):
        raise DataFormatError("not a text of ours", where=where, found=line[:80], hint="use another --out")
    return row


def _append(path: Path, settings: Mapping[str, Any], texts: Sequence[Text]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(canonical_json({**settings, **t._asdict()}) + "\n" for t in texts))
    except OSError as error:
        raise StoreError("texts cannot be stored", where=str(path), found=error.strerror or str(error)) from error
