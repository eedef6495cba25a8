"""The page "What we found", written from result files alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from homestretch.errors import DataError
from homestretch.history import History
from homestretch.paper.findings.verdict import ALLOWED, Verdict, peak_sentence, verdict
from homestretch.paper.table.cells import PAPER_RECIPES, SIZES
from homestretch.paper.table.outcome import Outcome
from homestretch.paper.table.printed import PRINTED
from homestretch.paper.table.summary import summary_grid
from homestretch.paper.table.traces import Key

__all__ = ["page"]

_OURS = Path("benchmarks/results/paper.parquet")  # what `make bench-paper` writes
_HEAD = """# What we found

This page is made by `homestretch paper report` from the results `{results}`, by rule, and says
what these say and no more{but}. The runs are{ours}: {sizes}.
The source is Hrycej et al. (2025), arXiv 2510.25366, whose runs used all images and 1,000 epochs (700 for vit-mlp): at a
smaller size a claim may fare differently.

**How it is compared.** Every recipe starts from the same parameters and may spend the same counted cost: Adam's epochs, in
gradient-equivalents (a forward and backward pass over the training data is 1, a forward pass alone 1/3). The paper counts
an iteration of conjugate gradients as an epoch, whatever its line search costs; where that was run too, it is the line
"equal epochs". The column "cost" shows what was spent: a run's last line search may have brought it above the budget.
Ratios are of training losses, seed by seed, and their median is given; the gain of a recipe is Adam's loss over its own.
Wall times depend on the machine and on what else it does, and are no evidence.
"""


def page(
    outcomes: Sequence[Outcome], histories: Mapping[Key, History], results: str, figures: Sequence[str] = (), note: str = ""
) -> str:
    """The page in Markdown.

    Args:
        outcomes: All runs.
        histories: Their courses, for the peaks.
        results: Where the results are, for the reader.
        figures: Paths of pictures to show, relative to the page.
        note: What the results do not say of how they were made; the page tells that it is written by hand.

    Raises:
        DataError: If there are no runs.
    """
    if not outcomes:
        raise DataError("there are no results to report: run `homestretch paper table` first")
    problems = list(dict.fromkeys((o.set, o.model) for o in outcomes))
    if len({(o.set, o.model, o.size) for o in outcomes}) > len(problems):
        raise DataError("the results hold one problem at several sizes, which cannot be compared: report them one by one")
    verdicts = {problem: verdict(*problem, outcomes) for problem in problems}
    but = ", but for one paragraph that is written by hand" if note else ""
    ours = " those of `make bench-paper`" if Path(results) == _OURS else ""
    head = _HEAD.format(results=results, sizes=_sizes(outcomes), but=but, ours=ours)
    parts = [head, _run_so_far(outcomes, note), _overall(verdicts)]
    for data, model in problems:
        parts.append(f"## {data} / {model}\n\n{_seeds(outcomes, data, model)}\n")
        lines = [*verdicts[data, model].sentences, peak_sentence(histories, data, model)]
        parts.append("\n".join(f"- {line}" for line in lines if line) + "\n")
    grid = summary_grid(outcomes)
    parts.append(f"## The table\n\n{grid.title}.\n\n{grid.markdown()}")
    if figures:
        parts.append("## Figures\n\n" + "\n".join(f"![{Path(f).stem}]({f})" for f in figures) + "\n")
    return "\n".join(parts)


def _sizes(outcomes: Sequence[Outcome]) -> str:
    texts = []
    for name in dict.fromkeys(o.size for o in outcomes):
        size = next(size for key, size in SIZES.items() if key == name)
        rows = ", ".join(f"{size.rows.get(d, 'all')} of {d}" for d in dict.fromkeys(o.set for o in outcomes if o.size == name))
        texts.append(f"size {name}: {rows}, {size.epochs} epochs")
    return "; ".join(texts)


def _run_so_far(outcomes: Sequence[Outcome], note: str) -> str:
    """Exactly which cells are behind the page, and which of the paper's are not."""
    rows: dict[tuple[str, str], dict[str, set[int]]] = {}
    for o in outcomes:
        rows.setdefault((o.set, o.model), {}).setdefault(o.recipe, set()).add(o.seed)
    lines = []
    for (data, model), recipes in rows.items():
        seeds = ", ".join(f"{recipe} ({_listed(seeds)})" for recipe, seeds in recipes.items())
        left = [recipe for recipe in PAPER_RECIPES if recipe not in recipes]
        rest = f" Not run: {', '.join(left)}." if left else ""
        lines.append(f"- {data} / {model}: {seeds}.{rest}")
    absent = [f"{data} / {model}" for data, model in PRINTED if (data, model) not in rows]
    text = f"## What was run\n\nRecipes with their seeds:\n\n{chr(10).join(lines)}\n"
    text += f"\n*Written by hand, not from the results:* {note}\n" if note else ""
    return text + (f"\nCells of the paper's table that were not run: {', '.join(absent)}.\n" if absent else "")


def _overall(verdicts: Mapping[tuple[str, str], Verdict]) -> str:
    """The counts over all problems."""
    allowed = [v.allowed for v in verdicts.values() if v.allowed is not None]
    beats = [v.beats_cosine for v in verdicts.values() if v.beats_cosine is not None]
    lines = []
    for accounting, words in (("cost", "at equal cost"), ("printed", "at equal epochs")):
        if reached := [v.reached[accounting] for v in verdicts.values() if accounting in v.reached]:
            lines.append(f"The printed gain of the two-phase method is reached {words} in {_of(reached)}.")
    if allowed:
        always = [v.always_allowed for v in verdicts.values() if v.always_allowed is not None]
        better = f"`auto` is within {ALLOWED:g} x the better of Adam and Adam with decay"
        lines.append(f"{better} by the median over seeds in {_of(allowed)}, and at every seed in {_of(always)}.")
        lines.append(f"`auto` is below Adam with decay in {_of(beats)}; the target is 8 of the 10 MNIST and CIFAR-10 cells.")
    else:
        lines.append("`auto` has not been compared with Adam and Adam with decay: these runs are not there.")
    return "## In short\n\n" + "\n".join(f"- {line}" for line in lines) + "\n"


def _of(flags: Sequence[bool]) -> str:
    return f"{sum(flags)} of {len(flags)} {'cell' if len(flags) == 1 else 'cells'} run"


def _seeds(outcomes: Sequence[Outcome], data: str, model: str) -> str:
    seeds = {o.seed for o in outcomes if (o.set, o.model) == (data, model)}
    if len(seeds) > 1:
        return f"{len(seeds)} seeds."
    return "One seed: what follows is one run of each recipe, and no evidence of what others would do."


def _listed(seeds: set[int]) -> str:
    return ("seed " if len(seeds) == 1 else "seeds ") + ", ".join(map(str, sorted(seeds)))
