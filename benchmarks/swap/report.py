"""The docs page on swapping, made from a table of `benchmarks.bench_swap`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks.functions_report import markdown_table
from benchmarks.results_io import ROOT, read_table
from benchmarks.swap.cells import cells_of
from benchmarks.swap.plot import draw
from homestretch.paper.data import SET_NAMES as IMAGE_SETS

DOCS = ROOT.parent / "docs" / "benchmarks"
Row = Mapping[str, str]
MEDIAN_TARGET, WORST_TARGET, RATIO_TARGET = 0.1, 0.5, 1.05

INTRODUCTION = """# The swap

How much does the moment of the swap matter, which rule finds it, and does the default cost anything against going on with
Adam? Every method gets the same start, the same first phase (Adam at a constant rate, after a ramp of 100 steps where there
are no mini-batches), the same convex phase (what `auto` chooses: self-scaled Broyden on the small float64 problems, else
L-BFGS started from Adam's second moments) and the same budget of counted gradient-equivalents; what a line search overspends
at the end does not count. Fixed swaps and rules that only look do not go back; `default` is what a user gets, its resort
included; `adam` and `adam-cosine` never swap.

**Regret** is log10 of the final loss less that of the best of the fixed swaps at 2, 5, 10, 20, 30, 40 and 50 % of the budget
from the same start: 0.3 is a loss twice as high. It is negative where a method beats them all. The best fixed swap is known
only afterwards, so a regret of zero is not to be had for sure by anyone.

**Read with care.** {scale_note}
Losses are those of training, not of validation. {seeds} The settings of the default rule and of the resort were
chosen on small networks over the digits and on transformers over {images}.
Which of the fixed swaps is best is partly luck where the convex phase ends far from a minimum: look at how the fixed swaps
differ among themselves before reading anything into a regret. The guide is [when to swap, and when not to](../when-to-swap.md).

Made by `make bench-swap{scale_option}` and `python -m benchmarks.bench_swap --scale {scale} --report` from
`benchmarks/results/{table}`. {codes}{environment}
"""
SCALE_NOTES = {
    "full": "This is the full size. [The small size](swap.md) has a page of its own.",
    "tenth": (
        "This is the tenth size: the first 6,000 and 5,000 images and 300 epochs. [The small size](swap.md) has a page of its "
        "own."
    ),
    "small": (
        "This is the small size, not the one that the targets are stated for: curve fits and three physics-informed networks "
        "with short budgets; the paper's four cells on 1,000 images and 80 epochs, in mini-batches of 64; and the smallest "
        "transformer on the embedded digits and on 1,000 images of MNIST, in mini-batches of 128. The same command with "
        "`SCALE=tenth` or `SCALE=full` runs the larger ones; [the tenth size](swap-tenth.md) has a page of its own."
    ),
    "quick": "This is the quick check that the benchmark runs; its figures mean nothing.",
}
IMAGES = {
    "small": (
        "other parts of MNIST and CIFAR-10, after an earlier resort had failed on the 1,000 images below: gains there are weak "
        "evidence for them"
    ),
    "other": (
        "parts of MNIST and CIFAR-10, after an earlier resort had failed on the 1,000 images of [the small size](swap.md): "
        "gains on images are weak evidence for them"
    ),
    "none": "parts of MNIST and CIFAR-10, none of which is here",
}
"""On which images the default's settings were chosen, by what images a page is about."""


def methods_of(rows: Iterable[Row]) -> list[str]:
    """Methods in the order of the table."""
    return list(dict.fromkeys(row["method"] for row in rows))


def values(rows: Iterable[Row], column: str, method: str, problem: str | None = None) -> list[float]:
    """A column of one method, over all problems or one."""
    return [float(row[column]) for row in rows if row["method"] == method and row[column] and problem in (None, row["problem"])]


def summary(rows: Sequence[Row]) -> str:
    """A line a method: its regrets over all runs, how often it swapped, and when."""
    lines = []
    for method in methods_of(rows):
        regrets, shares = values(rows, "regret", method), values(rows, "swap_share", method)
        lines.append(
            [
                f"`{method}`",
                f"{median(regrets):+.2f}",
                f"{max(regrets):+.2f}",
                f"{sum(r <= MEDIAN_TARGET for r in regrets)} of {len(regrets)}",
                f"{len(shares)} of {len(regrets)}",
                f"{median(shares):.0%}" if shares else "-",
            ]
        )
    return markdown_table(["method", "median regret", "worst", "at most 0.1", "swapped", "median moment"], lines)


def by_problem(rows: Sequence[Row], column: str, show: Callable[[Sequence[float]], str]) -> str:
    """A line a method, a column a problem."""
    problems = list(dict.fromkeys(row["problem"] for row in rows))
    lines = []
    for method in methods_of(rows):
        found = [values(rows, column, method, problem) for problem in problems]
        lines.append([f"`{method}`", *(show(v) if v else "" for v in found)])
    return markdown_table(["method", *problems], lines)


def against(rows: Sequence[Row], method: str = "default", baseline: str = "adam") -> dict[str, list[float]]:
    """The method's final loss over the baseline's, by problem, a number a seed."""
    losses = {(row["problem"], row["seed"], row["method"]): float(row["loss"]) for row in rows}
    ratios: dict[str, list[float]] = {}
    for (problem, seed, name), loss in losses.items():
        if name == method:
            ratios.setdefault(problem, []).append(loss / losses[problem, seed, baseline])
    return ratios


def verdict(rows: Sequence[Row]) -> str:
    """What the targets ask, and what was found."""
    regrets, ratios = values(rows, "regret", "default"), against(rows)
    worst_median = max(ratios, key=lambda problem: median(ratios[problem]))
    worst = max(ratio for found in ratios.values() for ratio in found)
    lines = [
        ("median regret of `default` <= 0.1", f"{median(regrets):+.2f}", median(regrets) <= MEDIAN_TARGET),
        ("worst regret of `default` <= 0.5", f"{max(regrets):+.2f}", max(regrets) <= WORST_TARGET),
        (
            "`default` <= 1.05 x `adam`, median over seeds, on every problem",
            f"{median(ratios[worst_median]):.3g} on {worst_median}; worst run {worst:.3g}",
            median(ratios[worst_median]) <= RATIO_TARGET,
        ),
    ]
    return markdown_table(["target", "found", "reached"], [[a, b, "yes" if c else "**no**"] for a, b, c in lines])


def ratio_table(rows: Sequence[Row]) -> str:
    """`default` against both baselines, problem by problem."""
    adam, cosine = against(rows), against(rows, baseline="adam-cosine")
    lines = [
        [problem, f"{median(adam[problem]):.3g}", f"{max(adam[problem]):.3g}", f"{median(cosine[problem]):.3g}"]
        for problem in adam
    ]
    return markdown_table(["problem", "median / adam", "worst / adam", "median / adam-cosine"], lines)


def growing(rows: Sequence[Row]) -> str:
    """What a convex phase on growing data gains or loses against one on all of them from the same swap."""
    ratios = against(rows, "growing-20", "fixed-20")
    if not ratios:
        return ""
    lines = [[problem, middle_and_spread(found), str(len(found))] for problem, found in ratios.items()]
    return (
        "## Growing data: final loss of `growing-20` over that of `fixed-20`, median (lowest to highest)\n\n"
        "Both swap at 20 % of the budget; the convex phase of the first begins on an eighth of the data (`Growth()`).\n\n"
        + markdown_table(["problem", "ratio", "seeds"], lines)
        + "\n"
    )


def middle_and_spread(figures: Sequence[float]) -> str:
    """Median, with the lowest and highest."""
    return f"{median(figures):.2g} ({min(figures):.2g} to {max(figures):.2g})"


def left_out(rows: Sequence[Row], scale: str) -> str:
    """A sentence on the cells and seeds of the scale that the table does not have, where there are any."""
    made = {(row["problem"], int(row["seed"])) for row in rows}
    missing = {cell.name: [seed for seed in range(cell.seeds) if (cell.name, seed) not in made] for cell in cells_of(scale)}
    parts = [f"{name} (seeds {', '.join(map(str, seeds))})" for name, seeds in missing.items() if seeds]
    return f" Not run yet: {', '.join(parts)}." if parts else ""


def _codes(rows: Sequence[Row]) -> str:
    """A sentence if the rows were not all made by one version of the code."""
    versions = {row.get("code") or "unnamed" for row in rows}
    return f"Its rows were made by {len(versions)} versions of the code (column `code`). " if len(versions) > 1 else ""


def images_note(rows: Sequence[Row], scale: str) -> str:
    """On which images the default's settings were chosen, and what that means for those in the rows."""
    if all(row["problem"].split("/")[0] not in IMAGE_SETS for row in rows):
        return IMAGES["none"]
    return IMAGES["small" if scale == "small" else "other"]


def seeds_note(rows: Sequence[Row]) -> str:
    """A sentence on how many seeds the problems have."""
    counts = [len({row["seed"] for row in rows if row["problem"] == p}) for p in {row["problem"] for row in rows}]
    low, high = min(counts), max(counts)
    return f"Seeds a problem: {low if low == high else f'{low} to {high}'}."


def seconds(rows: Sequence[Row]) -> str:
    """Wall time of the runs together."""
    return f"{math.fsum(float(row['seconds']) for row in rows):.0f}"


def write_report(table: Path, folder: Path = DOCS) -> None:
    """Write `swap.md` and `swap-regret.png` for the small table into the folder, `swap-SCALE.md` and its plot for another."""
    rows = read_table(table)
    known = json.loads(table.with_suffix(".env.json").read_text())
    versions = ", ".join(f"{name} {version}" for name, version in known["versions"].items())
    name = "swap" if known["scale"] == "small" else f"swap-{known['scale']}"
    introduction = INTRODUCTION.format(
        scale=known["scale"],
        scale_note=SCALE_NOTES[known["scale"]] + left_out(rows, known["scale"]),
        scale_option="" if known["scale"] == "small" else f" SCALE={known['scale']}",
        seeds=seeds_note(rows),
        images=images_note(rows, known["scale"]),
        table=table.name,
        codes=_codes(rows),
        environment=f"Processor: {known['processor']}, {known['threads']} thread; Python {known['python']}; {versions}; "
        f"the rows add up to {seconds(rows)} s of wall time{known['note'] and ' (' + known['note'] + ')'}.",
    )
    folder.mkdir(parents=True, exist_ok=True)
    plot = folder / f"{name}-regret.png"
    draw(rows, plot)
    parts = [
        introduction,
        "## Targets\n",
        verdict(rows) + "\n",
        "## Regret, over all problems and seeds\n",
        summary(rows) + "\n",
        f"![Regret of each method, a dot a run]({plot.name})\n",
        "## Against going on with Adam: final loss of `default` over that of the baseline\n",
        ratio_table(rows) + "\n",
        growing(rows),
        "## Regret by problem, median over seeds\n",
        by_problem(rows, "regret", lambda v: f"{median(v):+.2f}") + "\n",
        "## Final loss, median (lowest to highest) over seeds\n",
        by_problem(rows, "loss", middle_and_spread) + "\n",
        "## Moment of the swap as a share of the budget, median over the seeds that swapped\n",
        by_problem(rows, "swap_share", lambda v: f"{median(v):.0%}"),
    ]
    (folder / f"{name}.md").write_text("\n".join(parts) + "\n")
    print(f"wrote {name}.md and {plot.name}")
