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
        (("run", "--budget", 0), "--budget must be a positive number"),
        (("run", "--budget", "inf"), "--budget must be a positive number of gradient-equivalents, got inf: give"),
        (("demo", "--budget", 0), "--budget must be a positive number"),
        (("demo", "--seed", -1), "--seed must be from 0"),
        (("run", "--batch", 0), "--batch must be at least 1, got 0: give a number of samples"),
        (("run", "--threads", -1), "--threads must be at least 0, got -1: 0 leaves it to torch"),
        (("run", "--seed", -1), "--seed must be from 0 to 2**63 - 1, got -1"),
        (("run", "--seed", 10**23), f"--seed must be from 0 to 2**63 - 1, got {10**23}"),
        (("compare", "--seed", 2**63), f"--seed must be from 0 to 2**63 - 1, got {2**63}"),
        (("run", "--learning-rate", 0), "--learning-rate must be positive and finite, got 0.0: give"),
        (("run", "--device", "abacus"), "device 'abacus' cannot be used here"),
        (("run", "--rule", "epoch"), "swap-at must be given with --rule epoch"),
        (("run", "--rule", "epoch", "--second", "none"), "--rule epoch with --second none has nothing to swap to"),
        (("run", "--rule", "epoch", "--swap-at", 1.5), "swap-at must be a whole number"),
        (("run", "--rule", "epoch", "--swap-at", "inf"), "swap-at must be a whole number"),
        (("run", "--swap-at", 0.3), "swap-at goes with --rule epoch or share only, got --rule paced"),
        (("run", "--rule", "start", "--second", "cg", "--swap-at", 2), "got --rule start"),
        (("run", "--second", "none", "--rule", "share", "--swap-at", 0.3), "--second none has nothing to swap to"),
        (("run", "--rule", "epoch", "--swap-at", -1), "--swap-at must be a whole number of epochs with --rule epoch, got -1"),
        (("run", "--rule", "share", "--swap-at", 3), "--swap-at must be a share of the budget with --rule share, above 0"),
        (("run", "--rule", "share", "--swap-at", 0), "above 0 and at most 1, got 0: give 0.3 for 30 %"),
        (("run", "--train-limit", 0), "--train-limit must be at least 1, got 0: leave it out for all samples"),
        (("run", "--validation-limit", 0), "--validation-limit must be at least 1, got 0: leave it out for all samples"),
        (("run", "--data-dir", "images"), "--data-dir images has no effect"),
        (("compare", "--data-dir", "images"), "--data-dir images has no effect"),
        (("run", "--second", "none", "--no-resort"), "--no-resort has no effect with --second none"),
        (
            ("run", "--data", "mnist", "--data-dir", "nowhere"),
            "nowhere: no such folder: name one that holds mnist, by --data-dir",
        ),
        (
            ("paper", "report", "--results", "t.parquet"),
            "t.parquet holds no table of outcomes (no such file): run `homestretch",
        ),
        (
            ("paper", "figures", "--results", "t.parquet"),
            "t.parquet holds no traces (no such file): run `homestretch paper table`",
        ),
        (("run", "--out", "file", *TINY), "--out must be a folder, got file, but file is a file: give another --out"),
        (("run", "--out", "file/below", *TINY), "--out must be a folder, got file/below, but"),
        (("run", "--out", "/proc/nothing", *TINY), "--out must be a folder"),
        (("compare", "--out", "file"), "--out must be a folder, got file"),
        (("demo", "--out", "file"), "--out must be a folder, got file"),
        (("paper", "figures", "--out", "file"), "--out must be a folder, got file"),
        (("paper", "report", "--out", "file"), "--out must be a folder, got file"),
        (("paper", "table", "--sets", "digits", "--out", "file"), "--out must be a folder, got file/tenth, but"),
        (("compare", "--recipes", "adam", "adam"), "different names"),
        (("resume", "nowhere"), "nowhere"),
        (("plot", "nowhere"), "there is no record.jsonl in nowhere"),
        (("paper", "table", "--no-run", "--out", "nowhere"), "nowhere/tenth holds no outcomes: give --out and --size"),
        (("paper", "table", "--sets", "digits", "mnist", "--data-dir", "nowhere"), "nowhere: no such folder"),
        (("paper", "table", "--sets", "digits", "--device", "abacus"), "device 'abacus' cannot be used here"),
        (("paper", "table", "--sets", "digits", "--models", "gpt-char"), "no cell: gpt-char goes with --sets python-docs"),
        (("paper", "table", "--sets", "digits", "--data-dir", "images"), "--data-dir images has no effect"),
        (("paper", "table", "--seeds", -1), "--seeds must be different numbers from 0 to 2**63 - 1, got -1"),
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


@pytest.mark.parametrize("arguments", [("--version",), ("--debug", "--version"), ("--version", "--debug")])
def test_version(call, arguments):
    assert call(*arguments) == (0, f"homestretch {__version__}\n", "")


def test_the_version_needs_none_of_the_command_lines_libraries(call, monkeypatch):
    monkeypatch.setitem(main.__globals__, "find_spec", lambda name: None)
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
