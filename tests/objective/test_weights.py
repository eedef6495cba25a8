from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from torch import nn

from homestretch import LeastSquares
from homestretch.objective.weights import weights_by_name


def fit(**options):
    x = torch.linspace(0.0, 1.0, 9, dtype=torch.float64).unsqueeze(1)
    net = nn.Linear(1, 1).double()
    return LeastSquares(lambda m, p: {"data": m(p) - p, "border": m(p[:1])}, net, x, **options)


@pytest.mark.parametrize("weight", [np.float64(4.0), np.float32(4.0), np.int64(4), torch.tensor(4.0), torch.tensor([4.0])])
def test_what_measures_weights_may_hand_them_over_and_the_state_can_be_read_again(weight):
    f, again = fit(weights={"border": weight}), fit()
    assert weights_by_name({"border": weight}) == {"border": 4.0}
    f.reweight({"data": weight})
    kept = io.BytesIO()
    torch.save(f.state_dict(), kept)
    kept.seek(0)
    again.load_state_dict(torch.load(kept, weights_only=True))
    assert again._weights == {"border": 4.0, "data": 4.0}


@pytest.mark.parametrize(
    ("weights", "error", "match"),
    [
        (2.0, TypeError, "must map the terms' names.*got float"),
        ([2.0], TypeError, "must map.*got list"),
        ({"border": "2"}, TypeError, "weight of 'border' must be a number, got str"),
        ({"border": torch.ones(2)}, TypeError, r"weight of 'border' must be a number, got Tensor of shape \(2,\)"),
        ({"border": nn.Parameter(torch.ones(()))}, TypeError, "nothing would train.*reweight"),
        ({"border": 0.0}, ValueError, "weight of 'border' must be positive.*left out of what the residual function returns"),
        ({"border": float("nan")}, ValueError, "positive"),
    ],
)
def test_wrong_weights_are_refused_at_the_door(weights, error, match):
    with pytest.raises(error, match=match):
        fit(weights=weights)
    with pytest.raises(error, match=match):
        fit().reweight(weights)


def test_a_weight_of_an_unknown_term_is_refused_before_it_is_kept():
    f = fit()
    f()
    with pytest.raises(ValueError, match="does not return: edge; it returns data, border"):
        f.reweight({"edge": 2.0})
    assert f.version == 0
    f.loss()  # and the objective is as it was
