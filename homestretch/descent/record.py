"""The record of one iteration."""

from __future__ import annotations

import math
from collections.abc import Mapping

from homestretch.directions.base import Proposal, Step
from homestretch.history import IterationRecord
from homestretch.line import Line


class Tally:
    """What the proposals of one iteration add up to.

    Args:
        restart: Why the loop had the direction start afresh, empty if it had not.

    Attributes:
        forwards: Forward evaluations.
        gradients: Forward and backward evaluations.
        restarts: Why the direction started afresh, one sentence each.
    """

    def __init__(self, restart: str = "") -> None:
        self.forwards = 0
        self.gradients = 0
        self.restarts = [restart] if restart else []

    def propose(self, proposal: Proposal) -> None:
        """Take in a proposal."""
        if proposal.restart and proposal.restart not in self.restarts:
            self.restarts.append(proposal.restart)

    def search(self, line: Line) -> None:
        """Take in what a search has evaluated."""
        self.forwards += line.forwards
        self.gradients += line.gradients

    def record(
        self,
        proposal: Proposal,
        step: Step,
        *,
        changed: str,
        numbers: Mapping[str, float],
        iteration: int,
        loss: float,
        gradient_norm: float,
        norm_before: float,
        length: float,
        status: str,
        stop: str,
        gradient_equivalents: float,
        seconds: float,
    ) -> IterationRecord:
        """The record.

        Args:
            proposal: The last proposal.
            step: What came of it.
            changed: What changed before the iteration, empty if nothing did.
            numbers: What the function itself has for the record.
            iteration: Number of the iteration.
            loss: Loss after it.
            gradient_norm: Gradient norm after it.
            norm_before: Gradient norm before it.
            length: Norm of the direction.
            status: How the last search ended.
            stop: Why the loop stopped, empty if it goes on.
            gradient_equivalents: Counted cost so far.
            seconds: Wall time of the iteration.
        """
        extra = {**proposal.extra, **numbers}
        if not math.isnan(step.gain_ratio):
            extra["gain_ratio"] = step.gain_ratio
        scale = length * norm_before
        return IterationRecord(
            iteration=iteration,
            loss=loss,
            gradient_norm=gradient_norm,
            step=step.length,
            first_step=proposal.first_step,
            slope=step.slope_before,
            cosine=-step.slope_before / scale if scale > 0.0 else math.nan,
            beta=extra.pop("beta", math.nan),
            forwards=self.forwards,
            gradients=self.gradients,
            search_status=status,
            restart="; ".join(self.restarts),
            stop=stop,
            gradient_equivalents=gradient_equivalents,
            seconds=seconds,
            changed=changed,
            extra=extra,
        )
