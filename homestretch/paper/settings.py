"""What decides a run, as plain data: the problem, the recipe, the budget. Each field is a flag of the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Model = Literal["vit-mlp", "vit-nomlp", "vit-nomlp-wkewq", "vit-nomlp-wkewq-wvwo", "vgg5-max-relu", "gpt-char"]
Data = Literal["digits", "mnist", "cifar-10", "cifar-100", "python-docs"]
Second = Literal["auto", "cg", "cg-adam", "golden-fr", "golden-pr", "lbfgs", "torch-lbfgs", "none"]
Rule = Literal["paced", "guarded", "literal", "curve", "budget", "epoch", "share", "start", "never"]
First = Literal["adam", "adamw", "sgd"]
LARGEST_SEED = 2**63 - 1
"""The largest seed that torch's generators and every device take."""
Named = Literal[
    "adam",
    "adam-cosine",
    "adamw-cosine",
    "lbfgs",
    "golden-30",
    "golden-rule",
    "cg-alone-fr",
    "cg-alone-pr",
    "lbfgs-adam-30",
    "cg-adam-30",
    "lbfgs-peak",
    "cg-peak",
    "auto",
]


@dataclass(frozen=True)
class Problem:
    """What is trained, on what.

    Attributes:
        model: Which of the paper's models, or a character-level transformer for text (gpt-char).
        data: Which image set (digits needs no download), or the text that comes with Python (python-docs).
        data_dir: Folder with Parquet, IDX or CIFAR binary files; without it that which the environment variable
            HOMESTRETCH_DATA names, or else the set is loaded by its hub name.
        outputs: What stands between an image model's head and the squared error.
        train_limit: Use the first so many training samples.
        validation_limit: Use the first so many validation samples.
        batch: Samples in a mini-batch of the first phase.
        micro_batch: Samples in one piece of a full pass; bounds its memory. 0 takes as many as the device holds.
        seed: Decides the initial parameters and the order of the mini-batches.
        device: Where to train: cpu, cuda, cuda:1, mps.
        threads: CPU threads; 0 leaves it to torch.
        compile: Whether the model is compiled by torch.compile.
    """

    model: Model = "vit-nomlp"
    data: Data = "digits"
    data_dir: Path | None = None
    outputs: Literal["softmax", "linear"] = "softmax"
    train_limit: int | None = None
    validation_limit: int | None = None
    batch: int = 512
    micro_batch: int = 512
    seed: int = 0
    device: str = "cpu"
    threads: int = 0
    compile: bool = False


@dataclass(frozen=True)
class Phases:
    """How it is trained, but for the moment that two of the rules have to be given.

    Attributes:
        first: Optimizer of the first phase.
        learning_rate: Its learning rate.
        schedule: Its learning-rate schedule over the whole run.
        second: Method of the convex phase: auto; conjugate gradients with Hager-Zhang's beta and search (cg), preconditioned
            by Adam's moments (cg-adam), with golden sections as in the paper (golden-fr: Fletcher-Reeves, golden-pr:
            Polak-Ribiere); lbfgs; torch's own L-BFGS with strong Wolfe and zero tolerances (torch-lbfgs, for the rules
            share and start only); or none.
        rule: When to swap: after the guarded peak of the gradient norm, at the moment that the first phase's pace and the
            budget point to (paced); at the guarded peak; by the paper's literal 0.9 rule; at the peak of the norm against the
            loss; by forecasts within the budget; after swap-at epochs; after swap-at of the budget; at the start; or never.
        gradient_norm: Which norm the rule watches: the free mean of the mini-batch gradients, a fixed sample's, or the exact.
        resort: Whether to go back to the first phase when the convex phase makes less progress for its cost.
    """

    first: First = "adam"
    learning_rate: float = 1e-3
    schedule: Literal["constant", "cosine"] = "constant"
    second: Second = "auto"
    rule: Rule = "paced"
    gradient_norm: Literal["running-mean", "probe", "exact"] = "running-mean"
    resort: bool = True


@dataclass(frozen=True)
class Recipe(Phases):
    """How it is trained, in full.

    Attributes:
        swap_at: For the rules epoch (a number of epochs) and share (between 0 and 1); the others do not look at it.
    """

    swap_at: float = 0.3


@dataclass(frozen=True)
class Plan:
    """Everything that decides a run.

    Attributes:
        problem: What is trained, on what.
        recipe: How it is trained.
        budget: Cost to spend, in gradient-equivalents.
    """

    problem: Problem
    recipe: Recipe
    budget: float

    @property
    def title(self) -> str:
        """The problem in a few words."""
        return f"{self.problem.data} / {self.problem.model}"


RECIPES: dict[Named, Recipe] = {
    "adam": Recipe(second="none", rule="never"),
    "adam-cosine": Recipe(second="none", rule="never", schedule="cosine"),
    "adamw-cosine": Recipe(first="adamw", second="none", rule="never", schedule="cosine"),
    "lbfgs": Recipe(second="torch-lbfgs", rule="share", resort=False),
    "golden-30": Recipe(second="golden-pr", rule="share", resort=False),
    "golden-rule": Recipe(second="golden-pr", rule="literal", resort=False),
    "cg-alone-fr": Recipe(second="golden-fr", rule="start", resort=False),
    "cg-alone-pr": Recipe(second="golden-pr", rule="start", resort=False),
    "lbfgs-adam-30": Recipe(second="lbfgs", rule="share", resort=False),
    "cg-adam-30": Recipe(second="cg-adam", rule="share", resort=False),
    "lbfgs-peak": Recipe(second="lbfgs", rule="guarded", resort=False),
    "cg-peak": Recipe(second="cg-adam", rule="guarded", resort=False),
    "auto": Recipe(),
}
"""Recipes by name, for ``compare`` and ``paper table``.

Of one phase: adam, adam-cosine, adamw-cosine. Torch's L-BFGS after Adam's first 30 %: lbfgs. The paper's: golden-30 (printed
protocol), golden-rule (its literal rule), cg-alone-fr and cg-alone-pr (no Adam). Ours: lbfgs-adam-30 and cg-adam-30 (from
Adam's moments at 30 %), lbfgs-peak and cg-peak (by the guarded rule), auto (what the library does by itself).
"""
