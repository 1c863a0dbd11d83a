"""A random tiny model, a small set of roles, and an axis found on them: machinery, nothing worth reading."""

import asyncio

import pytest

from multitudes.axis.roles import Arms, Question, Role, RoleSet

WORDS = "salt rope lamp bread river stone bell coat window garden letter smoke".split()


def little_set(n=22):
    roles = tuple(
        Role(
            f"r{i}", f"role {i}", 1 + i % 4, True, f"keeps {WORDS[i % 12]}",
            (f"You are a keeper of {WORDS[i % 12]} {i}.",), presets=("small", "balanced", "full"),
        )
        for i in range(n)
    )  # fmt: skip
    questions = tuple(Question(f"q{j}", f"What about {WORDS[j]}?", "t", j % 2) for j in range(6))
    arms = Arms((("none", ""), ("helper", "You help."), ("named", "You are {model}.")), ("One message each.",),
                ("Bridges carry loads.",), "That can be seen from two sides.")  # fmt: skip
    return RoleSet("little", roles, questions, arms)


@pytest.fixture(scope="session")
def little():
    return little_set()


@pytest.fixture(scope="session")
def tiny():
    pytest.importorskip("torch")
    from multitudes.models.local.tiny import tiny_model

    return tiny_model()


@pytest.fixture(scope="session")
def tiny_axis(tiny, little, tmp_path_factory):
    """An axis of the tiny model; signs are not checked, because a random model has no Assistant."""
    from dataclasses import replace

    from multitudes.axis import build, placing
    from multitudes.axis.presets import preset

    async def made():
        size = replace(preset("small"), max_tokens=12, min_count=1)
        return await build.find_axis(tiny, little, size, tmp_path_factory.mktemp("axis") / "parts")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(placing, "check_sign", lambda *_a, **_k: None)
        return asyncio.run(made())
