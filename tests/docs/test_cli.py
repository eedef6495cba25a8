"""The page on the command line names what is there."""

from __future__ import annotations

import re

import pytest

from homestretch.cli import main
from tests.docs.snippets import DOCS

PAGE = (DOCS / "cli.md").read_text(encoding="utf-8")
SECTIONS = {part.split("\n", 1)[0]: part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)}
COMMANDS = {
    "run": ["run"],
    "compare": ["compare"],
    "resume and plot": ["resume", "plot"],
    "demo": ["demo"],
    "paper": ["paper models", "paper table", "paper figures", "paper report"],
}


def help_of(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([*command.split(), "--help"])
    assert end.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("section", COMMANDS)
def test_every_flag_of_a_section_is_one_of_its_commands(section, capsys):
    known = set(re.findall(r"--[a-z][a-z-]*", "".join(help_of(command, capsys) for command in COMMANDS[section])))
    ours = re.sub(r"`python [^`]*`", "", SECTIONS[section])
    assert set(re.findall(r"--[a-z][a-z-]*", ours)) <= known


def test_every_command_and_exit_code_is_on_the_page(capsys):
    text = help_of("", capsys)
    named = set(re.findall(r"^\| `homestretch ([a-z ]+[a-z])", PAGE, flags=re.MULTILINE))
    assert named == {command for commands in COMMANDS.values() for command in commands}
    assert set(re.search(r"\{(.*?)\}", text)[1].split(",")) == {command.split()[0] for command in named}
    assert re.findall(r"^\| (\d+) \|", PAGE, flags=re.MULTILINE) == re.findall(
        r"(\d+) (?:done|something|interrupted)", " ".join(text.split())
    )


def test_every_recipe_is_on_the_page(capsys):
    recipes = re.search(r"--recipes \[\{(.*?)\}", "".join(help_of("compare", capsys).split("│")).replace("\n", ""))[1]
    assert {name.strip() for name in recipes.split(",")} == set(
        re.findall(r"`([a-z0-9-]+)`", SECTIONS["compare"].split("| recipe |")[1])
    )
