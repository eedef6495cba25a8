"""When the rules would swap on the digits, by two gradient norms: `python -m benchmarks.bench_rules`.

Adam alone trains the paper's vit-nomlp on the embedded digits, with softmax and with linear outputs before the squared
error. After every epoch both gradient norms are noted: the free one (the norm of the mean of the epoch's mini-batch
gradients) and the exact one (over all the data, at the epoch's end). The rules then replay these records. `--report` makes
`docs/rules.md` and its figures from the tables and runs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch.nn.functional import mse_loss
from torch.optim import Adam

from benchmarks.results_io import ROOT, Cache, Record, fingerprint, parser, table_path, write_environment, write_table
from homestretch import Objective, TwoPhase, vectors
from homestretch.history import EpochRecord
from homestretch.paper import build_model, load_data, one_hot
from homestretch.swap import GradientNormPeak, LiteralPeak, Never, Observation, SwapRule

NAME = "rules"
MODEL, DATA = "vit-nomlp", "digits"
Outputs = Literal["softmax", "linear"]
OUTPUTS: tuple[Outputs, ...] = ("softmax", "linear")
BATCHES = (512, 128)
NORMS = ("running-mean", "exact")
RULES: dict[str, Callable[[], SwapRule]] = {
    "literal": LiteralPeak,
    "guarded": lambda: GradientNormPeak(fallback_share=None),  # its fallback asks for a budget: here only peaks count
}
EPOCHS, SEEDS = 100, (0, 1, 2, 3, 4)
ENGINE = ("paper/data", "paper/models", "objective", "two_phase", "blocks.py", "cost.py", "memory.py", "vectors.py")
"""What of the package decides how a first phase goes; the rules are replayed anew each time."""
QUICK_EPOCHS, QUICK_SEEDS = 5, (0,)
CURVE_COLUMNS = ("outputs", "batch", "seed", "epoch", "loss", "running-mean", "exact")
COLUMNS = ("problem", "outputs", "batch", "seed", "rule", "norm", "swap_epoch", "swap_loss", "reason")


def adam_curve(outputs: Outputs, batch: int, seed: int, epochs: int) -> list[Record]:
    """Return loss and both gradient norms of every epoch of Adam (learning rate 1e-3) alone."""
    data = load_data(DATA)
    model = build_model(MODEL, data.image_shape, data.classes, outputs, seed=seed)
    pair = (data.train_inputs, one_hot(data.train_targets, data.classes))
    objective = Objective(model, mse_loss, pair, batch_size=batch, seed=seed)
    whole = Objective(model, mse_loss, pair, seed=seed)  # its own cost meter: watching is not training
    first = Adam(objective.parameters, lr=1e-3)

    def exact() -> dict[str, float]:
        whole.zero_grad()
        whole()
        return {"exact": vectors.norm([p.grad for p in whole.parameters if p.grad is not None])}

    optimizer = TwoPhase(objective.parameters, objective, first=first, rule=Never(), metrics=exact)
    for _ in range(epochs):
        for closure in optimizer.epoch():
            optimizer.step(closure)
    return [
        {"epoch": r.epoch, "loss": r.loss, "running-mean": r.gradient_norm, "exact": r.metrics["exact"]}
        for r in optimizer.history.of(EpochRecord)
    ]


def replay(rule: SwapRule, curve: Iterable[Record], norm: str) -> Record:
    """Return the epoch after which the rule swaps, with the loss there and its reason; empty cells if it never does."""
    for point in curve:
        decision = rule.observe(
            Observation(epoch=point["epoch"], loss=point["loss"], gradient_norm=point[norm], cost=float(point["epoch"]))
        )
        if decision.swap:
            return {"swap_epoch": point["epoch"], "swap_loss": point["loss"], "reason": decision.reason}
    return {"swap_epoch": None, "swap_loss": None, "reason": "no swap"}


def _as_record(outputs: Outputs, batch: int, seed: int, epochs: int) -> Record:
    return {"curve": adam_curve(outputs, batch, seed, epochs)}


def run(epochs: int, seeds: Sequence[int], cache: Cache) -> tuple[list[Record], list[Record]]:
    """Return the curves and what each rule makes of them, as tidy rows."""
    engine = fingerprint(*(ROOT.parent / "homestretch" / name for name in ENGINE))
    curves: list[Record] = []
    swaps: list[Record] = []
    for outputs in OUTPUTS:
        for batch in BATCHES:
            for seed in seeds:
                labels: Record = {"outputs": outputs, "batch": batch, "seed": seed}
                key = {**labels, "epochs": epochs, "engine": engine, "torch": torch.__version__}
                points = cache.run(key, partial(_as_record, outputs, batch, seed, epochs))["curve"]
                curves += [{**labels, **point} for point in points]
                swaps += [
                    {"problem": f"{DATA}/{MODEL}", **labels, "rule": name, "norm": norm, **replay(make(), points, norm)}
                    for name, make in RULES.items()
                    for norm in NORMS
                ]
                print(f"{outputs}, batch {batch}, seed {seed}: done", flush=True)
    return curves, swaps


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark, or make its page."""
    flags = parser(__doc__, quick="a few epochs, one seed")
    options: Any = flags.parse_args(arguments)
    table = table_path(NAME, options.quick)
    if not options.report:
        torch.set_num_threads(1)
        epochs, seeds = (QUICK_EPOCHS, QUICK_SEEDS) if options.quick else (EPOCHS, SEEDS)
        curves, swaps = run(epochs, seeds, Cache(NAME))
        write_table(table, swaps, COLUMNS)
        write_table(table.with_name(f"{table.stem}-curves.tsv"), curves, CURVE_COLUMNS)
        write_environment(table, (), epochs=epochs)
        print(f"wrote {table.name}")
    if options.report or not options.quick:
        from benchmarks.rules_report import write_report

        write_report(table)


if __name__ == "__main__":
    main()
