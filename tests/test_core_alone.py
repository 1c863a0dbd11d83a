"""What `pip install .` alone can do: everything but the extras, which say their name and the pip line."""

import subprocess
import sys
import textwrap

BLOCK = """
import sys
BLOCKED = {"torch", "transformers", "tokenizers", "safetensors", "gguf", "jinja2", "pyarrow", "sklearn", "plotly"}
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Block())
"""


def alone(code: str, tmp_path) -> str:
    """Run ``code`` in a process that has none of the optional packages."""
    script = tmp_path / "script.py"
    script.write_text(BLOCK + textwrap.dedent(code))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_study_against_a_server_needs_no_extra(tmp_path):
    out = alone(
        """
        import asyncio
        from pathlib import Path
        from multitudes.models.fake import people
        from multitudes.models.loopback import serve
        from multitudes.study.run import run_study
        from multitudes.study.spec import StudySpec
        from multitudes.study.summary import summarise

        async def main():
            async with serve(people()) as url:
                name = f"{url}#fake:people"
                spec = StudySpec.model_validate({
                    "schema": 1, "name": "alone", "population": {"n": 3},
                    "models": {"simulator": name, "target": name},
                    "conversation": {"turns": 2, "replicates": 1},
                    "scenarios": [{"id": "s", "goal": "you want your card"}],
                    "survey": {"questionnaire": "help-line", "runs": 1},
                })
                run = await run_study(spec, Path("run"))
                print(summarise(run).headline[0])
        asyncio.run(main())
        """,
        tmp_path,
    )
    assert "3 of 3 planned conversations held" in out


def test_what_needs_an_extra_says_which(tmp_path):
    out = alone(
        """
        from pathlib import Path
        import multitudes as mt
        from multitudes.core.errors import MissingExtra
        Path("p.parquet").write_bytes(b"PAR1")
        Path("hf").mkdir()
        for what in (lambda: mt.load("hf:hf"), lambda: mt.load("fake:tiny"), lambda: mt.load_population("p.parquet")):
            try:
                what()
            except MissingExtra as error:
                print(error.extra, "|", str(error).replace("\\n", " "))
        """,
        tmp_path,
    )
    lines = out.strip().splitlines()
    assert [line.split(" |")[0] for line in lines] == ["local", "local", "parquet"]
    assert all("pip install 'multitudes[" in line for line in lines)


def test_a_study_without_the_report_extra_keeps_its_run_and_says_what_to_install(tmp_path):
    (tmp_path / "s.toml").write_text(
        'schema = 1\nname = "s"\n[population]\nn = 2\n[models]\nsimulator = "fake:people"\ntarget = "fake:echo"\n'
        '[survey]\nquestionnaire = "help-line"\nmode = "sampled"\nruns = 1\n'
    )
    out = alone(
        """
        from typer.testing import CliRunner
        from multitudes.cli.main import app
        result = CliRunner().invoke(app, ["study", "s.toml", "--out", "run"])
        print(result.exit_code, result.stderr)
        print(CliRunner().invoke(app, ["show", "run"]).stdout)
        """,
        tmp_path,
    )
    assert out.startswith("2 ")
    assert "pip install 'multitudes[report]'" in out
    assert "2 simulated people" in out
