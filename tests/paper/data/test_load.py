from __future__ import annotations

import sys

import pytest
import torch

from homestretch.errors import DataError
from homestretch.paper.data import DATA_VARIABLE, SET_NAMES, load_data
from homestretch.paper.models import MODELS, build_model


def test_digits_need_nothing():
    data = load_data("digits")
    assert data.train_inputs.shape == (1437, 1, 32, 32)
    assert data.validation_inputs.shape == (360, 1, 32, 32)
    assert data.classes == 10
    assert abs(float(data.train_inputs.mean())) < 1e-5
    assert abs(float(data.train_inputs.std()) - 1) < 1e-3


def test_limits_take_the_first_rows():
    whole, part = load_data("digits"), load_data("digits", train_limit=100, validation_limit=7)
    assert part.train_targets.tolist() == whole.train_targets[:100].tolist()
    assert part.validation_targets.tolist() == whole.validation_targets[:7].tolist()
    assert len(load_data("digits", train_limit=5000).train_inputs) == 1437


@pytest.mark.parametrize("model", MODELS)
def test_made_cifar_100_goes_through_every_model(tmp_path, make_raw, write_cifar, model):
    write_cifar(tmp_path / "train.bin", "cifar-100", make_raw("cifar-100", 6))
    write_cifar(tmp_path / "test.bin", "cifar-100", make_raw("cifar-100", 2))
    data = load_data("cifar-100", tmp_path)
    outputs = build_model(model, data.image_shape, data.classes, seed=0)(data.train_inputs)
    torch.testing.assert_close(outputs.sum(dim=1), torch.ones(6))
    assert outputs.shape == (6, 100)


def test_the_variable_names_the_folder_and_an_argument_goes_before_it(tmp_path, monkeypatch, make_raw, write_parquet):
    for folder, count in (("variable", 3), ("argument", 4)):
        for split in ("train", "test"):
            write_parquet(tmp_path / folder / f"mnist-{split}.parquet", "mnist", make_raw("mnist", count))
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "variable"))
    assert len(load_data("mnist").train_inputs) == 3
    assert len(load_data("mnist", str(tmp_path / "argument"), validation_limit=2).train_inputs) == 4


def test_without_a_folder_the_hub_is_asked(monkeypatch):
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"homestretch\[hub\]"):
        load_data("cifar-10")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "imagenet"}, "name must be one of digits, mnist, cifar-10, cifar-100; got 'imagenet'"),
        ({"name": "digits", "train_limit": 0}, "train_limit must be at least 1"),
        ({"name": "digits", "validation_limit": -2}, "validation_limit must be at least 1"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_data(**arguments)


def test_names_are_public():
    assert SET_NAMES == ("digits", "mnist", "cifar-10", "cifar-100")


@pytest.mark.parametrize(("name", "shape"), [("mnist", (1, 32, 32)), ("cifar-10", (3, 32, 32))])
def test_the_real_sets(real_data, name, shape):
    try:
        data = load_data(name, real_data, train_limit=600, validation_limit=300)
    except DataError as error:
        if "no files of" not in str(error):
            raise
        pytest.skip(str(error))
    assert data.train_inputs.shape == (600, *shape)
    assert data.validation_inputs.shape == (300, *shape)
    assert set(data.train_targets.tolist()) == set(range(10))
    inner = data.train_inputs[:, :, 2:30, 2:30] if name == "mnist" else data.train_inputs
    torch.testing.assert_close(inner.mean((0, 2, 3)), torch.zeros(shape[0]), rtol=0, atol=1e-4)
    torch.testing.assert_close(inner.std((0, 2, 3)), torch.ones(shape[0]), rtol=0, atol=1e-3)
