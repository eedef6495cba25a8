from __future__ import annotations

import pytest
import torch
from torch.nn.functional import mse_loss
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from homestretch import Objective
from homestretch.objective.batches import as_batches, steps


def tensors(count=9):
    return torch.arange(3.0 * count).view(count, 3), torch.arange(float(count)).view(count, 1)


def read(data, **sizes):
    return as_batches(data, **{"batch_size": None, "micro_batch": None, **sizes})


def by(sampler, size=4, drop_last=False):
    """A loader that was given a ``batch_sampler``: its own ``sampler`` is then a plain one that is not used."""
    return DataLoader(TensorDataset(*tensors()), batch_sampler=BatchSampler(sampler, size, drop_last))


@pytest.mark.parametrize(
    "sampler",
    [
        WeightedRandomSampler(torch.ones(9), 9),
        SubsetRandomSampler(range(9)),
        RandomSampler(range(9), replacement=True),
        SequentialSampler(range(5)),
        list(range(9)),
    ],
)
def test_the_sampler_inside_a_batch_sampler_is_refused_too(sampler):
    with pytest.raises(ValueError, match=f"the DataLoader chooses its samples by {type(sampler).__name__}"):
        read(by(sampler))


@pytest.mark.parametrize("sampler", [SequentialSampler(range(9)), RandomSampler(range(9))])
def test_a_batch_sampler_that_takes_all_samples_gives_its_size_and_drop_last(sampler):
    batches = read(by(sampler, drop_last=True))
    assert (batches.batch_size, batches.drop_last, steps(batches)) == (4, True, 2)
    assert read(by(sampler), batch_size=5).batch_size == 5


@pytest.mark.parametrize("drop_last", [True, False])
def test_drop_last_holds_for_mini_batches_and_not_for_full_passes(drop_last):
    batches = read(DataLoader(TensorDataset(*tensors()), batch_size=4, drop_last=drop_last))
    sizes = [4, 4] if drop_last else [4, 4, 1]
    assert [count for _, count in batches.shuffled(0, 1)] == sizes
    assert [len(inputs) for (inputs, _), _ in batches.shuffled(0, 1)] == sizes
    assert steps(batches) == len(sizes)
    assert [count for _, count in batches.full()] == [4, 4, 1]
    assert batches.subset(7, 0).drop_last == drop_last


def test_drop_last_that_leaves_no_mini_batch_is_refused():
    loader = DataLoader(TensorDataset(*tensors()), batch_size=10, drop_last=True)
    objective = Objective(torch.nn.Linear(3, 1), mse_loss, loader)
    assert objective.loss() > 0.0
    with pytest.raises(ValueError, match="drop_last=True leaves no mini-batch of 10 of 9 samples"):
        next(objective.minibatches(1))


class Negated(TensorDataset):
    def __getitem__(self, index):
        inputs, targets = super().__getitem__(index)
        return -inputs, targets


def test_what_a_subclass_makes_of_its_tensors_is_taken():
    ((inputs, _), _), *_ = read(Negated(*tensors())).full()
    assert torch.equal(inputs, -tensors()[0])


@pytest.mark.parametrize("data", [tensors(), TensorDataset(*tensors()), Negated(*tensors()), DataLoader(Negated(*tensors()))])
def test_full_passes_leave_the_random_state_alone(data):
    before = torch.get_rng_state()
    assert sum(count for _, count in read(data, micro_batch=4).full()) == 9
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ((torch.tensor(1.0), torch.tensor(2.0)), ValueError, r"counts the samples, got the shapes \(\), \(\): .*shape \(1,\)"),
        (torch.ones(3, 3), TypeError, r"got one Tensor: give \(inputs, targets\)"),
        ([(torch.ones(3), torch.ones(1))] * 3, TypeError, r"got list of tuple: .*DataLoader\(samples, batch_size=...\) reads"),
        ({"x": torch.ones(3, 3)}, TypeError, "got dict: give its tensors as a pair"),
    ],
)
def test_what_to_do_with_other_data_is_said(data, error, message):
    with pytest.raises(error, match=message):
        read(data)


def test_a_list_of_samples_is_read_by_a_loader():
    samples = list(zip(*tensors(), strict=True))
    ((inputs, targets), count), *_ = read(DataLoader(samples, batch_size=9)).full()
    assert count == 9
    assert torch.equal(inputs, tensors()[0])
    assert torch.equal(targets, tensors()[1])


@pytest.mark.parametrize("name", ["batch_size", "micro_batch"])
@pytest.mark.parametrize("size", [0, -1, 2.5])
def test_sizes_are_whole_numbers(name, size):
    with pytest.raises(ValueError, match=f"{name} must be a whole number, 1 or more, got {size}"):
        read(tensors(), **{name: size})


@pytest.mark.parametrize(
    ("shape", "settings", "expected"),
    [
        ((2,), {}, 512),
        ((1000,), {}, 65),
        ((3, 32, 32), {}, 64),
        ((2,), {"micro_batch": 100}, 100),
        ((2,), {"batch_size": 700}, 700),
        ((2,), {"mode": "train"}, 64),
    ],
)
def test_pieces_of_small_samples_are_no_smaller_than_calls_are_worth(shape, settings, expected):
    data = (torch.zeros(4, *shape), torch.zeros(4, 1))
    objective = Objective(torch.nn.Linear(1, 1), mse_loss, data, **{"batch_size": 64, **settings})
    assert objective.batches.micro_batch == expected
