"""Where L-BFGS comes to rest on a digits classifier, in float32 and float64: `python -m benchmarks.digits_stall`.

A softmax followed by squared error has stationary points at infinity: a sample whose own class has probability 0 and
whose other mass is split evenly over k classes loses (1 + 1/k) / 10 and gives no gradient. The table,
`benchmarks/results/digits-stall.tsv`, has the loss at the end, how many samples make up 99 % of it ("heavy"), and how many
of them have lost one of these values ("at_rest"); the page on the test functions shows it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.functions_report import write_report
from benchmarks.results_io import COLUMNS, parser, table_path, write_environment, write_table
from homestretch import LBFGS, Objective
from homestretch.paper.data.digits import read_digits

BUDGET = 250.0
SEEDS = range(5)
CLASSES = 10
WIDTH = 32


def squared_error(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the squared error of each sample's softmax against its one-hot label, shape (samples, classes)."""
    return (scores.softmax(1) - nn.functional.one_hot(labels, CLASSES).to(scores)).square()


def resting_losses() -> Tensor:
    """Return (1 + 1/k) / classes for k = 1, 2, ..., the losses of samples at rest at infinity."""
    k = torch.arange(1, CLASSES, dtype=torch.float64)
    return (1.0 + 1.0 / k) / CLASSES


def run(seed: int, dtype: torch.dtype, budget: float = BUDGET) -> dict[str, Any]:
    """Train a tanh network from scratch and return its row of the table."""
    started = time.perf_counter()
    training, _ = read_digits()
    inputs = torch.from_numpy(training.pixels).flatten(1).to(dtype) / 16.0
    labels = torch.from_numpy(training.labels)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(inputs.shape[1], WIDTH), nn.Tanh(), nn.Linear(WIDTH, CLASSES)).to(dtype)
    objective = Objective(model, lambda z, t: squared_error(z, t).mean(), (inputs, labels))
    optimizer = LBFGS(model.parameters(), budget=budget)
    while optimizer.stop_reason is None:
        optimizer.step(objective)
    with torch.no_grad():
        own = squared_error(model(inputs), labels).mean(1).double().sort(descending=True).values
    heavy = int((own.cumsum(0) < 0.99 * own.sum()).sum()) + 1
    at_rest = ((own[:heavy, None] - resting_losses()).abs() < 1e-3).any(1).sum()
    return {
        "problem": "digits",
        "size": sum(p.numel() for p in model.parameters()),
        "seed": seed,
        "library": "homestretch",
        "method": "LBFGS",
        "loss": float(own.mean()),
        "gradient_equivalents": objective.meter.gradient_equivalents,
        "evaluations": objective.meter.evaluations,
        "seconds": time.perf_counter() - started,
        "status": optimizer.stop_reason.name.lower(),
        "dtype": str(dtype).removeprefix("torch."),
        "heavy": heavy,
        "at_rest": int(at_rest),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the table, or the page that shows it."""
    options: Any = parser(__doc__, quick=None).parse_args(arguments)
    if options.report:
        write_report(table_path("functions"))
        return
    torch.set_num_threads(1)
    rows = [run(seed, dtype) for seed in SEEDS for dtype in (torch.float32, torch.float64)]
    table = table_path("digits-stall")
    write_table(table, rows, (*COLUMNS, "dtype", "heavy", "at_rest"))
    write_environment(table, {"homestretch", "scikit-learn"})
    print(f"wrote {table.name}")


if __name__ == "__main__":
    main()
