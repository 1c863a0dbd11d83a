"""What lm-eval chooses on the shipped 200 items, and the command that asks it again.

Made with lm-eval 0.4.13, transformers 5.24.0, torch 2.13.0 and the pinned versions of constraints.txt:

    pip install 'multitudes[local,oracles]' --constraint constraints.txt
    python tests/axis/golden_lm_eval.py            # the random tiny model
    python tests/axis/golden_lm_eval.py smollm2    # the embedded model, two minutes

``acc`` is the largest Σ log p, ``acc_norm`` the largest per character, which on these items is per byte: they are
ASCII. One digit per item: the number of the choice. lm-eval runs its own task, tokenisation and Hugging Face class.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def lm_eval_numbers(lm: Any, items: Any) -> list[np.ndarray]:
    """(k,) log-likelihoods of the choices of each item, by a whole run of lm-eval."""
    import datasets
    from lm_eval import simple_evaluate
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks import TaskManager

    rows = [{"text": i.text, "choices": list(i.choices), "answer": i.answer} for i in items]
    task = ConfigurableTask(
        config={
            "task": "shipped", "custom_dataset": lambda **_: {"test": datasets.Dataset.from_list(rows)},
            "test_split": "test", "output_type": "multiple_choice", "doc_to_text": "{{text}}",
            "doc_to_choice": "choices", "doc_to_target": "answer",
            "metric_list": [
                {"metric": m, "aggregation": "mean", "higher_is_better": True} for m in ("acc", "acc_norm")
            ],
        }
    )  # fmt: skip
    found = simple_evaluate(
        model=lm, tasks=[task], log_samples=True, bootstrap_iters=0, task_manager=TaskManager(include_defaults=False)
    )
    samples = sorted(found["samples"]["shipped"], key=lambda s: s["doc_id"])
    totals = [np.array([r[0] for r in s["filtered_resps"]], dtype=np.float64) for s in samples]
    for item, sample, logp in zip(items, samples, totals, strict=True):  # its own metrics follow from its numbers
        sizes = [len(c) for c in item.choices]
        assert sample["acc"] == (np.argmax(logp) == item.answer)
        assert sample["acc_norm"] == (np.argmax(logp / sizes) == item.answer)
    return totals


def choices_of_numbers(totals: list[np.ndarray], items: Any) -> dict[str, str]:
    """The two strings of digits."""
    by_size = [t / [len(c) for c in i.choices] for t, i in zip(totals, items, strict=True)]
    return {
        name: "".join(str(int(np.argmax(t))) for t in rows) for name, rows in (("acc", totals), ("acc_norm", by_size))
    }


def hugging_face(module: Any, tokenizer: Any, **options: Any) -> Any:
    """lm-eval's own class around a module."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=module, tokenizer=tokenizer, batch_size=8, **options)


def tiny_lm(**options: Any) -> Any:
    """The random tiny model in lm-eval's own class."""
    from multitudes.models.local.tiny import byte_tokenizer, tiny_module

    return hugging_face(tiny_module(), byte_tokenizer(), **options)


def embedded_lm() -> Any:
    """The embedded model in lm-eval's own class, as transformers loads it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from multitudes.models.local.embedded import require

    folder = str(require("smollm2"))
    module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return hugging_face(module, AutoTokenizer.from_pretrained(folder))


TINY = {
    "acc": "0220310223323030011321122110000332110132210203312012103221010101031211202232111321002001021312100211"
    "0312132232310011000333222002310331302232212131333110300100012111100120323221222222120002231320030103",
    "acc_norm": "3311032300202312312213332101111203030000312322013231213221210213220310032211133211001302110322332203"
    "2112233121011001002233211021101113101230122213023022021012031320023200301103330232031023011303233301",
}
SMOLLM2 = {
    "acc": "0020100210122333213021011200221102312223332301330101310322223213333202231033312132210103331010200211"
    "0302003131211133301112213203200223000301030200003000223222203202303333110113030231133212121131202322",
    "acc_norm": "0313132000022333312021331201221111013213122012200301310322233213333102331133312132210103331010230231"
    "3002203131211133301112213201200213000301130200003020223222203302303333110103330031133212111101202322",
}

if __name__ == "__main__":
    from multitudes.axis.capability_items import shipped_items

    lm = embedded_lm() if "smollm2" in sys.argv else tiny_lm()
    for name, digits in choices_of_numbers(lm_eval_numbers(lm, shipped_items()), shipped_items()).items():
        print(name, *(digits[k : k + 100] for k in range(0, len(digits), 100)), sep="\n")
