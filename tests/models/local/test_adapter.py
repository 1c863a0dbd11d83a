"""LoRA adapters: our merge against PEFT's own and a closed form, and everything that must be refused."""

import asyncio
import json
import warnings

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
from safetensors.torch import load_file, save_file

from multitudes.axis.axis import Axis
from multitudes.axis.errors import AxisMismatch
from multitudes.core.errors import AdapterMismatch, ConfigError, ModelError, UnsupportedModel
from multitudes.models.base import ADAPTED, Message, ScoreItem
from multitudes.models.load import load, split_adapter
from multitudes.models.local.adapter import CARD, CONFIG, WEIGHTS, merge, read_adapter
from multitudes.models.local.tiny import module_sha256, tiny_model, tiny_module

ASK = (Message("system", ""), Message("user", "Who is there?"))
Q, K, UP = "model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.k_proj", "model.layers.1.mlp.up_proj"
SIZES = {Q: (48, 48), K: (16, 48), UP: (96, 48)}


def config(**changes):
    return {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"],
            "bias": "none", "init_lora_weights": True, **changes}  # fmt: skip


def tensors(sizes=SIZES, *, ranks=None, seed=0):
    rng = torch.Generator().manual_seed(seed)
    out = {}
    for name, (rows, columns) in sizes.items():
        r = (ranks or {}).get(name, 4)
        out[f"base_model.model.{name}.lora_A.weight"] = torch.randn(r, columns, generator=rng)
        out[f"base_model.model.{name}.lora_B.weight"] = torch.randn(rows, r, generator=rng) * 0.2
    return out


def written(folder, held=None, settings=None, card=None):
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors() if held is None else held, str(folder / WEIGHTS))
    (folder / CONFIG).write_text(json.dumps(config() if settings is None else settings))
    if card is not None:
        (folder / CARD).write_text(json.dumps(card))
    return folder


def card_for(folder, base_sha256):
    import hashlib

    found = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    return {"name": "made up", "base": "fake:tiny", "base_sha256": base_sha256, "adapter_sha256": found}


def carded(folder, base_sha256=None):
    written(folder)
    wanted = base_sha256 or load("fake:tiny").info.weights_sha256
    (folder / CARD).write_text(json.dumps(card_for(folder, wanted)))
    return folder


def quiet(action):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return action()


def merged(folder, *, dtype=torch.float32):
    module = tiny_module(dtype=dtype)
    quiet(lambda: merge(module, read_adapter(folder), base_sha256=None, base="fake:tiny"))
    return module


def logp(model):
    return asyncio.run(model.score([ScoreItem(ASK, "Nobody at all.")]))[0].token_logp


# --- the arithmetic ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "ranks", "scales"),
    [
        ({}, {}, {Q: 2.0, K: 2.0, UP: 2.0}),
        ({"use_rslora": True}, {}, {Q: 4.0, K: 4.0, UP: 4.0}),
        ({"rank_pattern": {"up_proj": 2}, "alpha_pattern": {"layers.1.self_attn.k_proj": 3}}, {UP: 2},
         {Q: 2.0, K: 0.75, UP: 4.0}),
        ({"use_rslora": True, "rank_pattern": {".*up_proj": 16}}, {UP: 16}, {Q: 4.0, K: 4.0, UP: 2.0}),
    ],
)  # fmt: skip
def test_a_merged_weight_is_w_plus_s_times_b_a(tmp_path, settings, ranks, scales):
    held = tensors(ranks=ranks)
    folder = written(tmp_path / "a", held, config(**settings))
    assert read_adapter(folder).scales == pytest.approx(scales)
    before, after = (dict(m.named_parameters()) for m in (tiny_module(), merged(folder, dtype=torch.float64)))
    for name, weight in before.items():
        module = name.removesuffix(".weight")
        change = 0.0
        if module in scales:
            a, b = (held[f"base_model.model.{module}.lora_{p}.weight"].double() for p in "AB")
            change = scales[module] * (b @ a)
        torch.testing.assert_close(after[name], weight + change, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "settings",
    [
        {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"},
        {"r": 3, "lora_alpha": 5, "target_modules": ["q_proj", "down_proj"], "use_rslora": True},
        {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "up_proj", "k_proj"],
         "rank_pattern": {"up_proj": 2, "layers.0.self_attn.k_proj": 1}, "alpha_pattern": {"k_proj": 3}},
        {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"], "layers_to_transform": [1]},
    ],
)  # fmt: skip
def test_our_merge_is_that_of_peft(tmp_path, settings):
    peft = pytest.importorskip("peft")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        adapted = peft.get_peft_model(
            tiny_module(dtype=torch.float32), peft.LoraConfig(task_type="CAUSAL_LM", **settings)
        )
        with torch.no_grad():  # B starts at zero, and then there would be nothing to compare
            for name, p in adapted.named_parameters():
                if "lora_B" in name:
                    p.normal_(0, 0.2)
    adapted.save_pretrained(str(tmp_path / "a"))
    theirs = dict(adapted.merge_and_unload().named_parameters())
    ours = dict(merged(tmp_path / "a").named_parameters())
    assert ours.keys() == theirs.keys()
    changed = 0
    for name, weight in dict(tiny_module(dtype=torch.float32).named_parameters()).items():
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=1e-5)
        changed += not torch.allclose(ours[name], weight, atol=1e-3)
    assert changed == len(read_adapter(tmp_path / "a").a)


def test_what_speaks_is_the_merged_model(tmp_path):
    folder = carded(tmp_path / "a")
    adapted = load(f"fake:tiny+{folder}")
    module, plain = merged(folder, dtype=torch.float64), tiny_model()
    ids, _ = plain.template.context_ids(ASK)
    rest = plain.template.continuation_ids("Nobody at all.", include_end=True)
    with torch.no_grad():
        logits = torch.log_softmax(module(torch.tensor([ids + rest])).logits[0], -1)
    wanted = [logits[len(ids) - 1 + i, t].item() for i, t in enumerate(rest)]
    assert logp(adapted) == pytest.approx(wanted, abs=1e-9)
    assert np.abs(np.subtract(logp(plain), wanted)).max() > 0.05


# --- what it is called, and what it is --------------------------------------------------------------------------


def test_name_hashes_and_fingerprint_hold_the_adapter(tmp_path):
    plain, folder = load("fake:tiny").info, carded(tmp_path / "a")
    info = load(f"fake:tiny+{folder}").info
    assert info.name == f"fake:tiny+{folder}"
    assert info.base_sha256 == plain.weights_sha256
    assert info.weights_sha256 not in (None, plain.weights_sha256)
    assert info.fingerprint.partition(ADAPTED)[0] == plain.fingerprint
    assert info.fingerprint == load(f"fake:tiny+{folder}").info.fingerprint
    other = written(tmp_path / "b", settings=config(lora_alpha=9))  # the same matrices, more of them
    stronger = quiet(lambda: load(f"fake:tiny+{other}")).info
    assert stronger.fingerprint != info.fingerprint
    assert stronger.weights_sha256 != info.weights_sha256


def test_a_named_adapter_is_found_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MULTITUDES_CACHE", str(tmp_path))
    carded(tmp_path / "adapters" / "midwife")
    carded(tmp_path / "adapters" / "midwife" / "epoch-1")
    assert load("fake:tiny+midwife").info.base_sha256
    assert load("fake:tiny+midwife/epoch-1").info.name == "fake:tiny+midwife/epoch-1"
    with pytest.raises(ConfigError, match="did you mean 'midwife'"):
        load("fake:tiny+midwive")
    with pytest.raises(ConfigError, match="unknown adapter"):
        load("fake:tiny+../adapters/midwive")


def test_adapters_on_this_machine_are_listed(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from multitudes.cli.main import app

    monkeypatch.setenv("MULTITUDES_CACHE", str(tmp_path))
    carded(tmp_path / "adapters" / "midwife" / "epoch-1")
    assert "BASE+midwife/epoch-1" in CliRunner().invoke(app, ["models", "list"]).output


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("smollm2+user", ("smollm2", "user")),
        ("smollm2", ("smollm2", None)),
        ("hf:OWNER/NAME+x/y", ("hf:OWNER/NAME", "x/y")),
        ("http://host/v1#a+b", ("http://host/v1#a+b", None)),
        ("temperature:0.5:smollm2+user", ("temperature:0.5:smollm2+user", None)),
        ("cap:AXIS:smollm2+user", ("cap:AXIS:smollm2+user", None)),
        ("fake:echo", ("fake:echo", None)),
    ],
)
def test_names_are_taken_apart(name, parts):
    assert split_adapter(name) == parts


def test_a_plus_in_a_folder_is_no_adapter(tmp_path):
    base = tmp_path / "a+b"
    base.mkdir()
    assert split_adapter(f"hf:{base}") == (f"hf:{base}", None)
    assert split_adapter(f"hf:{base}+c+d") == (f"hf:{base}", "c+d")
    with pytest.raises(ConfigError, match="ends too early"):
        split_adapter("smollm2+")


def test_wrappers_reach_an_adapted_model(tmp_path):
    folder = carded(tmp_path / "a")
    assert load(f"temperature:0.5:fake:tiny+{folder}").info.fingerprint != load("fake:tiny").info.fingerprint


def test_a_folder_of_weights_takes_an_adapter(tmp_path):
    from multitudes.models.local.tiny import byte_tokenizer

    module = tiny_module(dtype=torch.float32)
    module.save_pretrained(str(tmp_path / "base"))
    byte_tokenizer().save_pretrained(str(tmp_path / "base"))
    plain = load(f"hf:{tmp_path / 'base'}")
    folder = written(tmp_path / "a")
    (folder / CARD).write_text(json.dumps(card_for(folder, plain.info.weights_sha256)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = load(f"hf:{tmp_path / 'base'}+{folder}")
    assert model.info.fingerprint.partition(ADAPTED)[0] == plain.info.fingerprint
    assert model.info.base_sha256 == plain.info.weights_sha256
    twin = load(f"fake:tiny+{carded(tmp_path / 'b')}", dtype="float32")
    assert len(logp(model)) == len(logp(twin))
    assert np.abs(np.subtract(logp(model), logp(plain))).max() > 0.05
    for dtype in ("bfloat16", "float16"):
        with pytest.raises(ConfigError, match="merged in float32"):
            load(f"hf:{tmp_path / 'base'}+{folder}", dtype=dtype)


def test_an_axis_of_the_base_says_that_it_is_of_the_base(tmp_path):
    model = load(f"fake:tiny+{carded(tmp_path / 'a')}")
    zeros = {n: np.zeros(1) for n in ("components", "mu_default", "mu_roles", "norm", "low_default")}
    axis = Axis(
        axis=np.ones((2, 48), np.float32), default_mean=zeros["norm"], role_means=zeros["norm"], roles=(), layer=1,
        halves=zeros["norm"], window=(1,), tau={}, about={"weights_sha256": load("fake:tiny").info.weights_sha256},
        **zeros,
    )  # fmt: skip
    axis.fits(load("fake:tiny"))
    with pytest.raises(AxisMismatch, match="base of this model"):
        axis.fits(model)


# --- what is refused --------------------------------------------------------------------------------------------


def test_another_base_is_refused(tmp_path):
    folder = carded(tmp_path / "a", base_sha256="0" * 64)
    with pytest.raises(AdapterMismatch, match="another base") as caught:
        load(f"fake:tiny+{folder}")
    error = caught.value
    assert error.where == str(folder)
    assert load("fake:tiny").info.weights_sha256[:16] in error.found
    assert "0" * 16 in error.expected
    assert error.hint


def test_an_adapter_without_a_card_warns_that_its_base_was_not_checked(tmp_path):
    with pytest.warns(UserWarning, match="could not be checked"):
        load(f"fake:tiny+{written(tmp_path / 'a')}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(f"fake:tiny+{carded(tmp_path / 'b')}")


def test_weights_that_are_not_those_of_the_card_are_refused(tmp_path):
    folder = carded(tmp_path / "a")
    save_file(tensors(seed=1), str(folder / WEIGHTS))
    with pytest.raises(AdapterMismatch, match="not those of the card"):
        load(f"fake:tiny+{folder}")


@pytest.mark.parametrize("cut", [0, 5, 200, -1])
def test_a_cut_off_file_is_refused(tmp_path, cut):
    folder = written(tmp_path / "a")
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:cut])
    with pytest.raises(ModelError, match="cut off"):
        load(f"fake:tiny+{folder}")


@pytest.mark.parametrize("file", [CONFIG, WEIGHTS])
def test_a_missing_file_is_named(tmp_path, file):
    folder = written(tmp_path / "a")
    (folder / file).unlink()
    with pytest.raises(ModelError, match=file):
        load(f"fake:tiny+{folder}")


def test_an_empty_folder_is_no_adapter(tmp_path):
    with pytest.raises(ModelError, match="not an adapter"):
        load(f"fake:tiny+{tmp_path}")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"peft_type": "IA3"}', "{}"])
def test_settings_that_are_none_of_lora_are_refused(tmp_path, text):
    folder = written(tmp_path / "a")
    (folder / CONFIG).write_text(text)
    with pytest.raises(ModelError, match=r"settings cannot be read|not a LoRA adapter"):
        load(f"fake:tiny+{folder}")


@pytest.mark.parametrize(
    "setting",
    [
        {"use_dora": True}, {"bias": "all"}, {"fan_in_fan_out": True}, {"modules_to_save": ["lm_head"]},
        {"init_lora_weights": "pissa"}, {"init_lora_weights": "olora"}, {"lora_bias": True},
        {"alora_invocation_tokens": [1]}, {"target_parameters": ["x"]}, {"trainable_token_indices": [1]},
        {"layer_replication": [[0, 2]]}, {"use_qalora": True}, {"a_setting_of_tomorrow": {"x": 1}},
    ],
)  # fmt: skip
def test_what_a_merge_would_get_wrong_is_refused_by_name(tmp_path, setting):
    folder = written(tmp_path / "a", settings=config(**setting))
    with pytest.raises(UnsupportedModel, match=next(iter(setting))):
        load(f"fake:tiny+{folder}")


def test_every_setting_of_pefts_plain_adapters_is_known():
    peft = pytest.importorskip("peft")
    from multitudes.models.local.adapter import HARMLESS

    plain = peft.LoraConfig(task_type="CAUSAL_LM").to_dict()
    extra = {k for k, v in plain.items() if k not in HARMLESS and v and k not in ("bias", "init_lora_weights")}
    assert extra == set()


@pytest.mark.parametrize(
    ("held", "error", "words"),
    [
        (tensors({"model.layers.0.self_attn.query": (48, 48)}), AdapterMismatch, "does not have"),
        (tensors({"model.layers.7.self_attn.q_proj": (48, 48)}), AdapterMismatch, "does not have"),
        (tensors({Q: (48, 64)}), AdapterMismatch, "another size"),
        (tensors({Q: (64, 48)}), AdapterMismatch, "another size"),
        (tensors(ranks={Q: 2}), AdapterMismatch, "rank"),
        (tensors({"model.embed_tokens": (258, 48)}), AdapterMismatch, "does not have"),
        ({k: v for k, v in tensors().items() if not k.endswith(f"{Q}.lora_B.weight")}, ModelError, "pairs"),
        ({}, ModelError, "pairs"),
        (tensors() | {"base_model.model.lm_head.weight": torch.ones(2)}, UnsupportedModel, "no LoRA matrix"),
        (tensors() | {f"base_model.model.{Q}.lora_magnitude_vector": torch.ones(2)}, UnsupportedModel, "no LoRA"),
        ({k: v * float("nan") for k, v in tensors().items()}, ModelError, "not finite"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_and_nothing_is_changed(tmp_path, held, error, words):
    folder = written(tmp_path / "a", held)
    module = tiny_module()
    before = module_sha256(module)
    with pytest.raises(error, match=words):
        quiet(lambda: merge(module, read_adapter(folder), base_sha256=None, base="fake:tiny"))
    assert module_sha256(module) == before


def test_near_names_of_a_layer_are_told(tmp_path):
    folder = written(tmp_path / "a", tensors({"model.layers.0.self_attn.q_pro": (48, 48)}))
    with pytest.raises(AdapterMismatch, match="did you mean"):
        merged(folder)


def test_an_output_layer_that_is_the_embedding_is_refused(tmp_path):
    folder = written(tmp_path / "a", tensors({"lm_head": (258, 48)}))
    module = tiny_module()
    module.lm_head.weight = module.get_input_embeddings().weight
    with pytest.raises(UnsupportedModel, match="tied"):
        quiet(lambda: merge(module, read_adapter(folder), base_sha256=None, base="fake:tiny"))


def test_half_precision_adapters_are_widened(tmp_path):
    half = {k: v.half() for k, v in tensors().items()}
    ours = dict(merged(written(tmp_path / "a", half), dtype=torch.float64).named_parameters())
    a, b = (half[f"base_model.model.{Q}.lora_{p}.weight"].double() for p in "AB")
    before = dict(tiny_module().named_parameters())[f"{Q}.weight"]
    torch.testing.assert_close(ours[f"{Q}.weight"], before + 2 * (b @ a), rtol=0, atol=1e-12)
    assert set(load_file(str(tmp_path / "a" / WEIGHTS))) == set(half)
