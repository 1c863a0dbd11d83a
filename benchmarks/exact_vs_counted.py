"""Option probabilities against counted samples on the embedded model: both must say the same about the same people.

Persona information can be had exactly, from the probability of every option, or by asking many times and counting.
Here both are had from one model, for people who differ in what they said before, and compared cell by cell and in
PIR and κ_P:

* every cell's counts are one multinomial draw from its probabilities: Pearson's X² over all cells;
* a sample that is none of the options must be as frequent as the mass that the options lack;
* counted PIR (chance removed) and κ_P lie within 3 standard errors of the exact ones. For these the first answers of
  each cell are taken, equally many: a cell that answers more often would weigh more in counts, not in probabilities.

Standard errors and the null of X² come from drawing whole studies from the exact probabilities: sampling error, and
nothing else. One token is one answer: what is compared is the
engine's sampling with its scoring, not a parser. ``--temperature 0.5`` breaks the agreement on purpose.
"""

import argparse

import numpy as np

from _common import Timer, finish, machine, peak_rss_mib
from multitudes.core.loop import run_sync
from multitudes.measure.variance.information import counted_information
from multitudes.measure.variance.option_information import option_information
from multitudes.models.base import Message, Request, Sampling
from multitudes.models.load import load
from multitudes.simulate.aside import Question, option_probs

OPTIONS = ("Red", "Blue", "Green", "White")  # one token each
BEFORE = ("Which colour do you like?", "Which colour is your coat?")
PEOPLE = (
    ("Red", "Red"),
    ("Blue", "Blue"),
    ("Green", "Green"),
    ("White", "White"),
    ("Red", "Blue"),
    ("Green", "White"),
)
ITEMS = ("Which colour do you wear?", "Which colour is your door?", "Which colour is your car?")
STUDIES = 400  # drawn from the exact probabilities
LIMIT = 3.0  # standard errors
SURE = 0.001  # p below which the two do not agree


def question(said: tuple[str, ...], item: str) -> Question:
    """An item, asked of somebody who answered two others before."""
    system = f"You are a person. You answer with one word: {', '.join(OPTIONS)}."
    told = [m for q, a in zip(BEFORE, said, strict=True) for m in (Message("user", q), Message("assistant", a))]
    return Question((Message("system", system), *told, Message("user", item)), OPTIONS)


def shares(counts: np.ndarray) -> tuple[float, float]:
    """Counted PIR and κ_P of counts (P, I, K)."""
    found = counted_information(counts.swapaxes(0, 1), draws=1)
    assert found.pir is not None
    assert found.kappa is not None
    return found.pir.value, found.kappa.value


def pearson(counts: np.ndarray, probs: np.ndarray) -> float:
    """X² of counts (P, I, K) against what the probabilities lead to expect of as many answers."""
    expected = counts.sum(axis=-1, keepdims=True) * probs
    return float(((counts - expected) ** 2 / expected).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=len(PEOPLE))
    parser.add_argument("--items", type=int, default=len(ITEMS))
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--temperature", type=float, default=1.0)
    args, at = parser.parse_args(), machine()
    model, sampling = load("smollm2"), Sampling(temperature=args.temperature, max_tokens=1)
    asked = [question(said, item) for said in PEOPLE[: args.people] for item in ITEMS[: args.items]]
    with Timer() as timer:
        scored = run_sync(option_probs(model, asked))
        seeds = np.random.default_rng(0).integers(0, 2**31, (len(asked), args.runs)).tolist()
        requests = [Request(q.messages, sampling, seed=s) for q, mine in zip(asked, seeds, strict=True) for s in mine]
        replies = run_sync(model.reply(requests))
    shape = (args.people, args.items)
    probs = np.array([s.probs for s in scored]).reshape(*shape, -1)
    mass = np.array([s.mass for s in scored]).reshape(shape)
    texts = np.array([r.text for r in replies], dtype=object).reshape(*shape, args.runs)
    said = np.stack([texts == option for option in OPTIONS], axis=-1)  # (P, I, runs, K)
    counts = said.sum(axis=2)
    rng, n = np.random.default_rng(1), counts.sum(axis=-1)
    studies = np.stack([rng.multinomial(n, probs) for _ in range(STUDIES)])
    x2, null = pearson(counts, probs), np.array([pearson(study, probs) for study in studies])
    p = float((1 + (null >= x2).sum()) / (1 + STUDIES))
    off = float((n.sum() - args.runs * mass.sum()) / np.sqrt(args.runs * (mass * (1 - mass)).sum()))
    print(f"{args.people} people, {args.items} items, {args.runs} samples each")
    print(f"{n.sum()} of {texts.size} are options, {args.runs * mass.sum():.0f} expected ({off:+.1f} SE)")
    print(f"X² of the counts {x2:.1f}, {null.mean():.1f} expected, p = {p:.3f}")
    exact = option_information(probs)
    assert exact.pir is not None
    assert exact.kappa is not None
    figures: dict[str, object] = {
        "answers": int(n.sum()),
        "answers_per_cell": int(n.min()),
        "x2_p": round(p, 4),
        "mass_z": round(off, 2),
    }
    holds = p > SURE and abs(off) < LIMIT
    size = int(n.min())
    first = (said & (said.any(axis=-1).cumsum(axis=2) <= size)[..., None]).sum(axis=2)
    drawn = np.array([shares(rng.multinomial(size, probs)) for _ in range(STUDIES)])
    for k, (name, value) in enumerate((("pir", exact.pir.value), ("kappa", exact.kappa.value))):
        found, error = shares(first)[k], float(drawn[:, k].std(ddof=1))
        z = (found - value) / error
        print(f"{name}: exact {value:.4f}, counted {found:.4f} ({z:+.1f} SE of {error:.4f}; "
              f"{drawn[:, k].mean():.4f} on average over studies drawn from the exact ones)")  # fmt: skip
        figures |= {f"{name}_exact": round(value, 4), f"{name}_counted": round(found, 4),
                    f"{name}_se": round(error, 4), f"{name}_z": round(z, 2)}  # fmt: skip
        holds = holds and abs(z) < LIMIT
    figures |= {"model_cpu_s": round(timer.cpu, 1), "model_wall_s": round(timer.wall, 1),
                "peak_mib": round(peak_rss_mib())}  # fmt: skip
    print(f"asking took {timer.wall:.0f} s, {timer.cpu:.0f} CPU-s")
    goal = f"counts are draws from the option probabilities (p > {SURE}), PIR and kappa within {LIMIT:g} SE"
    finish("exact_vs_counted", figures, goal, bool(holds), at)


if __name__ == "__main__":
    main()
