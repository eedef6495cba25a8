from __future__ import annotations

from contextlib import contextmanager

import pytest

from homestretch.cli import commands, experiment, main
from homestretch.history import EpochRecord, History
from homestretch.training import RECORD

TINY = ("--train-limit", "32", "--validation-limit", "16", "--model", "vit-nomlp-wkewq-wvwo", "--batch", "16")


@pytest.fixture
def call(capsys):
    """Run the command line; gives exit code, output and complaints."""

    def run(*arguments):
        try:
            code = main([str(a) for a in arguments])
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def without_figures(monkeypatch):
    """Draw nothing, for tests that are about something else: figures take longer than the training."""
    monkeypatch.setattr(experiment, "draw", lambda *_: [])


def losses(place):
    """The losses of all epochs of the run in a folder."""
    return [r.loss for r in History.read(place / RECORD).of(EpochRecord)]


@contextmanager
def interruption(at):
    """Ctrl-C is pressed at the end of epoch ``at`` of a run, or while it starts for 0."""

    def pressed(live, progress=None):
        if progress is None or progress.epoch == at:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commands.Live, "__call__" if at else "__enter__", pressed)
        yield
