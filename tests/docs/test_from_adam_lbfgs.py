from __future__ import annotations

import functools
import os
import re
import types

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import homestretch
from homestretch import LBFGS, LeastSquares, SelfScaledBroyden, StopReason
from tests.docs.snippets import DOCS, reduced, snippets

PAGE = DOCS / "from-adam-lbfgs.md"
os.environ.setdefault("DDE_BACKEND", "pytorch")  # keeps DeepXDE from writing into the home folder
SECTIONS = list(dict.fromkeys(title for title, _ in snippets(PAGE)))

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
]


class Module(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1))


@pytest.fixture
def names():
    """What the snippets take for granted: a model, data, a closure."""
    model = Module()
    inputs = torch.linspace(-1, 1, 130).unsqueeze(1)
    targets = inputs.sin()

    def closure():
        loss = nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        return loss

    return {name: getattr(homestretch, name) for name in homestretch.__all__} | {
        "torch": torch, "model": model, "inputs": inputs, "targets": targets, "closure": closure, "Module": Module,
        "inner": inputs[1:-1], "ends": inputs[[0, -1]], "features": inputs.numpy(), "outcomes": targets.numpy(),
    }  # fmt: skip


@pytest.fixture
def more(request, names):
    """What only one section takes for granted."""
    section = request.node.callspec.params["section"]
    if section == "DeepXDE":
        names |= deepxde_names()
    elif section == "Lightning":
        names |= lightning_names(names)
    elif section == "skorch":
        pytest.importorskip("skorch")
    elif section == "Redrawn points":
        points = names["inputs"]
        residual = lambda model, p: {"equation": model(p["equation"]) - p["equation"], "ends": model(p["ends"])}  # noqa: E731
        objective = LeastSquares(residual, names["model"], {"equation": points, "ends": names["ends"]})
        names |= {"objective": objective, "optimizer": SelfScaledBroyden(names["model"].parameters())}
        names |= {"draw": lambda: torch.rand(130, 1)}
    elif section == "Weight decay":
        names["objective"] = homestretch.Objective(names["model"], nn.functional.mse_loss, (names["inputs"], names["targets"]))
    return names


def deepxde_names():
    deepxde = pytest.importorskip("deepxde")
    line = deepxde.geometry.Interval(-1, 1)
    border = deepxde.icbc.DirichletBC(line, lambda x: 0.0, lambda _, on_boundary: on_boundary)
    data = deepxde.data.PDE(line, lambda x, u: deepxde.grad.hessian(u, x) + torch.sin(x), border, 64, 2)
    return {"pinn": deepxde.Model(data, deepxde.nn.FNN([1, 6, 1], "tanh", "Glorot uniform"))}


def lightning_names(names):
    lightning = pytest.importorskip("lightning")

    class PlainModel(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = Module()

        def training_step(self, batch, _):
            return nn.functional.mse_loss(self.net(batch[0]), batch[1])

    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    return {
        "lightning": types.SimpleNamespace(Trainer=functools.partial(lightning.Trainer, accelerator="cpu", **quiet)),
        "PlainModel": PlainModel,
        "dataset": TensorDataset(names["inputs"], names["targets"]),
    }


@pytest.mark.parametrize("section", SECTIONS)
def test_the_snippets_of_a_section_run(section, more, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for title, source in snippets(PAGE):
        if title == section:
            exec(compile(reduced(source), f"{PAGE.name}, {section}", "exec"), more)
    assert {place.name for place in tmp_path.iterdir()} <= {"run.pt"}  # what a snippet saves, and nothing else


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_of_a_tool_shows_the_old_line_above_the_new_one(section):
    if section in ("Redrawn points", "Weight decay", "Schedules", "float32"):
        return
    source = "\n".join(block for title, block in snippets(PAGE) if title == section)
    assert re.search(r"^ *# .*\n( *# .*\n)* *[^#\s]", source, flags=re.MULTILINE), section


def test_every_stop_reason_is_explained_once():
    rows = re.findall(r"^\| `([A-Z_]+)` \|", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(reason.name for reason in StopReason) == sorted(rows)


def test_the_promise_on_budgets_holds(names):
    optimizer = LBFGS(names["model"].parameters(), budget=2.0)
    optimizer.minimize(names["closure"], iterations=50)
    assert optimizer.stop_reason is StopReason.BUDGET
    made = len(optimizer.history)
    optimizer.limits.budget = None
    optimizer.renew()
    optimizer.minimize(names["closure"], iterations=3)
    assert len(optimizer.history) == made + 3


def test_numbers_are_reduced():
    assert reduced("range(2000), lr=1e-3, x100, 64, 0.001, 500)") == "range(3), lr=1e-3, x100, 64, 0.001, 3)"
