from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from homestretch import Objective
from homestretch.errors import HomestretchWarning
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


class Weighted(nn.Module):
    """A loss with a learned weight, and a network that it is taken through."""

    def __init__(self) -> None:
        super().__init__()
        self.log_weight = nn.Parameter(torch.zeros(()))
        self.features = nn.Linear(1, 1)

    def forward(self, outputs, targets):
        return torch.exp(-self.log_weight) * mse_loss(self.features(outputs), targets) + self.log_weight


def test_what_a_loss_could_learn_and_will_not_is_told():
    data, model = (torch.ones(4, 3), torch.ones(4, 1)), nn.Linear(3, 1)
    with pytest.warns(
        HomestretchWarning, match=r"Weighted has trainable .*\(log_weight, features.weight, features.bias\).*submodule"
    ):
        Objective(model, Weighted(), data)
    holding = nn.Sequential(nn.Linear(3, 1))
    holding.loss = Weighted()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Objective(model, Weighted().requires_grad_(False), data)
        Objective(holding, holding.loss, data, compute=lambda model, batch: (model[0](batch[0]), batch[1]))


def test_a_complex_loss_is_refused_with_a_real_one():
    with pytest.raises(TypeError, match=r"real number, got torch.complex64.*abs\(\)\.square"):
        one_number(torch.ones((), dtype=torch.complex64))


@pytest.mark.parametrize("use", [lambda f: f(), lambda f: f.loss(), lambda f: next(f.minibatches(1))()])
def test_dtypes_that_do_not_agree_are_named_with_what_to_do(use):
    """As after a run with promote=True, or with arrays of numpy's."""
    data = (torch.ones(3, 2), torch.ones(3, 1))
    with pytest.raises(RuntimeError) as caught:
        use(Objective(nn.Linear(2, 1).double(), mse_loss, data))
    assert "parameters are torch.float64 and the data torch.float32: cast the data" in caught.value.__notes__[0]
    with pytest.raises(RuntimeError) as caught:
        use(Objective(nn.Linear(3, 1), mse_loss, data))
    assert not hasattr(caught.value, "__notes__")  # another error
