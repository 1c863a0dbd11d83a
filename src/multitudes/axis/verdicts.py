"""What judges said, kept on the disk beside the answers: nothing is asked twice of one judge.

One file for each judge, one line for each question, added when its batch is answered. The name of a line is the hash
of what was asked, so that an answer that was written anew, or another rubric, is another question.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from multitudes.axis.adherence import RUBRIC_HASH, by_judge, rubric
from multitudes.core.canonical import content_hash
from multitudes.core.errors import ModelError
from multitudes.models.base import ChatModel

AT_ONCE = 64  # questions to a judge in one batch


class Verdicts:
    """Scores by one judge, from ``folder`` where they are known.

    Args:
        folder: Where they are kept.
        judge: Who says them.
    """

    def __init__(self, folder: Path, judge: ChatModel) -> None:
        self._judge = judge
        self._path = folder / f"verdicts-{content_hash([judge.info.fingerprint, RUBRIC_HASH], length=12)}.jsonl"
        self._known: dict[str, int] = {}
        if self._path.is_file():
            whole, _, torn = self._path.read_bytes().rpartition(b"\n")
            for line in whole.splitlines():
                row = json.loads(line)
                self._known[row["asked"]] = row["score"]
            if torn:  # a kill in the middle of a line
                os.truncate(self._path, len(whole) + 1 if whole else 0)

    async def scores(
        self, rows: Sequence[tuple[str, str, str]], *, told: Callable[[int, int], None] | None = None
    ) -> list[int]:
        """Scores of (definition, question, answer), in their order; -1 = unscored.

        Args:
            rows: What is judged.
            told: Told of (done, all) questions.

        Raises:
            ModelError: A verdict that could not be had; those before it are kept.
        """
        asked = [rubric(*row) for row in rows]
        keys = [content_hash(text, length=24) for text in asked]
        new = list({k: text for k, text in zip(keys, asked, strict=True) if k not in self._known}.items())
        for start in range(0, len(new), AT_ONCE):
            if told is not None:
                told(len(rows) - len(new) + start, len(rows))
            part = new[start : start + AT_ONCE]
            found = await by_judge(self._judge, [text for _, text in part])
            self._keep({k: s for (k, _), s in zip(part, found.scores, strict=True) if s is not None})
            if found.fault is not None:
                raise ModelError(
                    "a verdict of the judge could not be had", where=self._judge.info.name,
                    found=f"{found.fault.code}: {found.fault.detail}",
                    hint="run the same command again: what was judged is kept",
                )  # fmt: skip
        return [self._known[k] for k in keys]

    def _keep(self, scores: dict[str, int]) -> None:
        lines = "".join(json.dumps({"asked": k, "score": s}) + "\n" for k, s in scores.items())
        with self._path.open("a", encoding="utf-8") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        self._known |= scores
