"""Wall time of an epoch and of a full pass, by model and way of running: `python -m benchmarks.bench_passes`.

For each model of the paper: an epoch of mini-batches by Adam through `TwoPhase` beside the shortest loop that does the same,
a full pass with gradients, a forward pass and a Hessian product; eager, compiled by `torch.compile`, and under bfloat16
autocast. Writes `benchmarks/results/passes-DEVICE.tsv`, with the loss that each way gives at the same parameters.
"""

from __future__ import annotations

import time
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from benchmarks.overhead.throughput import bare_epoch
from benchmarks.results_io import Record, is_quick, table_path, write_environment, write_table
from homestretch import Never, Objective, TwoPhase
from homestretch.paper.data import one_hot
from homestretch.paper.models import build_model
from homestretch.paper.table.cells import BATCH, VISION_MODELS

COLUMNS = ("problem", "samples", "micro_batch", "way", "what", "seconds", "bare_seconds", "loss", "peak_mib", "status")
WAYS = ("eager", "compiled", "bf16", "bf16-compiled")
SHAPE, CLASSES = (3, 32, 32), 10


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    samples: int
    micro_batch: int
    repeats: int


def made_data(samples: int, device: str) -> tuple[Tensor, Tensor]:
    """Noise in the layout of CIFAR-10: what is in the images does not change what a pass takes."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(samples, *SHAPE, generator=generator)
    labels = torch.randint(CLASSES, (samples,), generator=generator)
    return inputs.to(device), one_hot(labels, CLASSES).to(device)


def objective_of(name: Any, way: str, data: tuple[Tensor, Tensor], micro_batch: int) -> Objective:
    """The loss over all the data, run in one of the ways."""
    device = data[0].device
    model: nn.Module = build_model(name, SHAPE, CLASSES, seed=0).to(device)
    if way.endswith("compiled"):
        model.compile(dynamic=False)

    def half(model: nn.Module, batch: Any) -> tuple[Any, Any]:
        with torch.autocast(device.type, torch.bfloat16):
            outputs = model(batch[0])
        return outputs.float(), batch[1]

    compute = half if way.startswith("bf16") else None
    return Objective(model, mse_loss, data, batch_size=BATCH, micro_batch=micro_batch, compute=compute)


def timed(function: Callable[[], Any], repeats: int, device: str) -> float:
    """Median of the wall times in seconds, with all of the device's work in them; the first call does not count."""
    times = []
    for _ in range(repeats + 1):
        _wait(device)
        started = time.perf_counter()
        function()
        _wait(device)
        times.append(time.perf_counter() - started)
    return median(times[1:])


def measure(name: Any, way: str, sizes: Sizes, device: str) -> list[Record]:
    """Rows of one model, run in one way."""
    data = made_data(sizes.samples, device)
    objective = objective_of(name, way, data, sizes.micro_batch)
    model = objective.model
    base: Record = {"problem": name, "samples": sizes.samples, "micro_batch": sizes.micro_batch, "way": way}
    base |= {"loss": objective.loss(), "status": "", "bare_seconds": None}
    torch.manual_seed(0)
    direction = [torch.randn_like(p) for p in objective.parameters]
    passes: dict[str, Callable[[], Any]] = {"forward": objective.loss, "gradient": objective}
    if way == "eager":  # torch cannot differentiate a compiled graph twice, nor is a product in bfloat16 worth much
        passes["hessian product"] = lambda: objective.hessian_product(direction)
    rows = []
    for what, function in passes.items():
        _reset_peak(device)
        rows.append({**base, "what": what, "seconds": timed(function, sizes.repeats, device), "peak_mib": _peak(device)})
    optimizer = TwoPhase(objective.parameters, objective, first=torch.optim.Adam(objective.parameters, lr=1e-3), rule=Never())

    def epoch() -> None:
        for closure in optimizer.epoch():
            optimizer.step(closure)

    _reset_peak(device)
    row = {**base, "what": "epoch of mini-batches", "micro_batch": BATCH, "seconds": timed(epoch, sizes.repeats, device)}
    if not way.startswith("bf16"):
        adam = torch.optim.Adam(model.parameters(), lr=1e-3)
        row["bare_seconds"] = timed(lambda: bare_epoch(model, adam, *data, BATCH), sizes.repeats, device)
    return [*rows, {**row, "peak_mib": _peak(device)}]


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def _reset_peak(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)


def _peak(device: str) -> float | None:
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.startswith("cuda") else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the table."""
    parser = ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--models", nargs="+", choices=VISION_MODELS, default=list(VISION_MODELS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--samples", type=int, default=None, help="50,000 on a GPU, 2,048 elsewhere, if not given")
    parser.add_argument("--micro-batch", type=int, default=None, help="10,000 on a GPU, 512 elsewhere, if not given")
    parser.add_argument("--repeats", type=int, default=3)
    options: Any = parser.parse_args(arguments)
    quick, gpu = is_quick(), options.device.startswith("cuda")
    sizes = Sizes(
        options.samples or (BATCH if quick else 50_000 if gpu else 2048),
        options.micro_batch or (10_000 if gpu else BATCH),
        1 if quick else options.repeats,
    )
    rows: list[Record] = []
    for name in options.models[-2:] if quick else options.models:
        for way in ("eager",) if quick else options.ways:
            try:
                rows += measure(name, way, sizes, options.device)
            except Exception as error:  # a way that one model cannot go is a result
                first = str(error).split("\n")[0][:200]
                rows.append({"problem": name, "way": way, "status": f"{type(error).__name__}: {first}"})
            torch.compiler.reset()
            for row in rows[-4:]:
                print({k: v for k, v in row.items() if v not in (None, "")}, flush=True)
    table = table_path(f"passes-{options.device.split(':')[0]}", quick)
    write_table(table, rows, COLUMNS)
    device = torch.cuda.get_device_name(options.device) if gpu else options.device
    write_environment(table, {"homestretch", "torch"}, device=device)
    print(f"wrote {table.name}: {len(rows)} rows")


if __name__ == "__main__":
    main()
