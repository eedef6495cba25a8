from __future__ import annotations

import json

import pytest

from homestretch.cli import folder
from homestretch.training import RECORD
from tests.cli.conftest import TINY, interruption, losses


def damage_checkpoint(place):
    (place / "checkpoint.pt").write_bytes(b"torn")


def tear_record(place):
    text = (place / RECORD).read_text()
    (place / RECORD).write_text(text.replace('"kind"', '"ki', 1))


def lose_data(place):
    settings = json.loads((place / folder.SETTINGS).read_text())
    settings["problem"] |= {"data": "mnist", "data_dir": "nowhere"}
    (place / folder.SETTINGS).write_text(json.dumps(settings))


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("harm", [damage_checkpoint, tear_record, lose_data])
def test_a_larger_budget_leaves_a_run_that_cannot_go_on_as_it_was(call, tmp_path, harm):
    out = tmp_path / "run"
    assert call("run", *TINY, "--second", "none", "--budget", 2, "--out", out)[0] == 0
    whole = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    harm(out)
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    first, again = (call("resume", out, "--budget", 3) for _ in range(2))
    assert first == again
    assert first[0] == 2
    assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    for path, content in whole.items():
        path.write_bytes(content)
    assert call("resume", out, "--budget", 3)[0] == 0
    assert len(losses(out)) == 3


@pytest.mark.usefixtures("without_figures")
def test_a_larger_budget_is_kept_after_an_interruption(call, tmp_path):
    out = tmp_path / "run"
    assert call("run", *TINY, "--second", "none", "--budget", 1, "--out", out)[0] == 0
    with interruption(2):
        assert call("resume", out, "--budget", 3)[0] == 130
    code, _, err = call("resume", out, "--budget", 3)
    assert code == 2
    assert "none to go on up to 3" in err
    assert call("resume", out)[0] == 0
    assert len(losses(out)) == 3


@pytest.mark.parametrize("command", [("compare", "--recipes", "adam", *TINY), ("demo",)], ids=["compare", "demo"])
@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)], ids=["", "overwrite"])
@pytest.mark.parametrize("mark", ["settings.json", RECORD, "checkpoint.pt"])
def test_a_single_run_is_no_place_for_several(call, tmp_path, command, overwrite, mark):
    (tmp_path / mark).write_text("")
    (tmp_path / "summary.md").write_text("of the single run")
    code, text, err = call(*command, *overwrite, "--budget", 1, "--out", tmp_path)
    assert (code, text) == (2, "")
    assert f"{tmp_path} holds a single run already: go on with it by `homestretch resume {tmp_path}`" in err
    assert {path.name for path in tmp_path.iterdir()} == {mark, "summary.md"}
    assert (tmp_path / "summary.md").read_text() == "of the single run"


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)], ids=["", "overwrite"])
def test_several_runs_are_no_place_for_a_single_one(call, tmp_path, overwrite):
    (tmp_path / "adam").mkdir()
    (tmp_path / "adam" / "settings.json").write_text("")
    (tmp_path / "summary.md").write_text("of them all")
    code, text, err = call("run", *TINY, *overwrite, "--budget", 1, "--out", tmp_path)
    assert (code, text) == (2, "")
    assert "holds several runs and their summary.md" in err
    assert {path.name for path in tmp_path.iterdir()} == {"adam", "summary.md"}
