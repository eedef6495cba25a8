"""What the numbers of one problem say about the paper's claims and about ours, as sentences made by rule.

Every comparison is of training losses at the same seeds, at equal counted cost unless said, and of medians over the seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import cast

from homestretch.history import EpochRecord, History
from homestretch.paper.table.cells import SIZES, SizeName
from homestretch.paper.table.outcome import Outcome
from homestretch.paper.table.printed import PRINTED
from homestretch.paper.table.traces import Key
from homestretch.swap import GradientNormPeak, LiteralPeak, Observation, SwapRule

__all__ = ["ALLOWED", "Verdict", "peak_sentence", "verdict"]

ALLOWED = 1.05
"""By which factor ``auto`` may end above the better of Adam with a constant and with a decayed rate."""
FAR = 2.0
"""How many times Adam's training loss counts as far behind."""
_OURS = ("auto", "lbfgs-adam-30", "cg-adam-30", "lbfgs-peak", "cg-peak")
_NAMES = {
    "golden-30": "Adam to 30 %, then golden-section conjugate gradients (the printed protocol)",
    "golden-rule": "the same by the literal rule",
    "lbfgs": "torch's L-BFGS after Adam's first 30 %",
    "adam-cosine": "Adam with cosine decay",
    "adamw-cosine": "AdamW with cosine decay",
    "cg-alone-fr": "conjugate gradients alone (Fletcher-Reeves)",
    "cg-alone-pr": "conjugate gradients alone (Polak-Ribiere)",
    "lbfgs-adam-30": "our L-BFGS from Adam's moments at 30 %",
    "cg-adam-30": "our conjugate gradients from Adam's moments at 30 %",
    "lbfgs-peak": "our L-BFGS by the guarded rule",
    "cg-peak": "our conjugate gradients by the guarded rule",
    "auto": "`auto`",
}


@dataclass(frozen=True)
class Verdict:
    """What was found on one problem.

    Attributes:
        sentences: In order.
        reached: Whether the printed gain's lower end was reached, by the accounting (``"cost"``, ``"printed"``), where that was
            run.
        allowed: Whether ``auto`` is within its allowance by the median over seeds; ``None`` if it was not run, or nothing to
            compare with.
        always_allowed: Whether it is so at every seed; likewise.
        beats_cosine: Whether ``auto`` is below Adam with decay; likewise.
    """

    sentences: tuple[str, ...]
    reached: Mapping[str, bool]
    allowed: bool | None
    always_allowed: bool | None
    beats_cosine: bool | None


def verdict(data: str, model: str, outcomes: Sequence[Outcome]) -> Verdict:
    """Judge the runs of one problem.

    Args:
        data: The set.
        model: The model.
        outcomes: Runs of any problems; those of this one are used.
    """
    here = [o for o in outcomes if (o.set, o.model) == (data, model)]
    losses = {recipe: _losses(here, recipe, "cost") for recipe in ("adam", "adam-cosine", *_NAMES)}
    golden, reached = _printed_claim(data, model, here, losses)
    sentences = [*golden, *_alone(losses), *_others(losses)]
    return Verdict((*sentences, *_auto(losses, here)), reached, **_flags(losses))


def peak_sentence(histories: Mapping[Key, History], data: str, model: str) -> str:
    """Whether Adam's gradient norm has a peak, seen by the guarded rule, and where the literal rule would have swapped."""
    found = [history for (d, m, _, recipe), history in sorted(histories.items()) if (d, m, recipe) == (data, model, "adam")]
    if not found:
        return ""
    texts = []
    for history in found:
        epochs = history.of(EpochRecord)
        guarded, literal = _first_swap(GradientNormPeak(fallback_share=None), epochs), _first_swap(LiteralPeak(), epochs)
        top = max(epochs, key=lambda r: r.gradient_norm)
        where = f"largest in epoch {top.epoch} of {len(epochs)} at loss {top.loss:.2e}, {epochs[0].gradient_norm:.2g} at first"
        end = f"{top.gradient_norm:.2g} there and {epochs[-1].gradient_norm:.2g} at the end"
        seen = f"the guarded rule sees a peak by epoch {guarded}" if guarded else "the guarded rule sees no peak"
        rule = f"the literal rule swaps after epoch {literal}" if literal else "the literal rule never swaps"
        texts.append(f"{where}, {end}; {seen}, {rule}")
    return "Gradient norm in Adam's run (mean of mini-batches), seed by seed: " + ". ".join(texts) + "."


def _first_swap(rule: SwapRule, epochs: Sequence[EpochRecord]) -> int | None:
    for record in epochs:
        seen = Observation(
            epoch=record.epoch, loss=record.loss, gradient_norm=record.gradient_norm, cost=record.gradient_equivalents
        )
        if rule.observe(seen).swap:
            return record.epoch
    return None


Losses = dict[int, float]
"""Training loss by seed."""


def _losses(outcomes: Sequence[Outcome], recipe: str, accounting: str) -> Losses:
    return {o.seed: o.train_loss for o in outcomes if (o.recipe, o.accounting) == (recipe, accounting)}


def _ratio(of: Losses, to: Losses) -> float | None:
    """Median over common seeds of one loss over another."""
    ratios = [of[seed] / to[seed] for seed in of if seed in to and to[seed] > 0.0]
    return median(ratios) if ratios else None


def _printed_claim(
    data: str, model: str, outcomes: Sequence[Outcome], losses: Mapping[str, Losses]
) -> tuple[list[str], dict[str, bool]]:
    printed, adam = PRINTED.get((data, model)), losses["adam"]
    sentences: list[str] = []
    reached: dict[str, bool] = {}
    for accounting, words in (("cost", "At equal cost"), ("printed", "At equal epochs, an iteration counted as one,")):
        gain = _ratio(adam, _losses(outcomes, "golden-30", accounting))
        if gain is None:
            continue
        text = f"{words} {_NAMES['golden-30']} ends at {1.0 / gain:.3g} x the training loss of Adam alone, a gain of {gain:.3g}"
        if printed is None:
            sentences.append(f"{text}.")
            continue
        low = printed.gain.low
        holds = gain >= low if low > 1.0 else gain >= 1.0
        reached[accounting] = holds
        sentences.append(f"{text}; the printed gain is {low:.3g} to {printed.gain.high:.3g}, which {_reached(holds, gain)}.")
    rule = _ratio(losses["golden-rule"], adam)
    if rule is not None:
        sentences.append(f"By the literal rule instead of at 30 % it ends at {rule:.3g} x the training loss of Adam alone.")
    return sentences, reached


def _alone(losses: Mapping[str, Losses]) -> list[str]:
    found = {name: _ratio(losses[name], losses["adam"]) for name in ("cg-alone-fr", "cg-alone-pr")}
    known = [f"{_NAMES[name]} {ratio:.3g}" for name, ratio in found.items() if ratio is not None]
    if not known:
        return []
    far = all(ratio > FAR for ratio in found.values() if ratio is not None)
    return [
        f"Without Adam's phase, in multiples of Adam's training loss: {', '.join(known)}. The paper's finding that this is far "
        f"behind (we ask for {FAR:g} x) {_holds(far)} here."
    ]


def _others(losses: Mapping[str, Losses]) -> list[str]:
    found = {
        name: _ratio(losses[name], losses["adam"])
        for name in ("adam-cosine", "adamw-cosine", "lbfgs", *(recipe for recipe in _OURS if recipe != "auto"))
    }
    known = [f"{_NAMES[name]} {ratio:.3g}" for name, ratio in found.items() if ratio is not None]
    return [f"In multiples of Adam's training loss: {', '.join(known)}."] if known else []


def _beside_adam(losses: Mapping[str, Losses]) -> Losses:
    """``auto``'s loss over that of the better of Adam and Adam with decay, by seed."""
    auto, adam, cosine = losses["auto"], losses["adam"], losses["adam-cosine"]
    return {seed: auto[seed] / min(adam[seed], cosine[seed]) for seed in auto if seed in adam and seed in cosine}


def _flags(losses: Mapping[str, Losses]) -> dict[str, bool | None]:
    ratios = _beside_adam(losses)
    if not ratios:
        return {"allowed": None, "always_allowed": None, "beats_cosine": None}
    return {
        "allowed": median(ratios.values()) <= ALLOWED,
        "always_allowed": max(ratios.values()) <= ALLOWED,
        "beats_cosine": (_ratio(losses["auto"], losses["adam-cosine"]) or 0.0) < 1.0,
    }


def _auto(losses: Mapping[str, Losses], here: Sequence[Outcome]) -> list[str]:
    ratios, beside_cosine = _beside_adam(losses), _ratio(losses["auto"], losses["adam-cosine"])
    if not ratios or beside_cosine is None:
        return []
    worst = max(ratios, key=lambda seed: ratios[seed])
    text = f"`auto` ends at {median(ratios.values()):.3g} x the training loss of the better of Adam and Adam with cosine decay"
    within = "within" if median(ratios.values()) <= ALLOWED else "above"
    text += f" (worst seed {ratios[worst]:.3g} x), {within} the allowance of {ALLOWED:g} x"
    beats = "beats" if beside_cosine < 1.0 else "does not beat"
    sentences = [f"{text}, and at {beside_cosine:.3g} x that of Adam with decay, which it {beats} here."]
    if ratios[worst] > ALLOWED:
        sentences += _missed(here, worst)
    return sentences


def _missed(here: Sequence[Outcome], seed: int) -> list[str]:
    """How many training samples the runs of a seed miss: where they are few, a ratio of losses hangs on single ones."""
    missed = {}
    for o in here:
        rows = SIZES[cast(SizeName, o.size)].rows.get(o.set)
        if (o.seed, o.accounting) == (seed, "cost") and o.recipe in ("adam", "adam-cosine", "auto") and rows:
            missed[o.recipe] = (round((1.0 - o.train_accuracy) * rows), rows)
    if len(missed) < 3:
        return []
    counts = ", ".join(f"{_NAMES.get(name, 'Adam')} {count}" for name, (count, _) in missed.items())
    return [f"Of the {missed['auto'][1]} training samples of seed {seed} are missed: {counts}."]


def _reached(reached: bool, gain: float) -> str:
    if reached:
        return "is reached here"
    return (
        "is not reached here, though the direction holds"
        if gain > 1.0
        else "is not reached here: it ends above Adam, not below"
    )


def _holds(holds: bool) -> str:
    return "holds" if holds else "does not hold"
