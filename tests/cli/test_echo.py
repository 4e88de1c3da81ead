"""``agent echo`` from the shell."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.cli import agent
from tests.receiving.books import receiving


def _free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_an_answer_is_exit_0(tmp_path: Path) -> None:
    with receiving(tmp_path) as stand:
        done = CliRunner().invoke(
            agent, ["echo", f"127.0.0.1:{stand.port}", "--called", "NEUROPACS_AGENT"], standalone_mode=False
        )
        assert done.return_value == 0
        assert "answers" in done.output
        done = CliRunner().invoke(
            agent, ["echo", f"127.0.0.1:{stand.port}", "--called", "NEUROPACS_AGENT", "--json"], standalone_mode=False
        )
        assert json.loads(done.output)["ok"] is True


def test_a_wrong_called_title_is_exit_1_and_says_so(tmp_path: Path) -> None:
    with receiving(tmp_path, require_called_aet=True) as stand:
        done = CliRunner().invoke(
            agent, ["echo", f"127.0.0.1:{stand.port}", "--called", "WRONG"], standalone_mode=False
        )
    assert done.return_value == 1
    assert "correct --called" in done.stderr


def test_nobody_there_is_exit_1() -> None:
    done = CliRunner().invoke(agent, ["echo", f"127.0.0.1:{_free()}", "--called", "X", "--json"], standalone_mode=False)
    assert done.return_value == 1
    assert json.loads(done.output)["code"] == "no_listener"


@pytest.mark.parametrize(
    "arguments", [["localhost"], ["localhost:0"], ["h:99999"], [":104"], ["h:104", "--called", "A" * 17]]
)
def test_usage_errors_are_exit_2(arguments: list[str]) -> None:
    extra = [] if "--called" in arguments else ["--called", "X"]
    assert CliRunner().invoke(agent, ["echo", *arguments, *extra]).exit_code == 2
