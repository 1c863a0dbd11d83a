"""Loading weights draws nothing on the terminal, and other people's progress bars are left as they were."""

import pytest

torch = pytest.importorskip("torch")

from transformers import AutoConfig, AutoModel  # noqa: E402
from transformers.utils import logging  # noqa: E402

from multitudes.models.encode import load_encoder  # noqa: E402
from multitudes.models.local import embedded  # noqa: E402
from multitudes.models.local.open import open_local  # noqa: E402
from multitudes.models.local.quiet import no_bars  # noqa: E402
from multitudes.models.local.tiny import byte_tokenizer, tiny_module  # noqa: E402


@pytest.fixture(params=[True, False])
def shown(request):
    """Bars switched on or off by whoever uses the package."""
    before = logging.is_progress_bar_enabled()
    (logging.enable_progress_bar if request.param else logging.disable_progress_bar)()
    yield request.param
    (logging.enable_progress_bar if before else logging.disable_progress_bar)()


def folder_of(module, folder):
    module.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def test_an_encoder_loads_without_a_bar(shown, tmp_path, monkeypatch, capfd):
    shape = {"vocab_size": 258, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
             "num_attention_heads": 2, "pad_token_id": 1}  # fmt: skip
    folder = folder_of(AutoModel.from_config(AutoConfig.for_model("bert", **shape)), tmp_path)
    monkeypatch.setattr(embedded, "require", lambda name: folder)
    capfd.readouterr()
    assert load_encoder("minilm")._model.config.hidden_size == 8
    assert capfd.readouterr() == ("", "")
    assert logging.is_progress_bar_enabled() == shown


def test_a_model_loads_without_a_bar(shown, tmp_path, capfd):
    folder = folder_of(tiny_module(dtype=torch.float32), tmp_path)
    capfd.readouterr()
    assert open_local(folder, name="small").info.context_tokens == 2048
    assert capfd.readouterr() == ("", "")
    assert logging.is_progress_bar_enabled() == shown


def test_bars_come_back_after_an_error(shown):
    def fails():
        with no_bars():
            assert not logging.is_progress_bar_enabled()
            raise OSError

    with pytest.raises(OSError):
        fails()
    assert logging.is_progress_bar_enabled() == shown
