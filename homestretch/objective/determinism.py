"""Which layer makes a loss random: the first whose output differs although its inputs are the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from homestretch.errors import NondeterministicLossError
from homestretch.objective.ranks import Group, named, ranks_where, together

Call = tuple[str, list[Tensor], list[Tensor]]


def refuse_random_data(batch: Any, again: Any, group: Group, device: torch.device) -> None:
    """Compare two readings of one batch.

    Args:
        batch: The batch.
        again: The same one, read once more.
        group: Ranks that each hold a part of the data.
        device: Where they communicate.

    Raises:
        NondeterministicLossError: If they differ on any rank.
    """
    random = ranks_where(_differ(_strided(batch), _strided(again)), group, device)
    if random:
        where = "" if group is None else f" on {named(random)}"
        raise NondeterministicLossError(
            f"data: reading the same samples twice gave different ones{where}. The convex phase needs a fixed function: switch "
            "random augmentation off, or make it depend on the sample's index alone"
        )


def refuse_random(model: nn.Module, evaluate: Callable[[], float], group: Group, device: torch.device) -> None:
    """Evaluate twice, and twice more to find the fault if the losses differ.

    Args:
        model: The model, in the mode of full passes.
        evaluate: Computes the loss of one batch by the model.
        group: Ranks that each hold a part of the data.
        device: Where they communicate.

    Raises:
        NondeterministicLossError: If the two losses differ on any rank, with the layer at fault.
    """
    with together("the check of the loss", group, device):
        first, second = evaluate(), evaluate()
    fixed = first == second or (math.isnan(first) and math.isnan(second))
    random = ranks_where(not fixed, group, device)
    if not random:
        return
    fault = layer_at_fault(model, evaluate)  # on every rank: the forward pass of a sharded model takes all of them
    if fixed:
        raise NondeterministicLossError(
            f"two evaluations of the loss on the same batch differ on {named(random)}: that output names the layer at fault. "
            "The convex phase needs a fixed function"
        )
    raise NondeterministicLossError(
        f"two evaluations of the loss on the same batch gave {first!r} and {second!r}. The convex phase needs a fixed "
        f"function. At fault: {fault}. Put randomness into dropout layers, which full passes switch "
        "off (or give fixed masks by dropout='fixed'), switch random augmentation off, or fix the seed inside the loss."
    )


def layer_at_fault(model: nn.Module, evaluate: Callable[[], Any]) -> str:
    """Evaluate twice and name the place where the two evaluations part.

    Modules finish from the inside out, so the first one that turns equal inputs into different outputs is the innermost.

    Args:
        model: The model.
        evaluate: Computes the loss of one batch by the model.
    """
    try:
        first, second = _calls(model, evaluate), _calls(model, evaluate)
    except TypeError as error:  # without hooks the evaluation has passed: what calls no module refuses them
        return f"not found, as the layers cannot be watched ({error})"
    for (name, inputs, outputs), (other, inputs_again, outputs_again) in zip(first, second, strict=False):
        if name != other:
            return f"the model, which calls other layers the second time ({name}, then {other})"
        if _differ(outputs, outputs_again):
            if _differ(inputs, inputs_again):
                return f"what reaches {name}: its inputs differ already"
            return name
    return "none of the model's layers: the loss function, or what is computed outside of them"


def _calls(model: nn.Module, evaluate: Callable[[], Any]) -> list[Call]:
    """All calls of modules during an evaluation, in the order in which they finish, with copies of what went in and out."""
    calls: list[Call] = []
    names = {module: f"{name or 'the model itself'} ({type(module).__name__})" for name, module in model.named_modules()}

    def note(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        calls.append((names[module], _copies((args, kwargs)), _copies(output)))

    handles = [module.register_forward_hook(note, with_kwargs=True) for module in names]
    try:
        evaluate()
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _copies(tree: Any) -> list[Tensor]:
    return [leaf.detach().clone() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _strided(tree: Any) -> list[Tensor]:
    """The tensors of a batch that can be compared as they are, which sparse ones cannot."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.layout == torch.strided]


def _differ(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) != len(b) or not all(_equal(x, y) for x, y in zip(a, b, strict=True))


def _equal(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return bool(torch.equal(a, b) or (a.is_floating_point() and torch.allclose(a, b, rtol=0.0, atol=0.0, equal_nan=True)))
