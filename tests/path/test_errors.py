"""What stops the agent says so in one line, with what to do; what comes up while it runs is an alarm and loses nothing."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from agent.config import load_settings
from agent.demo.s3_server import S3Server
from agent.dicom.scu import SendRequest, send
from agent.store import alarms
from agent.store.database import open_database
from agent.store.key_files import create_missing
from agent.store.keys import Keyring
from tests.dicom_files import make_series, write_series
from tests.path.agent_process import AgentProcess, wait_until
from tests.s3 import start_server

MakeAgent = Callable[..., AgentProcess]


def refused(agent: AgentProcess, *arguments: str, says: tuple[str, ...]) -> None:
    """Start an agent that must refuse: exit code 3 and one line that names problem and remedy."""
    done = subprocess.run(
        [sys.executable, "-m", "agent", "serve", *arguments],
        env=agent.environment, cwd=agent.folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    lines = done.stderr.splitlines() + done.stdout.splitlines()
    assert (done.returncode, len(lines)) == (3, 1), lines
    assert lines[0].startswith("agent: ")
    for text in says:
        assert text in lines[0], lines[0]


def cloud(server: S3Server, **changes: object) -> dict[str, object]:
    """The settings that lead to a server, as an agent's environment spells them."""
    values: dict[str, object] = {
        "adapter": "s3", "endpoint_url": server.endpoint_url, "bucket": server.bucket,
        "access_key_id": server.access_key_id, "secret_access_key": server.secret_access_key,
        "retry_first_s": 0.1, "retry_max_s": 0.5, "poll_s": 0.2, "refusals_max": 2,
    }  # fmt: skip
    return {f"cloud__{key}": value for key, value in {**values, **changes}.items()}


# -- at the start


def test_a_port_in_use(make_agent: MakeAgent) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused(make_agent(dicom__port=port), "--no-web", says=(str(port), "in use", "dicom.port"))


def test_a_web_port_in_use(make_agent: MakeAgent) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused(make_agent(web__port=port), says=(str(port), "web.port"))


def test_a_data_directory_that_is_a_file(make_agent: MakeAgent) -> None:
    agent = make_agent()
    way = agent.folder / "way"
    way.write_text("in the way")
    refused(agent, "--data", str(way), says=(str(way), "cannot be written", "--data"))


def test_a_data_directory_that_cannot_be_written(make_agent: MakeAgent) -> None:
    agent = make_agent(data_dir="/proc/agent-data")
    refused(agent, says=("/proc/agent-data", "cannot be written", "--data"))


def test_a_wrong_key(make_agent: MakeAgent) -> None:
    with make_agent() as agent:
        key = Path(agent.environment["AGENT_KEYS__FILE"])
    kept = key.read_bytes()
    other = agent.folder / "other.key"
    assert create_missing(other, agent.folder / "other")
    key.write_bytes(other.read_bytes())
    refused(agent, says=("key does not open", "keys.file"))
    key.unlink()
    refused(agent, says=("key", str(key)))
    key.write_bytes(kept)
    key.chmod(0o644)
    refused(agent, says=(str(key), "600"))
    key.chmod(0o600)
    with agent:
        assert agent.ready()["ready"]


def test_a_database_of_a_newer_version(make_agent: MakeAgent) -> None:
    with make_agent() as agent:
        pass
    newer = (
        "from agent.config import load_settings\n"
        "from agent.store.database import open_database\n"
        "from agent.store.keys import Keyring\n"
        "settings = load_settings(None, {})\n"
        "open_database(settings.data_dir, Keyring.open(settings)).run_sql('PRAGMA user_version=99')\n"
    )
    subprocess.run([sys.executable, "-c", newer], env=agent.environment, cwd=agent.folder, check=True)
    refused(agent, says=("version 99", "newer agent"))


def test_an_unknown_setting_in_file_and_environment(make_agent: MakeAgent) -> None:
    agent = make_agent()
    file = agent.folder / "site.toml"
    file.write_text("[dicom]\nprot = 104\n")
    refused(agent, "--config", str(file), says=("dicom.prot", "dicom.port"))
    file.write_text("[dicom]\nport = 'a lot'\n")
    del agent.environment["AGENT_DICOM__PORT"]
    refused(agent, "--config", str(file), says=("dicom.port", "a lot"))
    agent.environment["AGENT_STUDY__QUITE_S"] = "5"
    file.write_text("")
    refused(agent, "--config", str(file), says=("quite_s", "quiet_s"))


def test_an_invalid_profile(make_agent: MakeAgent, tmp_path: Path) -> None:
    profiles = tmp_path / "profiles"
    agent = make_agent(qc__profiles=profiles)
    refused(agent, says=(str(profiles), "qc.profiles"))
    profiles.mkdir()
    (profiles / "ours.toml").write_text('[profile]\nid = "ours"\nversion = "1"\ntitel = "Ours"\n')
    refused(agent, says=("ours", "titel", "title"))
    (profiles / "ours.toml").write_text("[profile\n")
    refused(agent, says=("ours.toml", "TOML"))


# -- the cloud at the start


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server whose keys a test may change."""
    server = start_server(tmp_path_factory.mktemp("s3-errors"))
    yield server
    server.stop()


def test_a_bucket_that_is_missing(make_agent: MakeAgent, own_server: S3Server) -> None:
    refused(make_agent(**cloud(own_server.start(), bucket="nowhere")), says=("bucket does not exist", "cloud.bucket"))


def test_wrong_credentials(make_agent: MakeAgent, own_server: S3Server) -> None:
    own_server.start()
    for wrong in ({"secret_access_key": "wrong"}, {"access_key_id": "nobody"}):
        refused(make_agent(**cloud(own_server, **wrong)), says=("credentials", "cloud.access_key_id"))


def test_a_clock_that_is_wrong(make_agent: MakeAgent) -> None:
    with skewed_server() as url:
        settings = {
            "cloud__adapter": "s3", "cloud__endpoint_url": url, "cloud__bucket": "studies",
            "cloud__access_key_id": "a", "cloud__secret_access_key": "b",
        }  # fmt: skip
        refused(make_agent(**settings), says=("clock", "NTP"))


def test_a_cloud_that_cannot_be_reached_is_no_reason_not_to_start(make_agent: MakeAgent, own_server: S3Server) -> None:
    own_server.start()
    settings = cloud(own_server)
    own_server.stop()
    with make_agent(**settings) as agent:
        wait_until(lambda: "reached" in alarm_texts(agent), "an alarm")
        assert send_study(agent, agent.folder / "files", 2)


# -- the cloud while the agent runs


def test_credentials_that_become_wrong_hold_the_study_until_they_are_repaired(
    make_agent: MakeAgent, own_server: S3Server
) -> None:
    own_server.start()
    good = own_server.secret_access_key
    with make_agent(**cloud(own_server), qc__gate="false") as agent:
        try:
            own_server.stop()
            own_server.secret_access_key = "a-key-that-somebody-changed"
            own_server.start()
            assert send_study(agent, agent.folder / "files", 6)
            agent.wait_for_status("uploading")
            wait_until(lambda: "credentials" in alarm_texts(agent), "an alarm that names the credentials")
            wait_until(lambda: agent.log.read_text().count("upload_waits") > 1, "it is tried again")
            assert agent.studies()[0]["status"] == "uploading"
        finally:
            own_server.stop()
            own_server.secret_access_key = good
            own_server.start()
        agent.wait_for_status("pending", timeout_s=120)
        wait_until(lambda: "credentials" not in alarm_texts(agent), "the alarm is over")


# -- what the tests use


def send_study(agent: AgentProcess, folder: Path, images: int) -> bool:
    host, port = agent.dicom
    files = write_series(folder, make_series(images))
    return send(files, SendRequest(host, port, "NEUROPACS_AGENT", "TEST")).ok


def alarm_texts(agent: AgentProcess) -> str:
    """What Home shows: the texts of the open alarms."""
    settings = load_settings(None, {"data_dir": agent.data, "keys": {"file": agent.environment["AGENT_KEYS__FILE"]}})
    database = open_database(settings.data_dir, Keyring.open(settings), read_only=True)
    try:
        return " ".join(f"{alarm.text} {alarm.hint}" for alarm in alarms.read_open())
    finally:
        database.close()


class skewed_server:
    """An S3 server that says that the clocks differ."""

    def __enter__(self) -> str:
        body = b'<?xml version="1.0"?><Error><Code>RequestTimeTooSkewed</Code><Message>no</Message></Error>'

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(403)
                self.send_header("Content-Type", "application/xml")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
