from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from homestretch import Objective
from homestretch.objective.batch_loss import one_number, pair


@pytest.mark.parametrize("batch", [(torch.ones(2, 3),), (torch.ones(2, 3),) * 3])
def test_a_batch_that_is_no_pair_is_named_with_its_length(batch):
    with pytest.raises(TypeError, match=rf"got tuple of {len(batch)}: give Objective a `compute\(model, batch\)`"):
        pair(nn.Linear(3, 1), batch)


@pytest.mark.parametrize(
    ("make", "given"),
    [
        (lambda loss: loss.item(), "float"),
        (lambda loss: (loss, 1), "tuple of 2"),
        (lambda loss: {"loss": loss}, "dict of 1"),
        (lambda loss: None, "NoneType"),
    ],
)
@pytest.mark.parametrize("use", ["__call__", "loss", "hessian_product", "gauss_newton_product"])
def test_a_loss_that_is_no_tensor_is_named(make, given, use):
    model = nn.Linear(3, 1)
    objective = Objective(model, lambda a, b: make(mse_loss(a, b).detach() + a.sum()), (torch.ones(4, 3), torch.ones(4, 1)))
    arguments = [[torch.ones_like(p) for p in model.parameters()]] if use.endswith("product") else []
    with pytest.raises(TypeError, match=f"loss must return the mean .*, got {given}: return the tensor"):
        getattr(objective, use)(*arguments)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_one_number_of_any_shape_is_taken(shape):
    assert one_number(torch.ones(shape)).shape == ()
