"""The docs page on swap rules and gradient norms, made from `benchmarks/results/rules*.tsv`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.functions_report import markdown_table
from benchmarks.results_io import ROOT, read_table
from homestretch.swap import GradientNormPeak, LiteralPeak

DOCS = ROOT.parent / "docs"
Cell = Mapping[str, str]
_NORMS = {"running-mean": ("mean of mini-batch gradients (free)", "#0072b2"), "exact": ("exact (costs a pass)", "#d55e00")}
_RULES = {"literal": "x", "guarded": "D"}

PAGE = """# Two rules, two gradient norms, on the digits

The paper's Algorithm 1 watches the gradient norm after each Adam epoch and swaps as soon as it is at or below {factor:g} of
its maximum so far (`LiteralPeak`). The guarded rule of homestretch, `GradientNormPeak`, asks for more: the norm must first have
risen from a trough, the loss must have fallen, both are smoothed over {window} epochs, and the norm must stay below in
{patience} epochs. Either rule can watch the free norm, that of the mean of the epoch's mini-batch gradients, or the exact one
over all the data (`gradient_norm="exact"`), which costs one gradient-equivalent an epoch.

Below, Adam alone (learning rate 1e-3) trains vit-nomlp on the 1,437 training digits for {epochs} epochs, seeds {seeds}; both
norms are noted after each epoch and the rules replay them. "Softmax" and "linear" are what stands between the model's head
and the squared error.

{table}

Epochs and losses are medians over the seeds, with the least and the largest in brackets; "no swap" counts the seeds in which
the rule never fired (its fallback after half the budget is off here).

## The curves

Softmax outputs: the norm rises while the loss leaves its first plateau, peaks, and falls. Seed {first_seed}, batch
{batches}; crosses mark the literal rule's swap, diamonds the guarded one's.

![Gradient norm by epoch, softmax outputs](rules-softmax.png)

Linear outputs: the norm starts high and falls at once, so that the literal rule swaps in the first epochs, far from any
minimum.

![Gradient norm by epoch, linear outputs](rules-linear.png)

## What to take from it

{findings}

A falling norm is no proof of convexity: along gradient flow the derivative of half the squared norm is -g'Hg, so it shows
positive curvature along the gradient there, and nothing more.

Made by `make bench-rules` (`python -m benchmarks.bench_rules`) from `benchmarks/results/{name}` and
`benchmarks/results/{curves}`. {environment}
"""


def spread(values: Sequence[float], digits: str) -> str:
    """Return the median with the least and the largest in brackets."""
    if not values:
        return "-"
    return f"{median(values):{digits}} ({min(values):{digits}}-{max(values):{digits}})"


def select(rows: Iterable[Cell], **wanted: str) -> list[Cell]:
    """Return the rows whose cells are as wanted."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def settings_of(rows: Iterable[Cell], *names: str) -> list[tuple[str, ...]]:
    """Return the different settings of these columns, in the order of the table."""
    return list(dict.fromkeys(tuple(row[name] for name in names) for row in rows))


def swap_table(rows: Sequence[Cell]) -> str:
    """Return a line for each setting, rule and norm."""
    lines = []
    for outputs, batch, rule, norm in settings_of(rows, "outputs", "batch", "rule", "norm"):
        mine = select(rows, outputs=outputs, batch=batch, rule=rule, norm=norm)
        swapped = [row for row in mine if row["swap_epoch"]]
        lines.append(
            [
                f"{outputs}, batch {batch}",
                rule,
                norm,
                spread([int(row["swap_epoch"]) for row in swapped], "g"),
                spread([float(row["swap_loss"]) for row in swapped], ".2g"),
                f"{len(mine) - len(swapped)} of {len(mine)}",
            ]
        )
    return markdown_table(["outputs", "rule", "norm", "swap epoch", "loss there", "no swap"], lines)


def findings(rows: Sequence[Cell]) -> str:
    """Return a sentence for each setting of the outputs, from the table's numbers."""
    lines = []
    for outputs, batch in settings_of(rows, "outputs", "batch"):
        mine = select(rows, outputs=outputs, batch=batch)
        told = "; ".join(_finding(select(mine, rule=rule), rule) for rule in _RULES)
        lines.append(f"* {outputs.capitalize()} outputs, batch {batch}: {told}.")
    return "\n".join(lines)


def _finding(rows: Sequence[Cell], rule: str) -> str:
    """Return what one rule does over all seeds and both norms."""
    swapped = [row for row in rows if row["swap_epoch"]]
    if not swapped:
        return f"the {rule} rule never swaps"
    epochs, losses = [int(row["swap_epoch"]) for row in swapped], [float(row["swap_loss"]) for row in swapped]
    text = (
        f"the {rule} rule swaps in epochs {min(epochs)} to {max(epochs)}, "
        f"at losses from {max(losses):.2g} down to {min(losses):.2g}"
    )
    for (norm,) in settings_of(rows, "norm"):
        missed = len(select(rows, norm=norm, swap_epoch=""))
        text += f" (not in {missed} of {len(select(rows, norm=norm))} seeds with the {norm} norm)" if missed else ""
    return text


def draw(curves: Sequence[Cell], swaps: Sequence[Cell], outputs: str, path: Path) -> None:
    """Draw both norms by epoch, a panel for each batch size, the swaps of both rules marked on them."""
    from matplotlib.figure import Figure

    batches = [batch for (batch,) in settings_of(curves, "batch")]
    seed = curves[0]["seed"]
    figure = Figure(figsize=(4.4 * len(batches), 3.8), layout="constrained")
    panels = figure.subplots(1, len(batches), squeeze=False)[0]
    for axes, batch in zip(panels, batches, strict=True):
        points = select(curves, outputs=outputs, batch=batch, seed=seed)
        for norm, (label, colour) in _NORMS.items():
            by_epoch = {int(p["epoch"]): float(p[norm]) for p in points}
            axes.plot(list(by_epoch), list(by_epoch.values()), color=colour, linewidth=1, label=label)
            for rule, marker in _RULES.items():
                for row in select(swaps, outputs=outputs, batch=batch, seed=seed, rule=rule, norm=norm):
                    if row["swap_epoch"]:
                        epoch = int(row["swap_epoch"])
                        axes.plot([epoch], [by_epoch[epoch]], marker=marker, color=colour, markersize=8, markeredgewidth=2)
        axes.set(title=f"{outputs} outputs, batch {batch}", xlabel="epoch", ylabel="gradient norm", yscale="log")
        axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    panels[0].legend(frameon=False, fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def describe(table: Path) -> tuple[int, str]:
    """Return the number of epochs of a table, and a sentence on where it was made."""
    known: dict[str, Any] = json.loads(table.with_suffix(".env.json").read_text())
    return known["epochs"], f"Processor: {known['processor']}, one thread; torch {known['versions']['torch']}."


def write_report(table: Path, folder: Path = DOCS) -> None:
    """Write the page and a figure for each kind of outputs into the folder."""
    curves_table = table.with_name(f"{table.stem}-curves.tsv")
    swaps, curves = read_table(table), read_table(curves_table)
    epochs, environment = describe(table)
    for (outputs,) in settings_of(curves, "outputs"):
        draw(curves, swaps, outputs, folder / f"{table.stem}-{outputs}.png")
    seeds = [seed for (seed,) in settings_of(swaps, "seed")]
    page = PAGE.format(
        factor=LiteralPeak().factor,
        window=GradientNormPeak().window,
        patience=GradientNormPeak().patience,
        epochs=epochs,
        seeds=", ".join(seeds),
        first_seed=seeds[0],
        batches=" and ".join(batch for (batch,) in settings_of(curves, "batch")),
        table=swap_table(swaps),
        findings=findings(swaps),
        name=table.name,
        curves=curves_table.name,
        environment=environment,
    )
    (folder / f"{table.stem}.md").write_text(page)
    print(f"wrote {table.stem}.md and its figures")
