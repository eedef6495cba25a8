"""An ordinary classifier on handwritten digits, in an ordinary training loop, with the swap decided by the gradient norm.

Run it: `python examples/classification.py` (about half a minute), or with `--quick` for a few seconds.
"""

from __future__ import annotations

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn

from homestretch import Objective, TwoPhase, evaluate
from homestretch.history import EventRecord


def main(quick: bool = False) -> tuple[float, float]:
    torch.manual_seed(0)
    digits = load_digits()  # 1,797 images of 8 x 8, part of scikit-learn
    images, labels = torch.tensor(digits["data"], dtype=torch.float32) / 16.0, torch.tensor(digits["target"])
    order = torch.randperm(len(images))
    train, test = order[:1400], order[1400:]
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))

    def accuracy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (outputs.argmax(1) == targets).float().mean()

    def error() -> float:
        return 1.0 - evaluate(model, loss, (images[test], labels[test]), {"accuracy": accuracy})["accuracy"]

    loss = nn.functional.cross_entropy
    objective = Objective(model, loss, (images[train], labels[train]), batch_size=64)
    epochs = 36 if quick else 80
    # optimizer = torch.optim.Adam(model.parameters(), weight_decay=1e-4)
    first = torch.optim.Adam(model.parameters(), weight_decay=1e-4)
    optimizer = TwoPhase(model.parameters(), objective, first=first, budget=epochs)
    before, known = float("nan"), 0
    for _ in range(epochs):
        for closure in optimizer.epoch():  # mini-batches before the swap, the whole objective after
            optimizer.step(closure)
        for event in optimizer.history.of(EventRecord)[known:]:  # swaps and returns to Adam, each with its reason
            print(f"epoch {event.epoch}, {event.name}: {event.message}")
            known += 1
            if event.name == "swap":
                before = objective.loss()
                print(f"at the swap: training loss {before:.2e}, share of test images misread {error():.3f}")
    after = objective.loss()
    print(f"at the end:  training loss {after:.2e}, share of test images misread {error():.3f}")
    return before, after


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
