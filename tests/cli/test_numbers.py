"""Numbers on the command line are finite."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from jetson_face.cli.common import number
from jetson_face.cli.main import COMMANDS, build_parser


def actions_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from actions_of(below)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_argument_takes_an_infinite_number(command: str) -> None:
    plain = [a.option_strings for a in actions_of(build_parser(command)) if a.type is float]
    assert plain == []


@pytest.mark.parametrize("text", ["inf", "-inf", "nan", "many", "1e999"])
def test_an_infinite_number_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        build_parser("tune").parse_args(["tune", "--fps", "5", f"--wait={text}"])
    assert stop.value.code == 2
    assert "is not a finite number" in capsys.readouterr().err


def test_an_ordinary_number_is_taken() -> None:
    assert number("-2.5e3") == -2500.0
