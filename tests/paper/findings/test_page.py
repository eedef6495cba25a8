from __future__ import annotations

import pytest

from homestretch.errors import DataError
from homestretch.paper.findings import page


@pytest.fixture
def runs(outcome):
    adam = [outcome(seed=seed) for seed in (0, 1)]
    return [*adam, outcome(recipe="golden-30", train_loss=2e-3), outcome(recipe="adam-cosine"), outcome(recipe="auto")]


def test_the_page_says_what_was_run_and_what_not(runs):
    text = page(runs, {}, "some/results.parquet", ["figures/figure-1.png"], "A remark.")
    assert "\n*Written by hand, not from the results:* A remark.\n" in text
    assert "these say and no more, but for one paragraph that is written by hand." in text
    assert "`some/results.parquet`" in text
    assert "mnist / vit-nomlp: adam (seeds 0, 1), golden-30 (seed 0), adam-cosine (seed 0), auto (seed 0)." in text
    assert "Not run: adamw-cosine, lbfgs, golden-rule, cg-alone-fr, cg-alone-pr." in text
    assert "that were not run: mnist / vit-mlp, mnist / vit-nomlp-wkewq," in text
    assert "size tenth: 6000 of mnist, 300 epochs" in text
    assert "![figure-1](figures/figure-1.png)" in text
    assert "| mnist | vit-nomlp | golden-30 | equal cost | 1 |" in text


def test_without_a_note_nothing_is_by_hand(runs):
    text = page(runs, {}, "r")
    assert "by hand" not in text
    assert "what these say and no more. The runs are" in text


@pytest.mark.parametrize(("results", "ours"), [("benchmarks/results/paper.parquet", True), ("runs/paper/table.parquet", False)])
def test_only_our_own_runs_are_those_of_make_bench_paper(runs, results, ours):
    assert ("The runs are those of `make bench-paper`: size " in page(runs, {}, results)) is ours
    assert ("The runs are: size " in page(runs, {}, results)) is not ours


def test_the_counts_are_over_the_cells_that_were_run(runs, outcome):
    other = [outcome(set="cifar-10", recipe=r, train_loss=f) for r, f in (("adam", 4.0), ("golden-30", 1.0))]
    text = page([*runs, *other], {}, "r")
    assert "reached at equal cost in 1 of 2 cells run" in text
    assert "at equal epochs" not in text.split("## In short")[1].split("##")[0]
    printed = outcome(recipe="golden-30", accounting="printed", train_loss=1e-9)
    assert "at equal epochs in 1 of 1 cell run" in page([*runs, *other, printed], {}, "r")
    assert "better of Adam and Adam with decay by the median over seeds in 1 of 1 cell run" in text
    assert "below Adam with decay in 0 of 1 cell run; the target is 8" in text


def test_one_seed_is_called_one_seed(runs):
    assert "2 seeds." in page(runs, {}, "r")
    assert "One seed: what follows is one run of each recipe" in page(runs[1:2], {}, "r")


def test_without_auto_nothing_is_claimed_of_it(outcome):
    text = page([outcome()], {}, "r")
    assert "`auto` has not been compared" in text
    assert "within 1.05" not in text


def test_what_cannot_be_reported(runs, outcome):
    with pytest.raises(DataError, match="no results"):
        page([], {}, "r")
    with pytest.raises(DataError, match="several sizes"):
        page([*runs, outcome(size="tiny")], {}, "r")
