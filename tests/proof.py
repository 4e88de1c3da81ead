"""Where the long proofs leave their figures: ``proof/<name>.json`` with date and commit."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent
FULL = "AGENT_TEST_PROOF"


def commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    return done.stdout.strip()


def record(name: str, **figures: object) -> None:
    """Print the figures of a proof and, in a full run, keep them."""
    body = {
        "proof": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        **figures,
    }
    print(json.dumps(body))
    if os.environ.get(FULL) == "1":
        folder = ROOT / "proof"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(body, indent=1) + "\n")
