from __future__ import annotations

import pytest

from homestretch.history import EpochRecord, History
from homestretch.paper.findings.verdict import peak_sentence, verdict

CELL = ("mnist", "vit-nomlp-wkewq-wvwo")  # printed gain from 2.38


@pytest.fixture
def judged(outcome):
    def judge(**losses):
        runs = []
        for name, values in losses.items():
            recipe, _, accounting = name.replace("_", "-").partition("--")
            for seed, loss in enumerate(values if isinstance(values, tuple) else (values,)):
                made = {"set": CELL[0], "model": CELL[1], "recipe": recipe, "seed": seed, "train_loss": loss}
                runs.append(outcome(accounting=accounting or "cost", **made))
        return verdict(*CELL, [*runs, outcome(set="cifar-10", recipe="golden-30", train_loss=1e-9)])

    return judge


@pytest.mark.parametrize(
    ("golden", "reached", "said"),
    [
        (0.4, True, "is reached here"),
        (0.43, False, "is not reached here, though the direction holds"),
        (2.0, False, "is not reached here: it ends above Adam, not below"),
    ],
)
def test_the_printed_gain(judged, golden, reached, said):
    found = judged(adam=1.0, golden_30=golden)
    assert found.reached == {"cost": reached}
    text = found.sentences[0]
    assert f"{golden:.3g} x the training loss of Adam alone" in text
    assert f"a gain of {1 / golden:.3g}" in text
    assert "2.38 to" in text
    assert said in text


def test_both_accountings_are_told_and_judged_each(judged):
    found = judged(adam=1.0, golden_30=2.0, golden_30__printed=0.1)
    assert found.reached == {"cost": False, "printed": True}
    assert [s.split(",")[0][:15] for s in found.sentences] == ["At equal cost A", "At equal epochs"]
    assert "is reached here" in found.sentences[1]


def test_gains_are_medians_over_common_seeds(judged):
    found = judged(adam=(1.0, 2.0, 4.0), golden_30=(1.0, 1.0, 1.0))
    assert "0.5 x" in found.sentences[0]


@pytest.mark.parametrize(("alone", "holds"), [((3.0, 2.5), True), ((3.0, 1.5), False)])
def test_conjugate_gradients_alone(judged, alone, holds):
    (text,) = judged(adam=1.0, cg_alone_fr=alone[0], cg_alone_pr=alone[1]).sentences
    assert f"{alone[0]:.3g}" in text
    assert ("holds here" in text) is holds


@pytest.mark.parametrize(
    ("auto", "allowed", "always", "beats"),
    [
        ((1.04, 2.0), True, True, True),
        ((1.06, 1.0), True, False, True),
        ((1.2, 1.9), False, False, True),
        ((1.04, 2.09), True, True, True),
        ((0.5, 0.5), True, True, True),
        ((4.0, 4.0), False, False, False),
    ],
)
def test_auto_is_held_to_the_median_and_to_every_seed(judged, auto, allowed, always, beats):
    found = judged(adam=(1.0, 3.0), adam_cosine=(3.0, 2.0), auto=auto)
    assert (found.allowed, found.always_allowed, found.beats_cosine) == (allowed, always, beats)
    text = next(s for s in found.sentences if s.startswith("`auto`"))
    assert ("within the allowance" in text) is allowed
    assert ("does not beat" in text) is not beats
    assert any("samples of seed 0 are missed" in s for s in found.sentences) is not always


def test_missed_samples_are_counted(outcome):
    accuracies = {"adam": 0.999, "adam-cosine": 0.998, "auto": 0.997}
    runs = [
        outcome(set="mnist", model=CELL[1], size="tenth", recipe=name, train_accuracy=accuracy, train_loss=2.0 - accuracy)
        for name, accuracy in accuracies.items()
    ]
    runs[2] = outcome(set="mnist", model=CELL[1], size="tenth", recipe="auto", train_accuracy=0.997, train_loss=9.0)
    text = verdict(*CELL, runs).sentences[-1]
    assert text == "Of the 6000 training samples of seed 0 are missed: Adam 6, Adam with cosine decay 12, `auto` 18."


def test_what_was_not_run_is_not_judged(judged):
    found = judged(adam=1.0)
    assert (found.sentences, found.reached, found.allowed, found.beats_cosine) == ((), {}, None, None)
    assert judged(adam=1.0, auto=0.5).allowed is None


def test_other_recipes_are_put_beside_adam(judged):
    (text,) = judged(adam=2.0, adam_cosine=1.0, lbfgs=3.0, lbfgs_adam_30=0.5).sentences
    for shown in ("cosine decay 0.5", "torch's L-BFGS after Adam's first 30 % 1.5", "Adam's moments at 30 % 0.25"):
        assert shown in text


def record(epoch, norm, loss):
    cost = {"gradient_equivalents": float(epoch), "seconds": 0.0}
    return EpochRecord(epoch=epoch, phase="first", loss=loss, gradient_norm=norm, gradient_norm_kind="running-mean", **cost)


@pytest.mark.parametrize(
    ("norms", "said"),
    [
        ([1.0] * 3 + [2.0, 4.0, 5.0, 5.0, 5.0] + [1.0] * 10, ("sees a peak by epoch", "literal rule swaps after epoch 9")),
        ([5.0, 1.0, 1.0, 0.9, 0.8], ("sees no peak", "literal rule swaps after epoch 2")),
        ([1.0, 2.0, 3.0], ("sees no peak", "literal rule never swaps")),
    ],
)
def test_peaks_are_seen_by_the_rules(norms, said):
    history = History()
    for epoch, norm in enumerate(norms, 1):
        history.append(record(epoch, norm, 1.0 / epoch))
    text = peak_sentence({(*CELL, 0, "adam"): history}, *CELL)
    assert all(part in text for part in said)
    assert peak_sentence({}, *CELL) == ""
