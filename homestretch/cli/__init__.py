"""The command line: ``homestretch run | compare | resume | plot | demo | paper``."""

from homestretch.cli.main import main

__all__ = ["main"]
