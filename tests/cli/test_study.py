"""``agent study`` beside a running agent."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from agent.config import Settings
from agent.study import StudyStatus
from tests.study.agents import made_study, running, settings_for, wait_until


def run(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "AGENT_KEYS__FILE": str(settings.key_file), "AGENT_WEB__TIME_ZONE": "UTC"}
    command = [sys.executable, "-m", "agent", "study", *arguments, "--data", str(settings.data_dir)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


def test_studies_are_listed_shown_and_commanded(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, qc={"gate": False}, web={"time_zone": "UTC"})
    with running(settings) as agent:
        uid, paths = made_study(tmp_path / "files")
        agent.send(*paths)
        row = agent.wait_for(uid, StudyStatus.QC_PASSED)

        listed = json.loads(run(settings, "list", "--json").stdout)
        assert [(i["id"], i["status"]) for i in listed["items"]] == [(row.id, "qc_passed")]
        shown = json.loads(run(settings, "show", uid, "--json").stdout)
        assert shown["history"][-1]["to"] == "qc_passed"
        assert {"evidence", "met", "detail"} == set(shown["completeness"][0])
        assert "TEST-0001" not in run(settings, "show", row.id).stdout

        lines = run(settings, "list").stdout.splitlines()
        assert lines[0].split() == [
            "study",
            "status",
            "rev",
            "patient",
            "date",
            "modality",
            "series",
            "images",
            "quality",
            "flags",
        ]
        date = row.study_date
        assert lines[1].split()[4] == f"{date[:4]}-{date[4:6]}-{date[6:]}"
        words = run(settings, "show", uid).stdout
        assert re.search(r"^updated_at +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$", words, re.MULTILINE)
        assert len(re.findall(r"^history +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC  r1 ", words, re.MULTILINE)) >= 3
        assert run(settings, "list", "--status", "QC Passed").stdout.splitlines()[1].startswith(row.id)
        assert (
            run(settings, "list", "--status", "stable", "--status", "failed").stdout
            == "No study is Stable or Failed.\n"
        )
        wrong = run(settings, "list", "--status", "stabel")
        assert wrong.returncode == 2
        assert "stabel is no status. Did you mean stable?" in wrong.stderr

        held = run(settings, "hold", uid, "--reason", "looking")
        assert (held.returncode, held.stdout) == (0, f"{row.id}: Held.\n")
        wait_until(lambda: agent.study(uid).held, "the hold")
        again = run(settings, "hold", row.id)
        assert again.returncode == 1
        assert "does not take this command" in again.stderr
        assert "It takes now: reprocess, release, delete." in again.stderr
        refused = json.loads(run(settings, "retry", uid, "--json").stdout)
        assert (refused["state"], refused["allowed"]) == ("refused", ["reprocess", "release", "delete"])

        assert run(settings, "override", row.id).returncode == 2
        unknown = run(settings, "show", "nosuchstudy")
        assert unknown.returncode == 1
        assert len(unknown.stderr.splitlines()) == 1
    silent = run(settings, "release", uid)
    assert silent.returncode == 75
    assert "No agent runs on" in silent.stderr
    assert "nothing was done" in silent.stderr
