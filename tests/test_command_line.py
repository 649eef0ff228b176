"""``python -m sklflat``: the version, help, an unknown command, and errors without a traceback."""

import argparse
import subprocess
import sys
from types import SimpleNamespace

import pytest

import sklflat.__main__ as command_line
from sklflat import __version__
from sklflat.exceptions import CommandError


def test_version_of_the_module_as_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "sklflat", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"sklflat {__version__}\n"


def test_unknown_command_is_refused_by_name(capsys):
    with pytest.raises(SystemExit) as stop:
        command_line.main(["rapport"])
    assert stop.value.code == 2
    assert "rapport" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("outcome", "status", "printed"),
    [
        (0, 0, ""),
        (CommandError("no such column"), 1, "no such column"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_exit_status(outcome, status, printed, monkeypatch, capsys):
    def run(arguments: argparse.Namespace) -> int:
        assert arguments.word == "x"
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    module = SimpleNamespace(
        HELP="Try.", add_arguments=lambda parser: parser.add_argument("word"), run=run
    )
    monkeypatch.setitem(sys.modules, "sklflat_try", module)
    monkeypatch.setattr(command_line, "COMMANDS", {"try": "sklflat_try"})
    assert command_line.main(["try", "x"]) == status
    assert printed in capsys.readouterr().err
