from __future__ import annotations

import pytest

from homestretch.cli import experiment, main

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
