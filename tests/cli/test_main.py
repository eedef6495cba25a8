from __future__ import annotations

import pytest
import torch

from homestretch import __version__
from homestretch.cli import main
from homestretch.cli.main import main as door
from homestretch.errors import DataError
from homestretch.paper import model_table
from tests.cli.conftest import TINY

COMMANDS = ("run", "compare", "resume", "plot", "demo", "paper")


def test_the_package_offers_main():
    assert main is door


@pytest.mark.parametrize("arguments", [("--help",), ()])
def test_help_lists_every_command(call, arguments):
    code, out, _ = call(*arguments)
    assert code == 0
    assert all(f"• {name} " in out for name in COMMANDS)
    assert "--debug" in out
    assert "130" in out


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        (
            "run",
            "--model --data --data-dir --rule --second --learning-rate --batch --seed --device --out --budget --train-limit",
        ),
        ("compare", "--recipes --budget --out --overwrite --seed"),
        ("resume", "FOLDER PATH"),
        ("plot", "FOLDER PATH"),
        ("demo", "--budget --seed --out"),
        ("paper", "models table"),
        (
            "paper table",
            "--sets --models --recipes --seeds --size tenth --printed --workers --data-dir --device --compile --out",
        ),
        ("paper models", "--format tsv markdown"),
    ],
)
def test_help_of_each_command(call, command, flags):
    code, out, _ = call(*command.split(), "--help")
    assert code == 0
    missing = [flag for flag in flags.split() if flag.lower() not in out.lower()]
    assert not missing


@pytest.mark.parametrize(
    "arguments", [("--nothing",), ("fly",), ("run", "--batch", "many"), ("run", "--model", "vit"), ("paper",)]
)
def test_what_cannot_be_parsed_exits_with_2(call, arguments):
    code, _, err = call(*arguments)
    assert code == 2
    assert err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--budget", 0), "budget must be a positive number"),
        (("run", "--budget", "inf"), "budget must be a positive number"),
        (("run", "--batch", 0), "batch must be at least 1"),
        (("run", "--threads", -1), "threads must be at least 0"),
        (("run", "--learning-rate", 0), "learning-rate must be positive"),
        (("run", "--device", "abacus"), "device 'abacus' cannot be used here"),
        (("run", "--rule", "epoch"), "swap-at must be given with --rule epoch"),
        (("run", "--rule", "epoch", "--second", "none"), "--rule epoch with --second none has nothing to swap to"),
        (("run", "--rule", "epoch", "--swap-at", 1.5), "swap-at must be a whole number"),
        (("run", "--rule", "epoch", "--swap-at", "inf"), "swap-at must be a whole number"),
        (("run", "--swap-at", 0.3), "swap-at goes with --rule epoch or share only, got --rule paced"),
        (("run", "--rule", "start", "--second", "cg", "--swap-at", 2), "got --rule start"),
        (("run", "--second", "none", "--rule", "share", "--swap-at", 0.3), "--second none has nothing to swap to"),
        (("run", "--rule", "share", "--swap-at", 3), "share must"),
        (("run", "--train-limit", 0), "train_limit must be at least 1"),
        (("run", "--data", "mnist", "--data-dir", "nowhere"), "nowhere: no such folder"),
        (("run", "--out", "file/below", *TINY), "file"),
        (("compare", "--recipes", "adam", "adam"), "different names"),
        (("resume", "nowhere"), "nowhere"),
        (("plot", "nowhere"), "there is no record.jsonl in nowhere"),
        (("paper", "table", "--no-run", "--out", "nowhere"), "nowhere/tenth holds no outcomes: give --out and --size"),
        (("paper", "table", "--sets", "digits", "mnist", "--data-dir", "nowhere"), "nowhere: no such folder"),
        (("paper", "table", "--sets", "digits", "--device", "abacus"), "device 'abacus' cannot be used here"),
    ],
)
def test_a_wrong_argument_is_one_line_and_leaves_nothing(call, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    code, out, err = call(*arguments)
    assert code == 2
    assert message in err
    assert err.startswith("homestretch: ")
    assert len(err.splitlines()) == 1
    assert not out
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        main(["run", "--debug", "--data", "mnist", "--data-dir", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")])


def test_a_device_out_of_memory_is_one_line(call, monkeypatch):
    def full(command):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB.")

    monkeypatch.setattr("homestretch.cli.commands.dispatch", full)
    code, _, err = call("paper", "models")
    assert code == 2
    assert err.startswith("homestretch: the device is out of memory: give a smaller --batch")
    assert err.endswith("(CUDA out of memory. Tried to allocate 2 GiB.)\n")


@pytest.mark.parametrize("missing", ["rich", "tyro", "matplotlib"])
def test_missing_extras_are_named_in_one_line(call, monkeypatch, missing):
    real = door.__globals__["find_spec"]
    monkeypatch.setitem(door.__globals__, "find_spec", lambda name: None if name == missing else real(name))
    assert call("paper", "models") == (
        2,
        "",
        f"homestretch: the command line needs {missing}: pip install 'homestretch[cli]'\n",
    )


def test_version(call):
    assert call("--version") == (0, f"homestretch {__version__}\n", "")


@pytest.mark.parametrize("form", ["tsv", "markdown", "table"])
def test_paper_models(call, form):
    code, out, _ = call("paper", "models", "--format", form)
    assert code == 0
    cells = [
        [cell.strip() for cell in line.strip("|").split({"tsv": "\t", "markdown": "|"}.get(form))] for line in out.splitlines()
    ]
    expected = [[r.set, r.model, str(r.P), f"{r.Q:.1f}"] for r in model_table()]
    assert [row for row in cells if row in expected] == expected
    if form == "tsv":
        assert cells == [["set", "model", "P", "Q"], *expected]
