"""A neural field: a small network that maps pixel positions to the brightness of a photograph.

Run it: `python examples/image_field.py` (under a minute), or with `--quick` for a few seconds.
"""

from __future__ import annotations

import math
import sys

import torch
from sklearn.datasets import load_sample_image
from torch import Tensor, nn

from homestretch import LBFGS, AtEpoch, NoResort, Objective, TwoPhase


class Field(nn.Module):
    """Fourier features of the position (Tancik et al., 2020), then two hidden layers."""

    def __init__(self, features: int = 64, width: int = 64) -> None:
        super().__init__()
        self.register_buffer("frequencies", 2 * math.pi * 6.0 * torch.randn(2, features))
        self.layers = nn.Sequential(
            nn.Linear(2 * features, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1)
        )

    def forward(self, position: Tensor) -> Tensor:
        phase = position @ self.frequencies
        return self.layers(torch.cat([phase.sin(), phase.cos()], 1))


def picture(size: int) -> tuple[Tensor, Tensor]:
    """Positions (N, 2) and brightness (N, 1) of a photograph that comes with scikit-learn, brought to size x size pixels."""
    photo = torch.tensor(load_sample_image("china.jpg"), dtype=torch.float32).mean(2) / 255.0
    small = nn.functional.interpolate(photo[None, None, :, :420], size=(size, size), mode="area").reshape(-1, 1)
    axis = (torch.arange(size) + 0.5) / size
    return torch.cartesian_prod(axis, axis), small


def main(quick: bool = False) -> tuple[float, float]:
    torch.manual_seed(0)
    positions, brightness = picture(24 if quick else 96)
    field = Field()
    objective = Objective(field, nn.functional.mse_loss, (positions, brightness), batch_size=1024, micro_batch=9216)

    def psnr() -> float:
        return -10.0 * math.log10(objective.loss())

    first = torch.optim.Adam(field.parameters(), lr=3e-3)
    swap = 10 if quick else 60
    optimizer = TwoPhase(field.parameters(), objective, first=first, second=LBFGS, rule=AtEpoch(swap), resort=NoResort())
    before = 0.0
    for _ in range(30 if quick else 360):
        for closure in optimizer.epoch():
            optimizer.step(closure)
        if optimizer.epochs == swap:
            before = psnr()
            print(f"after Adam:        {before:.1f} dB, {objective.meter.gradient_equivalents:.0f} gradient-equivalents")
        elif optimizer.epochs % 60 == 0:
            print(f"epoch {optimizer.epochs}:         {psnr():.1f} dB")
    after, cost = psnr(), objective.meter.gradient_equivalents
    print(
        f"after homestretch: {after:.1f} dB, {cost:.0f} gradient-equivalents; {optimizer.second.stop_reason or 'not stopped'}"
    )
    return before, after


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
