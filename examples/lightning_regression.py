"""Regression in Lightning: the module and its training step stay as they are, the optimizer changes in one line.

Run it: `python examples/lightning_regression.py` (under a minute), or with `--quick` for a few seconds.
"""

from __future__ import annotations

import sys

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from homestretch import AtEpoch, NoResort, SelfScaledBroyden, TwoPhase
from homestretch.integrations.lightning import HomeStretch, PhasedData


class Surrogate(lightning.LightningModule):
    """A small network for the Franke function (Franke, 1982), a standard surface of scattered-data fitting."""

    def __init__(self, swap: int) -> None:
        super().__init__()
        self.swap, self.before = swap, float("nan")
        self.net = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        inputs, targets = batch
        loss = nn.functional.mse_loss(self.net(inputs), targets)
        self.log("loss", loss)
        return loss

    def on_train_epoch_end(self) -> None:
        if self.current_epoch + 1 == self.swap:
            self.before = grid_error(self)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        # return torch.optim.Adam(self.parameters(), lr=3e-3)
        first = torch.optim.Adam(self.parameters(), lr=3e-3)
        return TwoPhase(self.parameters(), first=first, second=SelfScaledBroyden, rule=AtEpoch(self.swap), resort=NoResort())


def franke(points: Tensor) -> Tensor:
    x, y = 9 * points.T
    return (
        0.75 * torch.exp(-((x - 2) ** 2 + (y - 2) ** 2) / 4)
        + 0.75 * torch.exp(-((x + 1) ** 2) / 49 - (y + 1) / 10)
        + 0.5 * torch.exp(-((x - 7) ** 2 + (y - 3) ** 2) / 4)
        - 0.2 * torch.exp(-((x - 4) ** 2) - (y - 7) ** 2)
    ).unsqueeze(1)


@torch.no_grad()
def grid_error(model: Surrogate) -> float:
    axis = torch.linspace(0, 1, 50, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    truth = franke(grid)
    return float((model.net(grid) - truth).norm() / truth.norm())


def main(quick: bool = False) -> tuple[float, float]:
    lightning.seed_everything(0, verbose=False)
    points = torch.rand(1024, 2, dtype=torch.float64)
    data = PhasedData(TensorDataset(points, franke(points)), batch_size=128)
    model = Surrogate(swap=5 if quick else 60)
    trainer = lightning.Trainer(
        max_epochs=15 if quick else 600, reload_dataloaders_every_n_epochs=1, precision="64-true", callbacks=[HomeStretch()],
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    # trainer.fit(model, DataLoader(dataset, batch_size=128, shuffle=True))
    trainer.fit(model, datamodule=data)
    after = grid_error(model)
    print(f"relative L2 error after Adam: {model.before:.2e}, after homestretch: {after:.2e}")
    return model.before, after


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
