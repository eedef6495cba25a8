"""From runs to a table: the median over the seeds with its spread, the printed figures beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median

from homestretch.paper.settings import RECIPES
from homestretch.paper.table.cells import VISION_MODELS
from homestretch.paper.table.outcome import Outcome
from homestretch.paper.table.printed import PRINTED
from homestretch.report.grid import Grid

__all__ = ["Group", "Spread", "gains", "groups", "summary_grid", "terminal_grids", "write_summary"]

FORMS = {"cost": "equal cost", "printed": "equal epochs"}


@dataclass(frozen=True)
class Spread:
    """A median with the lowest and the highest of all seeds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of one or more values."""
        return cls(float(median(values)), min(values), max(values))

    def show(self, digits: str) -> str:
        """As text; the range only where there is one."""
        middle = format(self.median, digits)
        return middle if self.low == self.high else f"{middle} ({self.low:{digits}} to {self.high:{digits}})"


@dataclass(frozen=True)
class Group:
    """All seeds of one recipe on one problem, measured by one accounting.

    Attributes:
        set: The data.
        model: The model.
        recipe: Name of the recipe.
        accounting: Where the runs were measured.
        size: Name of the size.
        outcomes: The runs, by seed.
    """

    set: str
    model: str
    recipe: str
    accounting: str
    size: str
    outcomes: tuple[Outcome, ...]

    def spread(self, value: Callable[[Outcome], float]) -> Spread:
        """The spread of a number of each run."""
        return Spread.of([value(outcome) for outcome in self.outcomes])

    @property
    def swap(self) -> str:
        """The epochs after which the convex phase began."""
        epochs = [outcome.swap_epoch for outcome in self.outcomes]
        known = [epoch for epoch in epochs if epoch is not None]
        if not known:
            return "-"
        text = Spread.of([float(epoch) for epoch in known]).show(".0f")
        return text if len(known) == len(epochs) else f"{text}, {len(epochs) - len(known)} without"


def groups(outcomes: Sequence[Outcome]) -> list[Group]:
    """The runs gathered over their seeds, in the order of sets, models and recipes."""
    gathered: dict[tuple[str, str, str, str, str], list[Outcome]] = {}
    for o in outcomes:
        gathered.setdefault((o.set, o.model, o.recipe, o.accounting, o.size), []).append(o)
    found = [Group(*key, tuple(sorted(runs, key=lambda o: o.seed))) for key, runs in gathered.items()]
    return sorted(found, key=_order)


def gains(group: Group, outcomes: Sequence[Outcome]) -> Spread | None:
    """Adam's training loss over that of the same seed's run of this group; ``None`` for Adam, or where it was not run."""
    adam = {(o.set, o.model, o.size, o.seed): o.train_loss for o in outcomes if o.recipe == "adam"}
    ratios = [_ratio(adam[key], o.train_loss) for o in group.outcomes if (key := (o.set, o.model, o.size, o.seed)) in adam]
    return Spread.of(ratios) if ratios and group.recipe != "adam" else None


def summary_grid(outcomes: Sequence[Outcome]) -> Grid:
    """The table: a line for each recipe, ours and below it what was printed, where it was."""
    top5 = any(o.validation_top5 is not None for o in outcomes)
    headings = ["set", "model", "recipe", "at", "seeds", "train loss", "acc.", "val. loss", "acc."]
    headings += ["top 5"] if top5 else []
    headings += ["Q", "cost", "seconds", "swap", "gain"]
    rows = []
    for group in groups(outcomes):
        rows.append(_line(group, gains(group, outcomes), top5))
        printed = PRINTED.get((group.set, group.model))
        if group.accounting == "cost" and printed and (figures := printed.of(group.recipe)):
            gain = f"{printed.gain.low:.3g} to {printed.gain.high:.3g}" if group.recipe == "golden-30" else ""
            loss, accuracy, validation_loss, validation_accuracy = figures
            line = ["", "", "", "as printed", "", loss, accuracy, validation_loss, validation_accuracy]
            rows.append([*line, *([""] if top5 else []), printed.overdetermination, "", "", "", gain])
    sizes = ", ".join(sorted({o.size for o in outcomes})) or "none"
    return Grid(headings, rows, f"The paper's table, size {sizes}: median over seeds (lowest to highest)", left=4)


def terminal_grids(outcomes: Sequence[Outcome]) -> list[Grid]:
    """The table in pieces of 80 columns, one a problem: medians, and the range of the training loss over the seeds."""
    found: dict[tuple[str, str, str], list[Group]] = {}
    for group in groups(outcomes):
        found.setdefault((group.set, group.model, group.size), []).append(group)
    headings = ("recipe", "loss", "range", "acc.", "val.", "acc.", "cost", "sec.", "swap", "gain")
    grids = []
    for (data, model, size), parts in found.items():
        rows = []
        for group in parts:
            rows.append(_short_line(group, gains(group, outcomes)))
            printed = PRINTED.get((data, model))
            if group.accounting == "cost" and printed and (figures := printed.of(group.recipe)):
                gain = f"{printed.gain.low:.2g}-{printed.gain.high:.2g}" if group.recipe == "golden-30" else ""
                rows.append([" printed", figures[0], "", *figures[1:], "", "", "", gain])
        first = parts[0].outcomes[0]
        title = f"{data} / {model}, size {size}, Q = {first.overdetermination:.3g}, {max(len(g.outcomes) for g in parts)} seeds"
        grids.append(Grid(headings, rows, f"{title} (*: at equal epochs)"))
    return grids


def _short_line(group: Group, gain: Spread | None) -> list[str]:
    loss = group.spread(lambda o: o.train_loss)
    spread = "" if loss.low == loss.high else f"{_short(loss.low, 1)}-{_short(loss.high, 1)}"
    swap = group.spread(lambda o: float(o.swap_epoch or 0)).median if group.swap != "-" else None
    return [
        f"{group.recipe}{'*' if group.accounting == 'printed' else ''}",
        _short(loss.median, 2),
        spread,
        f"{group.spread(lambda o: o.train_accuracy).median:.3f}",
        _short(group.spread(lambda o: o.validation_loss).median, 2),
        f"{group.spread(lambda o: o.validation_accuracy).median:.3f}",
        f"{group.spread(lambda o: o.gradient_equivalents).median:.0f}",
        f"{group.spread(lambda o: o.seconds).median:.0f}",
        "-" if swap is None else f"{swap:.0f}",
        f"{gain.median:.3g}" if gain else "",
    ]


def _short(value: float, digits: int) -> str:
    """In scientific notation, without what it can do without: 1.5e-3."""
    mantissa, _, exponent = f"{value:.{digits}e}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def write_summary(outcomes: Sequence[Outcome], folder: Path, name: str) -> list[Path]:
    """Write the table as Markdown, LaTeX and Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    grid = summary_grid(outcomes)
    paths = [folder / f"{name}.{ending}" for ending in ("md", "tex", "parquet")]
    paths[0].write_text(f"{grid.title}\n\n{grid.markdown()}", encoding="utf-8")
    paths[1].write_text(grid.latex(), encoding="utf-8")
    rows = [_flat(group, gains(group, outcomes)) for group in groups(outcomes)]
    if rows:
        pq.write_table(pa.Table.from_pylist(rows), paths[2])
    return [path for path in paths if path.exists()]


_ORDER: tuple[list[str], ...] = (["digits", "mnist", "cifar-10", "cifar-100"], [*VISION_MODELS], [*RECIPES])
_NUMBERS = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "gradient_equivalents", "seconds")


def _line(group: Group, gain: Spread | None, top5: bool) -> list[str]:
    o = group.outcomes[0]
    line = [group.set, group.model, group.recipe, FORMS[group.accounting], str(len(group.outcomes))]
    line += [group.spread(lambda o: o.train_loss).show(".2e"), group.spread(lambda o: o.train_accuracy).show(".3f")]
    line += [group.spread(lambda o: o.validation_loss).show(".2e"), group.spread(lambda o: o.validation_accuracy).show(".3f")]
    if top5:
        known = o.validation_top5 is not None
        line.append(group.spread(lambda o: o.validation_top5 or 0.0).show(".3f") if known else "")
    line += [f"{o.overdetermination:.3g}", group.spread(lambda o: o.gradient_equivalents).show(".0f")]
    return [*line, group.spread(lambda o: o.seconds).show(".0f"), group.swap, gain.show(".3g") if gain else ""]


def _flat(group: Group, gain: Spread | None) -> dict[str, object]:
    """A group as a row of plain numbers."""
    row: dict[str, object] = {f.name: getattr(group, f.name) for f in fields(group) if f.name != "outcomes"}
    row["seeds"] = len(group.outcomes)
    row["overdetermination"] = group.outcomes[0].overdetermination
    for name in _NUMBERS:
        spread = group.spread(lambda o, name=name: float(getattr(o, name)))
        row |= {name if part == "median" else f"{name}_{part}": value for part, value in asdict(spread).items()}
    tops = [o.validation_top5 for o in group.outcomes if o.validation_top5 is not None]
    row["validation_top5"] = float(median(tops)) if tops else None
    swaps = [float(o.swap_epoch) for o in group.outcomes if o.swap_epoch is not None]
    row["swap_epoch"] = float(median(swaps)) if swaps else None
    row |= {"gain": gain.median if gain else None, "gain_low": gain.low if gain else None}
    printed = PRINTED.get((group.set, group.model))
    figures = printed.of(group.recipe) if printed else None
    for i, name in enumerate(_NUMBERS[:4]):
        row[f"printed_{name}"] = float(figures[i]) if figures else None
    row["printed_gain_low"] = printed.gain.low if printed and group.recipe == "golden-30" else None
    row["printed_gain_high"] = printed.gain.high if printed and group.recipe == "golden-30" else None
    return row


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0.0 else math.inf


def _order(group: Group) -> tuple[int, int, int, str]:
    sets, models, recipes = _ORDER
    return (_place(sets, group.set), _place(models, group.model), _place(recipes, group.recipe), group.accounting)


def _place(names: Sequence[str], name: str) -> int:
    return names.index(name) if name in names else len(names)
