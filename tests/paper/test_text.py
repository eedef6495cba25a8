from __future__ import annotations

import sys

import pytest
import torch

from homestretch.errors import DataError
from homestretch.paper.text import CONTEXT, load_text


def decoded(data, row):
    return "".join(data.alphabet[i] for i in row.tolist())


def test_targets_are_the_next_characters_of_the_real_text():
    from pydoc_data.topics import topics

    data = load_text(20, 10)
    assert data.train_inputs.shape == data.train_targets.shape == (20, CONTEXT)
    assert torch.equal(data.train_inputs[:, 1:], data.train_targets[:, :-1])
    text = "\n".join(topics[name] for name in sorted(topics))
    for inputs, targets in zip(data.train_inputs, data.train_targets, strict=True):
        assert decoded(data, inputs) + decoded(data, targets)[-1] in text


def test_the_parts_do_not_share_samples_and_leave_nothing_out():
    data = load_text()
    train, validation = ({decoded(data, row) for row in part} for part in (data.train_inputs, data.validation_inputs))
    total = len(data.train_inputs) + len(data.validation_inputs)
    assert len(data.validation_inputs) == pytest.approx(total / 10, rel=0.02)
    assert len(train & validation) < 0.02 * len(validation)  # the text repeats itself here and there


def test_a_limit_takes_the_first_samples():
    assert torch.equal(load_text(5).train_inputs, load_text(9).train_inputs[:5])


def test_a_python_without_its_help_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(DataError, match="pydoc_data"):
        load_text()
