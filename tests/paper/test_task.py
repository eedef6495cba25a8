from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy, mse_loss, one_hot

from homestretch.errors import DataError
from homestretch.paper.settings import LARGEST_SEED, Problem
from homestretch.paper.task import accuracy, check, check_data, largest_micro_batch, load_task, top_five

IMAGES = Problem(model="vit-nomlp-wkewq-wvwo", train_limit=40, validation_limit=20, batch=16)
TEXT = Problem(model="gpt-char", data="python-docs", train_limit=6, validation_limit=4, batch=3)


@pytest.mark.parametrize("problem", [IMAGES, TEXT], ids=["images", "text"])
def test_what_is_measured_is_what_it_says(problem):
    task = load_task(problem)
    measured = task.measure()
    with torch.no_grad():
        outputs = task.model(task.validation[0])
    loss = cross_entropy if problem is TEXT else mse_loss
    assert measured["validation_loss"] == pytest.approx(float(loss(outputs, task.validation[1])), rel=1e-5)
    labels = task.validation[1] if problem is TEXT else task.validation[1].argmax(1)
    assert measured["validation_accuracy"] == pytest.approx(float((outputs.argmax(1) == labels).float().mean()), abs=1e-6)
    assert ("validation_top5" in measured) == (problem is TEXT)
    assert float(task.objective()()) == pytest.approx(measured["train_loss"], rel=1e-5)


def test_five_of_the_best():
    outputs = torch.arange(8.0).repeat(3, 1)
    labels = torch.tensor([7, 3, 2])
    assert float(top_five(outputs, labels)) == pytest.approx(2 / 3)
    assert float(top_five(outputs, one_hot(labels, 8))) == pytest.approx(2 / 3)
    assert float(accuracy(outputs, labels)) == pytest.approx(1 / 3)


def test_the_start_is_a_function_of_the_seed():
    a, b, c = (load_task(replace(IMAGES, seed=seed)).model.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not all(torch.equal(a[name], c[name]) for name in a)


def test_the_largest_micro_batch_that_fits():
    tried = []

    def attempt(size):
        tried.append(size)
        if size > 30:
            raise torch.OutOfMemoryError("too large")

    assert largest_micro_batch(attempt, 100) == 25
    assert tried == [100, 50, 25]
    with pytest.raises(torch.OutOfMemoryError):
        largest_micro_batch(lambda size: attempt(99), 3)


def test_as_many_as_the_device_holds():
    task = load_task(replace(IMAGES, micro_batch=0))
    assert task.micro_batch == 40
    assert all(p.grad is None for p in task.model.parameters())


@pytest.fixture
def compiling(monkeypatch):
    """What is done in place of a compilation, and torch's limit of versions by module and name; put back at the end."""
    from torch._dynamo import config

    done = []
    monkeypatch.setattr(torch.compiler, "reset", lambda: done.append("reset"))
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, dynamic: done.append((self, dynamic)))
    name = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"
    with config.patch({name: getattr(config, name)}):
        yield done, config, name


def test_a_compiled_model_keeps_the_names_of_its_state(compiling):
    task = load_task(replace(IMAGES, compile=True))
    assert list(task.model.state_dict()) == list(load_task(IMAGES).model.state_dict())


def test_each_model_is_compiled_after_the_ones_before_are_dropped(compiling):
    first, second = (load_task(replace(IMAGES, compile=True)).model for _ in range(2))
    load_task(IMAGES)
    assert compiling[0] == ["reset", (first, False), "reset", (second, False)]


@pytest.mark.parametrize(("limit", "expected"), [(8, 128), (500, 500)], ids=["torch's own", "a user's"])
def test_all_versions_of_a_model_are_compiled(compiling, limit, expected):
    _, config, name = compiling
    setattr(config, name, limit)
    load_task(replace(IMAGES, compile=True))
    assert getattr(config, name) == expected


@pytest.mark.parametrize("problem", [IMAGES, TEXT], ids=["images", "text"])
def test_data_that_are_there_pass_the_door(problem):
    check_data(problem)


def test_data_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(DataError, match="no files of mnist"):
        check_data(replace(IMAGES, data="mnist", data_dir=tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 0}, "--batch must be at least 1, got 0"),
        ({"micro_batch": -1}, "--micro-batch must be at least 0, got -1"),
        ({"threads": -1}, "--threads must be at least 0, got -1"),
        ({"train_limit": 0}, "--train-limit must be at least 1, got 0: leave it out"),
        ({"validation_limit": -2}, "--validation-limit must be at least 1, got -2: leave it out"),
        ({"seed": -1}, "--seed must be from 0"),
        ({"seed": 2**63}, "--seed must be from 0"),
        ({"device": "abacus"}, "abacus"),
        ({"data": "python-docs"}, "go together"),
        ({"model": "gpt-char"}, "go together"),
    ],
)
def test_what_does_not_go_together(changes, message):
    with pytest.raises(ValueError, match=message):
        check(replace(IMAGES, **changes))


def test_the_largest_seed_is_one():
    problem = replace(IMAGES, seed=LARGEST_SEED)
    objective = load_task(problem).objective()
    assert sum(1 for _ in objective.minibatches(3)) == 3
