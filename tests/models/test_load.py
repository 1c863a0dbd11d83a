"""Every string a user may type, and what a wrong one says."""

import asyncio
import json
import shutil
import sys

import pytest

from multitudes.core.errors import ConfigError, MissingExtra, ModelError, WeightsMissing
from multitudes.models.base import Message, Request, Sampling
from multitudes.models.budget import Budget, Prices
from multitudes.models.fake import KINDS
from multitudes.models.load import PREFIXES, load
from multitudes.models.local.embedded import folder_of
from multitudes.models.loopback import serve

URL = "http://127.0.0.1:9/v1"
HELLO = (Message("system", "You are Ada."), Message("user", "hello"))


@pytest.fixture(autouse=True)
def _no_key_of_the_machine(monkeypatch):
    for name in ("MULTITUDES_API_KEY", "OPENAI_API_KEY", "MULTITUDES_API_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MULTITUDES_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def without_extra(monkeypatch):
    """A machine on which ``multitudes[local]`` was not installed."""
    for name in ("torch", "transformers", "gguf", "safetensors", "tokenizers"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in list(sys.modules):
        if name.startswith("multitudes.models.local.") and not name.endswith(".embedded"):
            monkeypatch.delitem(sys.modules, name)


def say(model, **more):
    return asyncio.run(model.reply([Request(HELLO, Sampling(max_tokens=4), **more)]))[0]


# --- fakes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_fake_loads_under_its_name_and_speaks(kind):
    model = load(f"fake:{kind}")
    assert model.info.name == f"fake:{kind}"
    assert model.info.engine == "fake"
    assert say(model, seed=1).text
    assert load(f"fake:{kind}") is not model


def test_the_tiny_model_is_a_local_engine():
    pytest.importorskip("torch")
    model = load("fake:tiny")
    assert (model.info.name, model.info.engine, model.info.score) == ("fake:tiny", "local", True)
    assert say(model, seed=1).usage.completion > 0


# --- local weights ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("empty_cache")
def test_the_embedded_model_must_have_been_fetched(tmp_path):
    with pytest.raises(WeightsMissing, match="multitudes models fetch smollm2"):
        load("smollm2")
    assert not (tmp_path / "cache").exists()  # asking leaves no trace


@pytest.mark.weights
def test_the_embedded_model_says_what_it_is():
    model = load("smollm2", batch_size=2)
    info = model.info
    assert (info.name, info.engine, info.dtype) == ("smollm2", "local", "float32")
    assert info.small_model
    assert info.licence == "Apache-2.0"
    assert "SmolLM" in info.names
    assert info.makers == ("Hugging Face",)
    assert info.context_tokens == 8192
    recorded = json.loads((folder_of("smollm2") / "PROVENANCE.json").read_text())["weights_sha256"]
    assert info.weights_sha256 == recorded
    assert model.batcher.batch_size == 2
    asyncio.run(model.aclose())


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    torch = pytest.importorskip("torch")
    from multitudes.models.local.tiny import byte_tokenizer, tiny_module

    folder = tmp_path_factory.mktemp("tiny")
    tiny_module(dtype=torch.float32).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def test_a_folder_of_weights(tiny_folder):
    model = load(f"hf:{tiny_folder}", batch_size=3)
    assert model.info.name == f"hf:{tiny_folder}"
    assert not model.info.small_model
    assert len(model.info.weights_sha256) == 64
    assert model.info.context_tokens == 2048
    first, same, other = (say(model, seed=seed) for seed in (1, 1, 2))
    assert first.token_ids == same.token_ids != other.token_ids
    assert first.engine == model.info.fingerprint
    again = load(f"hf:{tiny_folder}")
    assert again.info.fingerprint == model.info.fingerprint
    assert say(again, seed=1).token_ids == first.token_ids


def test_a_model_knows_what_it_may_call_itself(tiny_folder, tmp_path):
    """From the card that lies beside the weights; without one, from its architecture."""
    assert load(f"hf:{tiny_folder}").info.names == ("Llama",)
    carded = shutil.copytree(tiny_folder, tmp_path / "carded")
    (carded / "README.md").write_text("---\nbase_model: Zork-Labs/Zorkling-2-1B\n---\n")
    info = load(f"hf:{carded}").info
    assert (info.names, info.makers) == (("Zorkling-2-1B", "Zorkling"), ("Zork-Labs",))


def test_a_tilde_is_the_home_folder(tiny_folder, monkeypatch):
    monkeypatch.setenv("HOME", str(tiny_folder.parent))
    assert load(f"hf:~/{tiny_folder.name}").info.weights_sha256


def test_folders_that_hold_no_model(tmp_path, tiny_folder):
    pytest.importorskip("torch")
    with pytest.raises(ModelError, match="no model could be loaded"):
        load(f"hf:{tmp_path / 'missing'}")
    with pytest.raises(ModelError, match="no model could be loaded"):
        load(f"hf:{tmp_path}")
    config = json.loads((tiny_folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "mamba"}))
    with pytest.raises(ModelError, match=r"'mamba' is not supported.*\n(.*\n)*.*http://HOST/v1#MODEL"):
        load(f"hf:{tmp_path}")


@pytest.mark.usefixtures("empty_cache")
def test_a_gguf_file_that_is_not_there(tmp_path):
    pytest.importorskip("torch")
    with pytest.raises(ModelError, match="no such file"):
        load(f"gguf:{tmp_path / 'none.gguf'}")


@pytest.mark.parametrize("name", ["nowhere", "./nowhere/at-all", "../nowhere", "~/nowhere", "/nowhere/at-all"])
def test_a_folder_that_is_not_there_is_told_without_asking_a_hub(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "multitudes.models.local.open", None)  # whoever imports it fails
    with pytest.raises(ModelError, match="no such folder"):
        load(f"hf:{name}")
    with pytest.raises(ImportError):
        load("hf:owner/name")


# --- endpoints -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [f"{URL}#m", "https://example.test/v1#org/model-7b:free"])
def test_an_endpoint_is_an_address_and_a_model(name):
    model = load(name)
    assert (model.info.name, model.info.engine, model.info.score) == (name, "endpoint", False)


@pytest.mark.parametrize("name", [URL, f"{URL}#"])
def test_an_endpoint_without_a_model_is_refused(name):
    with pytest.raises(ConfigError, match=r"http://HOST/v1#MODEL"):
        load(name)


@pytest.mark.parametrize("name", ["http://#m", "http:#m", "https://user:secret@host/v1#m"])
def test_what_is_no_address_is_refused(name):
    with pytest.raises(ConfigError) as caught:
        load(name)
    assert "secret" not in str(caught.value)


def test_an_endpoint_gets_its_key_budget_prices_and_cache(tmp_path):
    from multitudes.models.fake import echo

    seen = []

    class Listening(type(echo())):
        async def reply(self, requests):
            seen.append(requests[0].messages[-1].text)
            return await super().reply(requests)

    async def go():
        server = serve(Listening("fake:echo", lambda messages, seed: messages[-1].text))
        async with server as url:
            model = load(
                f"{url}#m",
                budget=Budget(tokens=10_000),
                prices=Prices(1e6, 1e6),
                cache=tmp_path / "calls.sqlite",
                env={"OPENAI_API_KEY": "from-the-mapping"},
            )
            replies = [(await model.reply([Request(HELLO)]))[0] for _ in range(2)]
            key = model._transport._key.get_secret_value()
            await model.aclose()
            return replies, key

    (first, second), key = asyncio.run(go())
    assert key == "from-the-mapping"
    assert seen == ["hello"]  # the second reply is the stored one
    assert (first.cache_hit, second.cache_hit) == (False, True)
    assert first.cost_usd > 0
    assert (tmp_path / "calls.sqlite").is_file()


def test_a_budget_in_money_needs_prices():
    with pytest.raises(ConfigError, match="prices"):
        load(f"{URL}#m", budget=Budget(usd=1.0))


# --- wrong names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "near"),
    [("smolm2", "smollm2"), ("fake:ecko", "echo"), ("fake:tinny", "tiny"), ("htp://", "http://")],
)
def test_a_near_name_is_offered(name, near):
    with pytest.raises(ConfigError, match=f"did you mean.*{near!r}"):
        load(name)


@pytest.mark.parametrize("name", ["", "zzzzzzzzzz", "smollm3+x", " smollm2x y", "vllm:m"])
def test_an_unknown_name_lists_what_there_is(name):
    with pytest.raises(ConfigError) as caught:
        load(name)
    assert repr(name) in str(caught.value)
    assert all(prefix in str(caught.value) for prefix in PREFIXES)


def test_an_unknown_fake_lists_the_fakes():
    with pytest.raises(ConfigError) as caught:
        load("fake:qqqqqq")
    assert all(kind in str(caught.value) for kind in [*KINDS, "tiny"])


@pytest.mark.parametrize("kind", ["hf", "gguf", "fake"])
def test_a_name_that_ends_too_early(kind):
    for name in (f"{kind}:", kind) if kind != "fake" else (f"{kind}:",):
        with pytest.raises(ConfigError, match=f"{kind}:SOMETHING"):
            load(name)


# --- without the extra -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_extra", "empty_cache")
def test_a_missing_extra_names_the_line_that_installs_it(tmp_path):
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    folder = folder_of("smollm2")
    folder.mkdir(parents=True)
    (folder / "PROVENANCE.json").write_text("{}")
    for name in ("smollm2", f"hf:{tmp_path}", f"gguf:{tmp_path / 'm.gguf'}", "fake:tiny"):
        with pytest.raises(MissingExtra, match=r"pip install 'multitudes\[local\]'"):
            load(name)


@pytest.mark.usefixtures("without_extra")
def test_what_needs_no_extra_works_without_it():
    assert say(load("fake:echo")).text == "hello"
    assert load(f"{URL}#m").info.engine == "endpoint"
