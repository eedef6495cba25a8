"""The door of the command line: arguments in, exit code out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import torch

from homestretch.cli.flags import Compare, Demo, Paper, Plot, Resume, Run
from homestretch.errors import HomestretchError

_NEEDED = ("tyro", "rich", "matplotlib", "pyarrow", "PIL", "sklearn")
_ABOUT = (
    "The second half of training: Adam up to the peak of the gradient norm, then a convex-phase method. "
    "`homestretch COMMAND --help` lists what a command takes. --debug with any command shows the traceback of an error, "
    "--version the version. Exit codes: 0 done, 2 something given or found is wrong, 130 interrupted."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: The arguments, those of the process by default.

    Returns:
        The exit code: 0, 2 for what a user can put right (said in one line), 130 after an interruption.

    Raises:
        SystemExit: From the parser, after ``--help`` (code 0) or a flag it cannot read (code 2).
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug, arguments = "--debug" in arguments, [a for a in arguments if a != "--debug"]
    if arguments == ["--version"]:
        from homestretch import __version__

        print(f"homestretch {__version__}")
        return 0
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        return _complain(f"the command line needs {', '.join(missing)}: pip install 'homestretch[cli]'")
    command = _parse(arguments or ["--help"])
    from homestretch.cli.commands import dispatch

    try:
        dispatch(command)
    except (HomestretchError, ValueError, OSError) as error:
        if debug:
            raise
        return _complain(str(error))
    except torch.OutOfMemoryError as error:
        if debug:
            raise
        return _complain(f"the device is out of memory: give a smaller --batch, --micro-batch or --workers ({error})")
    except KeyboardInterrupt:
        print(f"\nInterrupted. {_how_to_go_on(command)}", file=sys.stderr)
        return 130
    return 0


def _parse(arguments: list[str]) -> Any:
    import tyro
    from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, PositionalRequiredArgs, subcommand

    return tyro.cli(
        Annotated[Run, subcommand("run")]
        | Annotated[Compare, subcommand("compare")]
        | Annotated[Resume, subcommand("resume")]
        | Annotated[Plot, subcommand("plot")]
        | Annotated[Demo, subcommand("demo")]
        | Annotated[Paper, subcommand("paper")],  # type: ignore[arg-type]
        prog="homestretch",
        description=_ABOUT,
        args=arguments,
        config=(OmitSubcommandPrefixes, OmitArgPrefixes, PositionalRequiredArgs),
    )


def _complain(message: str) -> int:
    print(f"homestretch: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _how_to_go_on(command: Any) -> str:
    from homestretch import checkpoint

    if isinstance(command, Compare | Demo):
        return f"Every finished epoch is kept in {command.out}: repeat the command and it goes on from there."
    if isinstance(command, Plot | Paper):
        return "What was finished is kept: repeat the command."
    folder: Path | None = getattr(command, "folder", getattr(command, "out", None))
    if folder is None or not checkpoint.present(folder):
        return "No epoch was finished: repeat the command."
    return f"Every finished epoch is kept. Go on with: homestretch resume {folder}"
