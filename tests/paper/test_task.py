from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy, mse_loss, one_hot

from homestretch.paper.settings import Problem
from homestretch.paper.task import accuracy, check, largest_micro_batch, load_task, top_five

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


def test_a_compiled_model_keeps_the_names_of_its_state(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, dynamic: compiled.append((self, dynamic)))
    task = load_task(replace(IMAGES, compile=True))
    assert compiled == [(task.model, False)]
    assert list(task.model.state_dict()) == list(load_task(IMAGES).model.state_dict())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 0}, "batch"),
        ({"micro_batch": -1}, "micro-batch"),
        ({"threads": -1}, "threads"),
        ({"device": "abacus"}, "abacus"),
        ({"data": "python-docs"}, "go together"),
        ({"model": "gpt-char"}, "go together"),
    ],
)
def test_what_does_not_go_together(changes, message):
    with pytest.raises(ValueError, match=message):
        check(replace(IMAGES, **changes))
