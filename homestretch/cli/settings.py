"""What the command line can be told, as dataclasses: each field is a flag."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Model = Literal["vit-mlp", "vit-nomlp", "vit-nomlp-wkewq", "vit-nomlp-wkewq-wvwo", "vgg5-max-relu"]
Data = Literal["digits", "mnist", "cifar-10", "cifar-100"]
Second = Literal["auto", "cg", "cg-adam", "golden-fr", "golden-pr", "lbfgs", "none"]
Rule = Literal["guarded", "literal", "curve", "budget", "epoch", "share", "never"]
First = Literal["adam", "adamw", "sgd"]
Named = Literal["adam", "adam-cosine", "adamw-cosine", "golden-30", "golden-rule", "cg", "lbfgs", "auto"]


@dataclass(frozen=True)
class Problem:
    """What is trained, on what.

    Attributes:
        model: Which of the paper's models.
        data: Which image set; digits needs no download.
        data_dir: Folder with Parquet, IDX or CIFAR binary files; without it the set is loaded by its hub name.
        outputs: What stands between the model's head and the squared error.
        train_limit: Use the first so many training images.
        validation_limit: Use the first so many validation images.
        batch: Images in a mini-batch of the first phase.
        micro_batch: Images in one piece of a full pass; bounds its memory.
        seed: Decides the initial parameters and the order of the mini-batches.
        device: Where to train: cpu, cuda, cuda:1, mps.
        threads: CPU threads; 0 leaves it to torch.
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


@dataclass(frozen=True)
class Recipe:
    """How it is trained.

    Attributes:
        first: Optimizer of the first phase.
        learning_rate: Its learning rate.
        schedule: Its learning-rate schedule over the whole run.
        second: Method of the convex phase: auto; conjugate gradients with Hager-Zhang's beta and search (cg), preconditioned
            by Adam's moments (cg-adam), with golden sections as in the paper (golden-fr: Fletcher-Reeves, golden-pr:
            Polak-Ribiere); lbfgs; or none.
        rule: When to swap: the guarded peak of the gradient norm, the paper's literal 0.9 rule, the peak of the norm
            against the loss, forecasts within the budget, after swap-at epochs, after swap-at of the budget, or never.
        swap_at: For the rules epoch (a number of epochs) and share (between 0 and 1).
        gradient_norm: Which norm the rule watches: the free mean of the mini-batch gradients, a fixed sample's, or the exact.
        resort: Whether to go back to the first phase when the convex phase makes less progress for its cost.
    """

    first: First = "adam"
    learning_rate: float = 1e-3
    schedule: Literal["constant", "cosine"] = "constant"
    second: Second = "auto"
    rule: Rule = "guarded"
    swap_at: float = 0.3
    gradient_norm: Literal["running-mean", "probe", "exact"] = "running-mean"
    resort: bool = True


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
    "golden-30": Recipe(second="golden-pr", rule="share", swap_at=0.3, resort=False),
    "golden-rule": Recipe(second="golden-pr", rule="literal", resort=False),
    "cg": Recipe(second="cg-adam", rule="guarded", resort=False),
    "lbfgs": Recipe(second="lbfgs", rule="guarded", resort=False),
    "auto": Recipe(),
}
"""Recipes by name, for ``compare``: the golden ones are the paper's."""
