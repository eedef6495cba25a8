r"""A look at the curvature where a swap is proposed: only recorded, or waited for.

A swap rule sees that the gradient norm falls, which proves :math:`g^\top H g > 0` and no more. An inspection measures at the
proposed point: the curvature along the gradient and along the last epoch's step, the ends of the Hessian's spectrum by
Lanczos, and an estimate of the share of negative eigenvalues. All of it over a sample of the data that is as large as the
price allows: one inspection takes at most ``share`` of the budget (of the cost so far where there is no budget), all together
``total_share``. What it takes is counted like any other cost.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from homestretch import arguments, vectors
from homestretch.convexity import Evidence, Verdict, gather
from homestretch.cost import GRADIENT, HESSIAN_PRODUCT
from homestretch.decision import Decision
from homestretch.errors import HomestretchError
from homestretch.memory import Remembering
from homestretch.objective import AnyObjective, LeastSquares
from homestretch.two_phase.journal import write_decision, write_event
from homestretch.two_phase.measure import part_of
from homestretch.vectors import Vector

if TYPE_CHECKING:
    from homestretch.two_phase.optimizer import TwoPhase

MODES = ("record", "wait")
_TOTAL_SHARE = 0.05
_EXTRA_PRODUCTS = 2  # the first product is made in several ways, to choose one that can be trusted


@dataclass
class InspectionMemory:
    """What inspections have cost, and the proposal that waits for them.

    Attributes:
        spent: Gradient-equivalents of all inspections.
        looked: Cost of the run at the last one; below 0 before it.
        proposal: The swap rule's reason while a proposed swap waits; empty if none does.
    """

    spent: float = 0.0
    looked: float = -1.0
    proposal: str = ""


class Inspection(Remembering):
    """Gathers evidence of convexity at proposed swaps, within a bounded price.

    ``"record"`` writes it down and lets the swap go through. ``"wait"`` lets it go through only once the curvature along the
    gradient is positive and the smallest eigenvalue no lower than -0.01 times the largest, twice in a row: until then a
    proposal stands and is inspected again when the run's cost has grown by ``share`` of what the price is measured by.

    The evidence is a sample's. With n of N samples the largest eigenvalue tends to come out too large and the smallest too
    low, more so for small n, so that waiting errs on the side of waiting; and after few products Lanczos is not at the ends
    yet, which the residuals say.

    Args:
        mode: ``"record"`` or ``"wait"``.
        share: Price of one inspection at most, as a share of the budget, or of the cost so far where there is none.
        total_share: Price of all of them at most, likewise; 0.05 by default, or ``share`` where that is more.
        products: Hessian products of one inspection, at least 3; each keeps one vector of the parameters' size until its end.
        least_samples: Smallest sample worth a look (all the data, where they are fewer).
        verdict: The condition that ``"wait"`` waits for.
    """

    name = "inspection"
    Memory = InspectionMemory
    memory: InspectionMemory

    def __init__(
        self,
        mode: str = "record",
        *,
        share: float = 0.01,
        total_share: float | None = None,
        products: int = 8,
        least_samples: int = 64,
        verdict: Verdict | None = None,
    ) -> None:
        super().__init__()
        self.mode = arguments.one_of("mode", mode, MODES)
        self.share = arguments.fraction("share", share)
        given = max(_TOTAL_SHARE, self.share) if total_share is None else arguments.fraction("total_share", total_share)
        self.total_share = arguments.at_least("total_share", given, self.share)
        self.products = int(arguments.at_least("products", products, 3))
        self.least_samples = arguments.count("least_samples", least_samples)
        self.verdict = verdict or Verdict()
        self._before: Vector | None = None

    @property
    def waiting(self) -> bool:
        """Whether a proposed swap waits for the evidence."""
        return bool(self.memory.proposal)

    def check_payable(self, objective: AnyObjective | None, budget: float | None) -> None:
        """Warn, where the budget is known, if it pays for no look and the swap would wait for ever."""
        if self.mode != "wait" or objective is None or budget is None:
            return
        samples, note = self._affordable(objective, self.share * budget)
        if not samples:
            warnings.warn(
                f"evidence: this run will wait for the evidence and never swap, for {note}: use a larger budget, "
                "Inspection('wait', share=...), or evidence='record'",
                stacklevel=4,
            )

    def begin_epoch(self, optimizer: TwoPhase) -> None:
        """Keep the point that the epoch starts from, for the curvature along its step."""
        if optimizer.objective is not None:
            self._before = vectors.clone(vectors.locals_of(optimizer.objective.parameters))

    def end_epoch(self) -> None:
        """Let go of it."""
        self._before = None

    def look(self, optimizer: TwoPhase, proposal: Decision) -> Decision:
        """Inspect a proposed swap and record what was found.

        Returns:
            The decision whether it may happen: always in mode ``"record"``.

        Raises:
            HomestretchError: In mode ``"wait"``, if the loss has no Hessian products that can be used.
        """
        samples, note = self._samples(optimizer)
        if self.mode == "record":
            try:
                if samples:
                    self._gather(optimizer, samples)
            except HomestretchError as error:
                note = str(error)
            if note:
                write_event(optimizer, "evidence", f"the curvature was not looked at: {note}", {})
            return proposal
        verdict = self.verdict.observe(self._gather(optimizer, samples)) if samples else None
        if verdict is not None and verdict.swap:
            self.memory.proposal = ""
            return replace(proposal, reason=f"{proposal.reason}; {verdict.reason}")
        self.memory.proposal = proposal.reason
        reason = f"{note if verdict is None else verdict.reason}; the swap waits ({proposal.reason})"
        decision = Decision(swap=False, reason=reason, rule=self.name)
        write_decision(optimizer, decision)
        return decision

    def reset(self) -> None:
        """Forget everything, the verdict's count too."""
        super().reset()
        self.verdict.reset()

    def state_dict(self) -> dict[str, Any]:
        """What was spent and what waits, with the verdict's count."""
        return {**super().state_dict(), "verdict": self.verdict.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned."""
        super().load_state_dict(state)
        self.verdict.load_state_dict(state["verdict"])

    def _samples(self, optimizer: TwoPhase) -> tuple[int, str]:
        """How many samples can be paid for; 0 with the reason if too few, or if it is too early for another look."""
        objective, memory = optimizer.objective, self.memory
        if objective is None:
            return 0, "there is no objective to take Hessian products of"
        cost = optimizer.spent
        base = cost if optimizer.budget is None else max(optimizer.budget, cost)
        if memory.looked >= 0.0 and cost < memory.looked + self.share * base:
            return 0, f"the next look is due at {memory.looked + self.share * base:.4g} gradient-equivalents"
        return self._affordable(objective, min(self.share * base, self.total_share * base - memory.spent))

    def _affordable(self, objective: AnyObjective, allowed: float) -> tuple[int, str]:
        """How many samples this much pays for; 0 with the reason if too few."""
        price = HESSIAN_PRODUCT * (self.products + _EXTRA_PRODUCTS) + 2.0 * GRADIENT
        affordable = min(objective.samples, int(objective.samples * max(allowed, 0.0) / price))
        # Residuals come all or not at all.
        least = objective.samples if isinstance(objective, LeastSquares) else min(self.least_samples, objective.samples)
        if affordable < least:
            return 0, (
                f"{max(allowed, 0.0):.3g} gradient-equivalents are allowed for it, {price * least / objective.samples:.3g} "
                f"would be needed for {least} samples"
            )
        if affordable < objective.samples and not hasattr(objective, "subset"):
            return 0, f"{type(objective).__name__} has no subsets, and all of its samples cost more than is allowed"
        return affordable, ""

    def _gather(self, optimizer: TwoPhase, samples: int) -> Evidence:
        """The evidence of a sample, recorded."""
        objective = optimizer.objective
        assert objective is not None
        before = optimizer.spent
        part = objective if samples == objective.samples else part_of(objective, samples)
        function = optimizer.second_function(part)
        gradient = _gradient(function, part)
        try:
            step, change = self._last_step(function, part, gradient)
            evidence = gather(
                function.hessian_product,
                gradient,
                last_step=step,
                gradient_change=change,
                products=self.products,
                price=HESSIAN_PRODUCT * samples / objective.samples,
                seed=getattr(objective, "seed", 0),
            )
        finally:
            objective.zero_grad()
            self.memory.looked = optimizer.spent
            self.memory.spent += self.memory.looked - before
        evidence = replace(evidence, cost=self.memory.looked - before)
        values = {**evidence.values(), "samples": float(samples)}
        write_event(optimizer, "evidence", _sentence(evidence, samples, objective.samples), values)
        return evidence

    def _last_step(self, function: Any, part: AnyObjective, gradient: Vector) -> tuple[Vector | None, Vector | None]:
        """The step of the epoch that has just ended, and the change of the gradient over it."""
        if self._before is None:
            return None, None
        parameters = vectors.locals_of(part.parameters)
        now = vectors.clone(parameters)
        try:
            vectors.copy_(parameters, self._before)
            earlier = _gradient(function, part)
        finally:
            vectors.copy_(parameters, now)
        return vectors.subtract(now, self._before), vectors.subtract(gradient, earlier)


def as_inspection(evidence: str | Inspection | None) -> Inspection | None:
    """What ``TwoPhase(evidence=...)`` stands for."""
    if evidence is None or isinstance(evidence, Inspection):
        return evidence
    if evidence not in MODES:
        raise ValueError(f"evidence must be one of {MODES}, an Inspection or None, got {evidence!r}")
    return Inspection(evidence)


def _gradient(function: Any, part: AnyObjective) -> Vector:
    """A copy of the gradient at the current point; zero for parameters that the loss does not use."""
    function()
    return [vectors.local(torch.zeros_like(p) if p.grad is None else p.grad).clone() for p in part.parameters]


def _sentence(evidence: Evidence, samples: int, total: int) -> str:
    step = "" if evidence.step_curvature is None else f", along the last epoch's step {evidence.step_curvature:.3g}"
    return (
        f"on {samples} of {total} samples the curvature along the gradient is {evidence.gradient_curvature:.3g}{step}; "
        f"eigenvalues from {evidence.lambda_min:.3g} (within {evidence.residual_min:.2g}) to {evidence.lambda_max:.3g} (within "
        f"{evidence.residual_max:.2g}); estimate from one random vector: {evidence.negative_fraction:.1%} of them negative; "
        f"{evidence.cost:.3g} gradient-equivalents"
    )
