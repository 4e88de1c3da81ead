"""``agent config check`` refuses what ``agent serve`` could not work with, all at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from agent.cli import COMMANDS, agent
from agent.config import load_settings
from agent.errors import ConfigError
from agent.startup import check_settings
from agent.store.keys import Keyring
from click.testing import CliRunner


def check(folder: Path, text: str = "") -> str:
    """Return what the check says of a configuration file; empty when it is good."""
    file = folder / "agent.toml"
    file.write_text(f'data_dir = "{folder / "data"}"\n{text}')
    try:
        check_settings(load_settings(file))
    except ConfigError as error:
        assert error.exit_code == 3
        return str(error)
    return ""


def test_the_defaults_are_good_and_nothing_is_made(tmp_path: Path) -> None:
    assert not check(tmp_path)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[web]\ntime_zone = "Europe/Berln"', "web.time_zone = Europe/Berln is no time zone. Did you mean Europe/Berlin?"),
        ('[web]\ntime_zone = "../passwd"', "web.time_zone = ../passwd is no time zone."),
        ('[web]\nhost = "0.0.0.0"', "web.host = 0.0.0.0 can be reached by others"),
        ('[web]\ntls_key = "/nowhere/key.pem"', "Only one of web.tls_certificate and web.tls_key is set."),
        ('[web]\ntls_key = "/nowhere/k.pem"\ntls_certificate = "/nowhere/c.pem"', "/nowhere/c.pem cannot be read."),
        ("[web]\nport = 9000\n[dicom]\nport = 9000", "dicom.port and web.port are both 9000."),
        ('[deid]\nprofile = "basci"', "deid.profile: There is no de-identification profile basci. Did you mean basic?"),
        ('[qc]\nprofiles = "/nowhere"', "qc.profiles names /nowhere, which is no folder."),
        ('[cloud]\nadapter = "s3"', "cloud.bucket is not set."),
        ('[cloud]\nadapter = "s3"\nbucket = "b"\nendpoint_url = "http://192.0.2.1"', "plain HTTP to another machine"),
        ('[cloud]\nadapter = "s3"\nbucket = "b"\naccess_key_id = "a"', "Only one of cloud.access_key_id"),
        ('[[notify]]\nurl = "nonsense"', "notification channel 1 is not understood"),
    ],
)  # fmt: skip
def test_one_problem_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    line = check(tmp_path, text)
    assert said in line
    assert "\n" not in line


def test_peers_that_are_the_same_caller_are_told(tmp_path: Path) -> None:
    peer = '[[dicom.peer]]\nname = "{}"\ncalling_aet = "MR1"\naddress = "192.0.2.{}"\n'
    assert not check(tmp_path, peer.format("a", 1) + peer.format("b", 2))
    assert "'a' and 'b' are the same caller: MR1 at 192.0.2.1" in check(
        tmp_path, peer.format("a", 1) + peer.format("b", 1)
    )
    assert "'a' is given to two peers" in check(tmp_path, peer.format("a", 1) + peer.format("a", 2))


def test_every_bad_profile_of_the_folder_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "profiles"
    folder.mkdir()
    (folder / "one.toml").write_text("[profile")
    (folder / "two.toml").write_text('[profile]\nid = "two"\nversion = "1"\nextends = "mr-brian"\n')
    lines = check(tmp_path, f'[qc]\nprofiles = "{folder}"').splitlines()
    assert ["one.toml" in lines[0], "Did you mean mr-brain?" in lines[1], len(lines)] == [True, True, 2]


def test_a_data_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    assert "data cannot be written: not a directory" in check(tmp_path)


def test_keys_that_are_lost_or_open_to_others_are_told(tmp_path: Path) -> None:
    assert not check(tmp_path)
    settings = load_settings(tmp_path / "agent.toml")
    Keyring.open(settings, create=True)
    assert not check(tmp_path)
    settings.key_file.chmod(0o644)
    assert "others could use it" in check(tmp_path)
    settings.key_file.unlink()
    assert "was made with a key that is missing" in check(tmp_path)


def test_the_command_tells_all_problems_at_once_with_exit_code_3(tmp_path: Path) -> None:
    check(tmp_path, '[web]\ntime_zone = "Utopia"\n[cloud]\nadapter = "s3"\n[deid]\nprofile = "none"\n')
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AGENT_")}
    command = [sys.executable, "-m", "agent", "config", "check", "--config", str(tmp_path / "agent.toml")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 3, done.stderr
    assert [line.split(" ")[1] for line in done.stderr.splitlines()] == [
        "deid.profile:",
        "cloud.bucket",
        "web.time_zone",
    ]
    assert all(line.startswith("agent: ") for line in done.stderr.splitlines())


def test_the_list_of_commands_is_not_cut() -> None:
    text = CliRunner().invoke(agent, ["--help"], terminal_width=80).output
    lines = [line.split() for line in text.split("Commands:")[1].splitlines() if line.strip()]
    assert [line[0] for line in lines] == list(COMMANDS)
    assert "..." not in text.split("Commands:")[1]
