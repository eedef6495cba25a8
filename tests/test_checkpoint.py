from __future__ import annotations

import pickle
import random
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from homestretch import checkpoint
from homestretch.errors import CheckpointError


def test_round_trip_and_the_previous_one_is_kept(tmp_path):
    checkpoint.save(tmp_path, {"a": torch.arange(3), "b": [1.5, "x", None]})
    checkpoint.save(tmp_path, {"a": torch.arange(4), "b": []})
    assert torch.equal(checkpoint.load(tmp_path)["a"], torch.arange(4))
    (tmp_path / checkpoint.NAME).unlink()
    assert torch.equal(checkpoint.load(tmp_path)["a"], torch.arange(3))


def test_random_state_goes_on_where_it_was(tmp_path):
    def draw():
        return random.random(), float(np.random.rand()), float(torch.rand(1))  # noqa: NPY002

    checkpoint.save(tmp_path, {})
    expected = draw()
    draw()
    checkpoint.set_random_state(checkpoint.load(tmp_path)["random"])
    assert draw() == expected


def test_none_there(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        checkpoint.load(tmp_path)


class Hostile:
    def __reduce__(self):
        return (print, ("code was run",))


@pytest.mark.parametrize("kind", ["empty", "text", "cut", "pickle", "foreign", "newer"])
def test_damaged_and_foreign_files_are_refused_by_name_and_run_no_code(kind, tmp_path, capsys):
    place = checkpoint.save(tmp_path, {"a": torch.arange(1000)})
    if kind == "empty":
        place.write_bytes(b"")
    elif kind == "text":
        place.write_text("not a checkpoint")
    elif kind == "cut":
        place.write_bytes(place.read_bytes()[:-500])
    elif kind == "pickle":
        place.write_bytes(pickle.dumps(Hostile()))
    elif kind == "foreign":
        torch.save({"model": torch.zeros(1)}, place)
    else:
        torch.save({"format": "homestretch-checkpoint", "version": 99}, place)
    with pytest.raises(CheckpointError, match=checkpoint.NAME):
        checkpoint.load(tmp_path)
    assert "code was run" not in capsys.readouterr().out


@pytest.mark.parametrize(("foreign", "named"), [(len, "len"), (lambda: 1, "<lambda>"), (Hostile(), "print")])
def test_what_could_not_be_read_again_is_refused_when_it_is_written(foreign, named, tmp_path):
    checkpoint.save(tmp_path, {"a": 1})
    with pytest.raises(CheckpointError, match=rf"could not be read again.*{named}(?s:.*)add_safe_globals"):
        checkpoint.save(tmp_path, {"a": 2, "deep": [{"b": foreign}]})
    assert checkpoint.load(tmp_path)["a"] == 1


def test_a_failed_write_leaves_the_old_one(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, {"a": 1})

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(tmp_path, {"a": 2})
    monkeypatch.undo()
    assert checkpoint.load(tmp_path)["a"] == 1


def test_numbers_of_numpy_are_read_as_pythons(tmp_path):
    layer = nn.BatchNorm1d(2).state_dict()
    content = {"lr": np.float64(0.1), "deep": [{"n": np.int64(3)}, (np.bool_(True), "x")], "steps": Counter([np.int64(2)])}
    checkpoint.save(tmp_path, {**content, "model": layer})
    read = checkpoint.load(tmp_path)
    assert read["lr"] == 0.1
    assert read["deep"] == [{"n": 3}, (True, "x")]
    assert read["steps"] == Counter([2])
    assert [type(n) for n in (read["lr"], read["deep"][0]["n"], read["deep"][1][0])] == [float, int, bool]
    assert isinstance(content["lr"], np.float64)  # what was given is left alone
    assert read["model"]._metadata == layer._metadata
