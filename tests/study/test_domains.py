"""Models side by side on the shipped prompts, and files of texts side by side, with models that need no weights."""

import csv
import json

import pytest
from closed_solutions import PROGRAM, SOLUTIONS

from multitudes.core.errors import ConfigError, DataFormatError, ModelError
from multitudes.measure.diversity.code_gate import gate
from multitudes.measure.diversity.code_values import conform, parse_type
from multitudes.models.base import Reply, ReplyFault
from multitudes.models.fake import scripted
from multitudes.report.comparison import comparison_page, write_comparison
from multitudes.simulate.samples import DOMAINS, domain_file, prompts
from multitudes.study.domains import compare_models, task_of
from multitudes.study.texts import compare_tables


class Talker:
    """Says as many different things as it has words; counts what it was asked."""

    def __init__(self, words):
        self.words, self.asked, self.info = words, 0, scripted(["x"]).info

    async def reply(self, requests):
        self.asked += len(requests)
        return [
            Reply(" ".join(f"word{(r.seed // 7**j) % self.words}" for j in range(20)), seed=r.seed) for r in requests
        ]

    async def aclose(self):
        pass


def models(*words):
    talkers = {f"m{w}": Talker(w) for w in words}
    return talkers, {name: lambda t=t: t for name, t in talkers.items()}


@pytest.mark.parametrize("domain", DOMAINS)
def test_prompts_are_many_different_and_nested(domain):
    every = prompts(domain, 60)
    assert len({p.text for p in every}) == len({p.id for p in every}) == 60
    assert prompts(domain, 7) == every[:7]
    assert all("{" not in p.text + "".join(p.systems) for p in every)
    with pytest.raises(ConfigError, match="1 to 60"):
        prompts(domain, 61)


def test_texts_are_stored_and_never_asked_twice(tmp_path):
    talkers, opened = models(5, 300)
    ask = {"domains": ["creative"], "n_prompts": 8, "k": 3}
    found = compare_models(opened, tmp_path, **ask)
    assert {c.score: c.verdict.split()[0] for c in found.cells}["ead"] == "higher"
    assert {name: t.asked for name, t in talkers.items()} == {"m5": 24, "m300": 24}
    assert compare_models(opened, tmp_path, **ask) == found
    assert talkers["m5"].asked == 24
    path = tmp_path / "m5.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:20]) + lines[20][:30], encoding="utf-8")  # killed in the middle of a line
    assert compare_models(opened, tmp_path, **ask) == found
    assert talkers["m5"].asked == 28
    with pytest.raises(DataFormatError, match="another way"):
        compare_models(opened, tmp_path, temperature=0.5, **ask)


def test_seeds_depend_on_what_is_asked_and_not_on_the_model(tmp_path):
    _, opened = models(5, 300)
    compare_models(opened, tmp_path, domains=["persona"], n_prompts=3, k=2)
    rows = [[json.loads(x) for x in (tmp_path / f"m{w}.jsonl").read_text().splitlines()] for w in (5, 300)]
    assert [r["seed"] for r in rows[0]] == [r["seed"] for r in rows[1]]
    assert len({r["seed"] for r in rows[0]}) == 6


def test_programs_are_run_in_a_sandbox_or_not_judged(tmp_path):
    from multitudes.sandbox.executor import SandboxUnavailableError, find_executor

    class Coder(Talker):
        async def reply(self, requests):
            shift = ["len(xs)", "i", "0"]
            head = "```python\ndef f(xs: list[int]) -> list[int]:\n    return [i + "
            return [Reply(f"{head}{shift[r.seed % self.words]} for i in xs]\n```") for r in requests]

    opened = {"same": lambda: Coder(1), "varied": lambda: Coder(3)}
    bare = compare_models(opened, tmp_path, domains=["code"], n_prompts=4, k=4)
    assert "d_pair" not in {c.score for c in bare.cells}
    assert any("validity is unknown" in c for c in bare.caveats)
    try:
        executor = find_executor()
    except SandboxUnavailableError as error:
        pytest.skip(str(error).splitlines()[0])
    judged = compare_models(opened, tmp_path, domains=["code"], n_prompts=4, k=4, executor=executor)
    cell = next(c for c in judged.cells if c.score == "d_pair")
    assert cell.mean_before == 0 < cell.mean_after
    assert judged.effective[0].valid_before == judged.effective[0].valid_after == 1


def write(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, fieldnames=list(rows[0]))
        out.writeheader()
        out.writerows(rows)
    return path


def rows(words, evil=""):
    return [{"prompt": f"p{g}", "text": evil + " ".join(f"w{(g * 31 + k * 17 + j * j) % words}" for j in range(15))}
            for g in range(10) for k in range(3)]  # fmt: skip


def test_files_are_arms_and_columns_may_be_models(tmp_path):
    a, b = write(tmp_path / "a.csv", rows(7)), write(tmp_path / "b.csv", rows(90))
    found = compare_tables([a, b])
    assert found.arms == ("a", "b")
    both = write(tmp_path / "both.csv", [{**r, "model": m} for m, w in (("a", 7), ("b", 90)) for r in rows(w)])
    assert compare_tables([both]).cells == found.cells
    with pytest.raises(DataFormatError, match="hold one arm"):
        compare_tables([a, _copy(a)])
    bare = write(tmp_path / "bare.csv", [{"text": "x", "other": 1}])
    with pytest.raises(DataFormatError, match="no column for 'prompt'"):
        compare_tables([bare, b])


def _copy(path):
    folder = path.parent / "again"
    folder.mkdir()
    return write(folder / path.name, rows(3))


def test_the_page_shows_every_arm_and_lets_nothing_run(tmp_path):
    evil = "<script>alert(1)</script> "
    found = compare_tables([write(tmp_path / "a.csv", rows(7, evil)), write(tmp_path / "b.csv", rows(90))])
    page = comparison_page(found)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "b against a" in page
    assert all(cell.verdict in page for cell in found.cells)
    assert write_comparison(found, tmp_path / "deep" / "page.html").read_text(encoding="utf-8") == page
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["page.html"]


def test_a_damaged_file_of_texts_is_told_by_line(tmp_path):
    _, opened = models(5, 300)
    ask = {"domains": ["creative"], "n_prompts": 3, "k": 2}
    compare_models(opened, tmp_path, **ask)
    path = tmp_path / "m5.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([lines[0], "not json\n", *lines[1:]]), encoding="utf-8")
    with pytest.raises(DataFormatError, match=r"m5\.jsonl:2"):
        compare_models(opened, tmp_path, **ask)
    path.write_text("".join([lines[0], '{"model": "m5"}\n', *lines[1:]]), encoding="utf-8")
    with pytest.raises(DataFormatError, match=r"m5\.jsonl:2"):
        compare_models(opened, tmp_path, **ask)


def test_what_a_server_could_not_give_is_asked_again_and_what_a_model_gave_empty_is_not(tmp_path):
    class Shaky(Talker):
        broken = True

        async def reply(self, requests):
            found = await super().reply(requests)
            if self.broken:
                found[0] = Reply("", finish="error", fault=ReplyFault("timeout", "no answer"))
            found[1] = Reply("", finish="error", fault=ReplyFault("empty", "nothing was said"))
            return found

    shaky, calm = Shaky(90), Talker(90)
    opened = {"calm": lambda: calm, "shaky": lambda: shaky}
    ask = {"domains": ["creative"], "n_prompts": 8, "k": 3}
    with pytest.raises(ModelError, match="1 of 24"):
        compare_models(opened, tmp_path, **ask)
    assert shaky.asked == 24
    shaky.broken = False
    Shaky.reply = Talker.reply
    compare_models(opened, tmp_path, **ask)
    assert shaky.asked == 25


@pytest.fixture(scope="module")
def sandbox():
    from multitudes.sandbox.executor import SandboxUnavailableError, find_executor

    try:
        return find_executor()
    except SandboxUnavailableError as error:
        pytest.skip(str(error).splitlines()[0])


def test_every_closed_task_has_cases_that_a_right_program_passes_and_others_do_not(sandbox):
    raw = domain_file("code-closed")
    names = list(SOLUTIONS)
    tasks = [task_of(f"code-closed-{k}") for k in range(60)]
    assert all(len(t.cases) == len(raw["inputs"]) == 10 for t in tasks)
    right = gate(tasks, [PROGRAM.format(expression=SOLUTIONS[name]) for name in names], sandbox)
    assert right.kind == "structural"
    assert [reason for reason in right.reasons if reason] == []
    # Every task asks for something else: the program of the next task fails at it.
    wrong = gate(tasks, [PROGRAM.format(expression=SOLUTIONS[name]) for name in names[1:] + names[:1]], sandbox)
    assert not wrong.valid.any()
    for task, (_, returns, _) in zip(tasks, raw["tasks"], strict=True):
        declared = parse_type(returns)
        assert all(conform(case.expected, declared) == case.expected for case in task.cases)


def test_some_closed_tasks_by_hand():
    raw = {task: dict(zip(map(tuple, domain_file("code-closed")["inputs"]), expected, strict=True))
           for task, _, expected in domain_file("code-closed")["tasks"]}  # fmt: skip
    assert raw["returns the lengths of the runs of equal neighbours"][6, 6, 1, 6, 2, 2] == [2, 1, 1, 2]
    assert raw["returns the running totals"][-2, 0, 7, -9, 4] == [-2, -2, 5, -4, 0]
    assert raw["returns the sum of the digits of all numbers, signs ignored"][10, 21, 32, 43, 54, 65, 76] == 49
    assert raw["returns the remainder of every number divided by 3, as Python's % gives it"][-3,] == [0]


def test_closed_tasks_are_judged_by_their_cases_and_told_apart_by_their_trees(tmp_path, sandbox):
    """All sums are right; written in one way or in two. The first prompt's program is wrong elsewhere."""

    class Solver(Talker):
        async def reply(self, requests):
            out = []
            for r in requests:
                task = next(t for t in SOLUTIONS if f" that {t}. " in r.messages[-1].text)
                body = SOLUTIONS[task] if r.seed % 2 or self.words == 1 else f"(lambda got: got)({SOLUTIONS[task]})"
                good = f"```python\n{PROGRAM.format(expression=body)}```"
                out.append(Reply(good if r.seed % 5 else "def f(xs):\n    return 'no'", seed=r.seed))
            return out

    opened = {"one way": lambda: Solver(1), "two ways": lambda: Solver(2)}
    found = compare_models(opened, tmp_path, domains=["code-closed"], n_prompts=12, k=6, executor=sandbox)
    cell = next(c for c in found.cells if (c.score, c.budget) == ("d_pair", "texts"))
    assert cell.mean_before == 0 < cell.mean_after
    assert cell.verdict == "higher (structural)"
    assert found.effective[0].valid_before == found.effective[0].valid_after
    assert 0.6 < found.effective[0].valid_after < 0.95
    assert any("all valid programs do the same" in c for c in found.caveats)
    assert "ast_jsd" in {c.score for c in found.cells}
