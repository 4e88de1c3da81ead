"""The documents hold what the code has: every setting, metric, command, status and trigger."""

from __future__ import annotations

import re
from pathlib import Path

import agent.metrics
import click
import pytest
from agent.cli import COMMANDS, agent as command_line
from agent.config_reference import reference_page
from agent.study import StudyStatus, Trigger
from prometheus_client.metrics import MetricWrapperBase

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def test_the_configuration_page_is_the_generated_one() -> None:
    assert read("configuration.md") == reference_page(), "run: python -m agent.config_reference > docs/configuration.md"


def verbs() -> list[str]:
    found = []
    context = click.Context(command_line)
    for name in COMMANDS:
        command = command_line.get_command(context, name)
        assert command is not None, f"agent {name} is missing"
        subcommands = command.list_commands(context) if isinstance(command, click.Group) else [""]
        found += [f"agent {name} {sub}".strip() for sub in subcommands]
    return found


def test_every_command_is_documented() -> None:
    page = read("command-line.md")
    assert not [verb for verb in verbs() if f"`{verb}" not in page]


def test_every_metric_is_documented() -> None:
    page = read("metrics.md")
    names = [m._name for m in vars(agent.metrics).values() if isinstance(m, MetricWrapperBase)]
    assert names
    assert not [name for name in names if f"`{name}" not in page]


@pytest.mark.parametrize("word", [*StudyStatus, *Trigger])
def test_every_status_and_trigger_is_documented(word: str) -> None:
    assert word in read("life-of-a-study.md")


def test_links_of_the_documents_lead_somewhere() -> None:
    broken = []
    for page in [*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "benchmarks").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken


def test_decisions_are_numbered_once() -> None:
    numbers = [p.name[:4] for p in (DOCS / "adr").glob("*.md")]
    assert len(numbers) == len(set(numbers))
