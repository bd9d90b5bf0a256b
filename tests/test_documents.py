"""Links of the README and the pages under docs/ lead somewhere, and commands named there exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from temperament.cli.main import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as code hosts make them."""
    heads = re.findall(r"(?m)^#+ (.+)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        found = page.parent / file if file else page
        assert found.is_file(), target
        assert not anchor or anchor in anchors(found), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_their_options_exist(page: Path) -> None:
    root = typer.main.get_command(app)
    blocks = re.findall(r"(?s)```console\n(.*?)```", page.read_text(encoding="utf-8"))
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    for line in (line.partition("  #")[0] for line in lines if line.startswith("temperament ")):
        words = line.split()[1:]
        command = root
        if words[0] == "--help":
            continue
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        if command.name == "lm-eval":  # hands all on to lm-eval
            continue
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= known, line


def test_figures_are_used() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert all(figure.name in text for figure in (ROOT / "docs").glob("*.png"))
