"""A surrogate for an expensive simulation, as a scikit-learn estimator: a pipeline with skorch that trains in two phases.

Run it: `python examples/surrogate_skorch.py` (under a minute), or with `--quick` for a few seconds.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import make_friedman1
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from homestretch import AtEpoch, NoResort, SelfScaledBroyden
from homestretch.integrations.skorch import TwoPhaseRegressor


class Surrogate(nn.Module):
    """Two hidden layers for the five inputs of the Friedman function (Friedman, 1991)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(5, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 1)).double()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.net(inputs)


def main(quick: bool = False) -> tuple[float, float]:
    torch.manual_seed(0)
    inputs, outputs = make_friedman1(n_samples=300 if quick else 2000, n_features=5, random_state=0)
    outputs, rest = outputs.reshape(-1, 1), slice(len(inputs) * 3 // 4, None)
    inputs_train, outputs_train = inputs[: rest.start], outputs[: rest.start]

    def fit(epochs: int) -> float:
        """Relative root mean square error on new points after so many epochs."""
        torch.manual_seed(0)
        # net = NeuralNetRegressor(Surrogate, optimizer=torch.optim.Adam, lr=3e-3, max_epochs=epochs, batch_size=128)
        net = TwoPhaseRegressor(
            Surrogate, lr=3e-3, max_epochs=epochs, batch_size=128, train_split=None, verbose=0,
            optimizer__second=SelfScaledBroyden, optimizer__rule=AtEpoch(swap), optimizer__resort=NoResort(),
        )  # fmt: skip
        model = TransformedTargetRegressor(make_pipeline(StandardScaler(), net), transformer=StandardScaler())
        model.fit(inputs_train, outputs_train)
        return float(np.sqrt(np.mean((model.predict(inputs[rest]) - outputs[rest]) ** 2)) / outputs[rest].std())

    swap = 10 if quick else 40
    before, after = fit(swap), fit(40 if quick else 600)
    print(f"relative error on new points after Adam: {before:.2e}, after homestretch: {after:.2e}")
    return before, after


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
