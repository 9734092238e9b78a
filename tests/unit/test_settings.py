"""docs/settings.md names every variable, value and option, and none that is not there."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

import dsmproc
from dsmproc import cli
from dsmproc._settings import SETTINGS

PACKAGE = Path(dsmproc.__file__).parent
PAGE = (PACKAGE.parent / "docs" / "settings.md").read_text()
NAME = r"DSMPROC_[A-Z_]*[A-Z]\b(?!_)"


def variables() -> set[str]:
    """The constants of the engine's interface are no variables."""
    texts = [path.read_text() for path in PACKAGE.rglob("*.py")]
    texts += [path.read_text() for path in PACKAGE.rglob("*.mk")]
    found = {name for text in texts for name in re.findall(rf"(?<!lib\.){NAME}", text)}
    native = [path.read_text() for path in PACKAGE.rglob("*.[ch]") if path.name[0] != "_"]
    return found | {name for text in native for name in re.findall(rf"({NAME})=", text)}


def test_every_variable() -> None:
    assert {"DSMPROC_ADDRESS", "DSMPROC_SSH", "DSMPROC_FAULTS"} < variables()
    assert set(re.findall(NAME, PAGE)) == variables()


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_every_row(name: str) -> None:
    """Of the table that `python -m tests.surface.settings` writes."""
    setting = SETTINGS[name]
    assert f"| `{name}` | {setting.values} | {setting.meaning} | {setting.read_by} |" in PAGE
    assert setting.choices == () or setting.default in ("", *setting.choices)


def options(command: str) -> set[str]:
    (define,) = [define for name, _, define, _ in cli.COMMANDS if name == command]
    parser = argparse.ArgumentParser(add_help=False)
    define(parser)
    shown = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    return {option for action in shown for option in action.option_strings}


def documented() -> dict[str, set[str]]:
    table = PAGE[PAGE.index("## Commands") :]
    found: dict[str, set[str]] = {}
    command = ""
    for line in table.splitlines():
        cells = line.split("|")
        if len(cells) > 4 and "`" in cells[2]:
            command = cells[1].strip(" `") or command
            found.setdefault(command, set()).update(re.findall(r"`(-[a-z-]+)`", cells[2]))
    return found


def test_every_option() -> None:
    public = [name for name, *_ in cli.COMMANDS if name != "serve"]  # for init() alone
    assert documented() == {name: options(name) for name in public}


def test_help_names_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    assert "docs/settings.md" in capsys.readouterr().out
