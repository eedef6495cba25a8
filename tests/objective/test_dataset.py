from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import DataLoader, Dataset, RandomSampler, SequentialSampler, SubsetRandomSampler, TensorDataset

from homestretch import LBFGS
from homestretch.errors import HomestretchWarning, NondeterministicLossError
from homestretch.objective import Function, Objective


def network(outputs: int = 2) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, outputs)).double()


def samples(count: int = 103, outputs: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(count, 3, dtype=torch.float64), torch.randn(count, outputs, dtype=torch.float64)


class Pairs(Dataset):
    def __init__(self, tensors):
        self.tensors = tensors

    def __len__(self):
        return len(self.tensors[0])

    def __getitem__(self, index):
        return tuple(t[index] for t in self.tensors)


def as_data(kind, tensors):
    return {
        "tensors": tensors,
        "tensor dataset": TensorDataset(*tensors),
        "dataset": Pairs(tensors),
        "shuffling loader that drops": DataLoader(TensorDataset(*tensors), batch_size=16, shuffle=True, drop_last=True),
    }[kind]


@pytest.mark.parametrize("kind", ["tensors", "tensor dataset", "dataset", "shuffling loader that drops"])
@pytest.mark.parametrize("micro_batch", [1, 10, 103, 500])
def test_equals_the_plain_full_batch_loss_and_gradient(kind, micro_batch):
    model, tensors = network(), samples()
    objective = Objective(model, mse_loss, as_data(kind, tensors), micro_batch=micro_batch)
    found = objective()
    gradient = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    expected = mse_loss(model(tensors[0]), tensors[1])
    expected.backward()
    assert abs(float(found) - float(expected.detach())) < 1e-12
    assert abs(objective.loss() - float(expected.detach())) < 1e-12
    for g, p in zip(gradient, model.parameters(), strict=True):
        torch.testing.assert_close(g, p.grad, rtol=0, atol=1e-12)


def test_class_labels_are_weighted_exactly_too():
    model, (inputs, _) = network(4), samples()
    labels = torch.randint(0, 4, (103,))
    objective = Objective(model, cross_entropy, (inputs, labels), micro_batch=25)
    assert objective.loss() == pytest.approx(float(cross_entropy(model(inputs), labels).detach()), abs=1e-12)


def test_cost_is_counted_at_the_fixed_prices():
    objective = Objective(network(), mse_loss, samples(), batch_size=10)
    objective()
    objective.loss()
    assert objective.meter.gradient_equivalents == pytest.approx(1 + 1 / 3)
    for closure in objective.minibatches(1):
        closure()
    assert objective.meter.gradient_equivalents == pytest.approx(2 + 1 / 3)
    objective.subset(51)()
    assert objective.meter.gradient_equivalents == pytest.approx(2 + 1 / 3 + 51 / 103)


def test_mini_batches_cover_the_data_once_in_an_order_of_seed_and_epoch_alone():
    def order(seed, epoch):
        objective = Objective(network(), mse_loss, samples(), batch_size=10, seed=seed)
        return torch.cat([closure._batch[0][:, 0] for closure in objective.minibatches(epoch)])

    torch.manual_seed(0)
    first = order(0, 1)
    torch.manual_seed(0)
    torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(first, order(0, 1))
    torch.manual_seed(0)
    other_epoch = order(0, 2)
    torch.manual_seed(0)
    other_seed = order(1, 1)
    assert torch.equal(first.sort().values, other_epoch.sort().values)
    assert not torch.equal(first, other_epoch)
    assert not torch.equal(first, other_seed)


def test_mini_batch_gradient_is_that_of_its_batch():
    model, tensors = network(), samples(20)
    objective = Objective(model, mse_loss, tensors, batch_size=8)
    closure = next(iter(objective.minibatches(1)))
    closure()
    gradient = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    mse_loss(model(closure._batch[0]), closure._batch[1]).backward()
    assert all(torch.equal(g, p.grad) for g, p in zip(gradient, model.parameters(), strict=True))
    assert closure.fraction == 8 / 20


def test_subsets_are_nested():
    objective = Objective(network(), mse_loss, samples())
    small, large = (set(objective.subset(n).batches.tensors[0][:, 0].tolist()) for n in (10, 40))
    assert len(small) == 10
    assert small < large


def test_is_a_function_in_the_sense_of_the_contract():
    assert isinstance(Objective(network(), mse_loss, samples()), Function)


def test_dropout_is_off_in_full_passes_and_flags_are_restored():
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 2)).double()
    model.train()
    objective = Objective(model, mse_loss, samples())
    objective.check_deterministic()
    assert objective.loss() == float(objective())
    assert all(m.training for m in model.modules())


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_batch_norm_gives_a_fixed_function_and_keeps_its_statistics(mode):
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)).double()
    objective = Objective(model, mse_loss, samples(), micro_batch=20, mode=mode)
    before = model[1].running_mean.clone()
    assert objective.loss() == objective.loss()
    assert torch.equal(before, model[1].running_mean)
    for closure in objective.minibatches(1):
        closure()
    assert not torch.equal(before, model[1].running_mean)


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2).double()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return self.linear(x) + torch.randn(1, dtype=torch.float64)


def test_a_random_loss_is_refused_and_the_layer_at_fault_named():
    with pytest.raises(NondeterministicLossError, match=r"the model itself \(Noisy\)"):
        Objective(Noisy(), mse_loss, samples()).check_deterministic()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": (torch.zeros(3, 3), torch.zeros(2, 2))}, "same length"),
        ({"data": (torch.zeros(0, 3), torch.zeros(0, 2))}, "at least one sample"),
        ({"data": 3}, "pair of tensors"),
        ({"batch_size": 0}, "batch_size"),
        ({"micro_batch": -1}, "micro_batch"),
        ({"mode": "test"}, "mode"),
    ],
)
def test_bad_input_is_refused_at_the_door(arguments, message):
    given = {"data": samples(), **arguments}
    with pytest.raises((ValueError, TypeError), match=message):
        Objective(network(), mse_loss, **given)


def test_a_loss_that_is_no_mean_is_refused():
    objective = Objective(network(), lambda a, b: (a - b) ** 2, samples())
    with pytest.raises(ValueError, match="reduction='mean'"):
        objective()


def test_a_frozen_model_is_refused():
    model = network().requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameters"):
        Objective(model, mse_loss, samples())


@pytest.mark.parametrize(
    "choice",
    [
        {"sampler": SubsetRandomSampler(range(5))},
        {"sampler": RandomSampler(range(9), replacement=True)},
        {"sampler": RandomSampler(range(9), num_samples=4)},
        {"sampler": SequentialSampler(range(5))},
        {"sampler": RandomSampler(range(5))},
        {"batch_sampler": [[0, 1], [2]]},
    ],
)
def test_a_loader_that_chooses_its_samples_is_refused(choice):
    """Its validation samples would silently be fitted."""
    loader = DataLoader(TensorDataset(*samples(9)), **choice)
    with pytest.raises(ValueError, match=r"the DataLoader chooses its samples by .*Subset\(dataset"):
        Objective(network(), mse_loss, loader)


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_a_loss_module_that_is_no_mean_is_refused(reduction):
    with pytest.raises(ValueError, match=f"got MSELoss with reduction='{reduction}'"):
        Objective(network(), nn.MSELoss(reduction=reduction), samples(9))


@pytest.mark.parametrize("kind", [nn.CrossEntropyLoss, nn.NLLLoss])
def test_class_weights_are_warned_of(kind):
    with pytest.warns(HomestretchWarning, match="depends on micro_batch"):
        Objective(network(), kind(weight=torch.ones(2)), samples(9))


def test_a_loader_without_batches_is_refused():
    with pytest.raises(ValueError, match="makes no batches"):
        Objective(network(), mse_loss, DataLoader(TensorDataset(*samples(9)), batch_size=None))


@pytest.mark.parametrize("micro_batch", [4, 9])
def test_a_sum_over_entries_that_is_a_mean_over_samples_is_taken(micro_batch):
    model, (inputs, targets) = network(), samples(9)
    targets = targets.softmax(1)
    loss = nn.KLDivLoss(reduction="batchmean")
    exact = loss(model(inputs), targets).item()
    assert Objective(model, loss, (inputs, targets), micro_batch=micro_batch).loss() == pytest.approx(exact, rel=1e-6)


class Forces(nn.Module):
    """A model that differentiates an energy by itself."""

    def __init__(self):
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()

    def forward(self, x):
        x = x.detach().requires_grad_()
        return -torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)[0]


def test_a_model_that_differentiates_in_its_forward_pass():
    model = Forces()
    x, y = samples(30, 3)
    objective = Objective(model, mse_loss, (x, y), micro_batch=13)
    objective.check_deterministic()
    assert objective.loss() == pytest.approx(float(mse_loss(model(x), y).detach()), rel=1e-12)
    before = objective.loss()
    LBFGS(objective.parameters).minimize(objective, 5)
    assert objective.loss() < before


@pytest.mark.parametrize(
    ("data", "given"),
    [
        ((torch.ones(3, 3).numpy(), torch.ones(3, 2).numpy()), "tuple of ndarray: torch.as_tensor makes tensors of arrays"),
        ([[1.0], torch.ones(3)], "list of list, Tensor:"),
        ((), "tuple of nothing:"),
        ("digits", "got str:"),
    ],
)
def test_data_of_another_kind_are_named(data, given):
    with pytest.raises(TypeError, match=given):
        Objective(network(), mse_loss, data)
