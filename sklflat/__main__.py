"""``python -m sklflat``: the commands of this package.

A command is a module ``command_line.py`` of a room, with ``HELP`` (one sentence),
``add_arguments(parser)`` and ``run(arguments) -> int``, which returns the exit status.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from sklflat._version import __version__
from sklflat.exceptions import SklflatError

#: name of a command -> module that defines it
COMMANDS: dict[str, str] = {
    "claims": "sklflat.claims.command_line",
    "report": "sklflat.report.command_line",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Parameters
    ----------
    argv : sequence of str, default=None
        Arguments after the program's name; those of the process if None.

    Returns
    -------
    status : int
        0 on success, 1 where the input is refused, 130 after Ctrl-C.
    """
    try:
        return _run(argv)
    except KeyboardInterrupt:  # wherever it comes, also while a command is being loaded
        print("sklflat: interrupted", file=sys.stderr)
        return 130


def _run(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="sklflat", description=__doc__.partition("\n")[0])
    parser.add_argument("--version", action="version", version=f"sklflat {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    modules = {name: importlib.import_module(path) for name, path in COMMANDS.items()}
    for name, module in modules.items():
        module.add_arguments(commands.add_parser(name, help=module.HELP, description=module.HELP))
    arguments = parser.parse_args(argv)
    try:
        return modules[arguments.command].run(arguments)
    except SklflatError as error:
        print(f"sklflat {arguments.command}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
