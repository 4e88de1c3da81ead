"""The dashboard with many open lists: what a change costs the web process, and how long until everybody has it.

A real web process (``run_web``) on a database of its own; the lists are long polls over plain sockets, as a browser
holds them open: each asks again as soon as it has an answer, 0.9 s after its last question at the earliest. A writer
beside it changes one study at a time, through the store's own operations.
"""

from __future__ import annotations

import http.client
import json
import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from agent.config import Settings
from agent.store import users
from agent.store.database import open_database, transact
from agent.store.keys import Keyring
from agent.store.segments import RecordHeader, StoredRecord
from agent.store.studies import IndexFacts, IndexRow, index_records, update_progress
from agent.study import Role
from agent.web.server import run_web
from benchmarks.figures import Figure

MR = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT = "1.2.840.10008.1.2.1"
AGAIN_S = 0.9
"""A page asks again this long after its last question at the earliest, as live.js does."""


@dataclass(slots=True)
class _Seen:
    """When lists had which state of the study."""

    at: dict[int, list[float]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class _List(threading.Thread):
    """One open list."""

    def __init__(self, port: int, cookie: str, seen: _Seen, halt: threading.Event) -> None:
        super().__init__(daemon=True)
        self._port, self._headers, self._seen, self._halt = port, {"Cookie": cookie}, seen, halt

    def run(self) -> None:
        """Ask until told to stop."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        cursor = ""
        while not self._halt.is_set():
            began = time.monotonic()
            connection.request("GET", f"/api/v1/changes?since={cursor}&rows=1", headers=self._headers)
            news = json.loads(connection.getresponse().read())
            now, cursor = time.monotonic(), news["cursor"]
            with self._seen.lock:
                for item in news["items"]:
                    self._seen.at.setdefault(item["qc"]["done"], []).append(now)
            self._halt.wait(max(0.0, AGAIN_S - (now - began)))
        connection.close()


class _House:
    """A database with studies, and the web process on it."""

    def __init__(self, folder: Path, studies: int) -> None:
        self.settings = Settings(data_dir=folder / "data", keys={"file": folder / "agent.key"}, web={"port": 0})
        self.keyring = Keyring.open(self.settings, create=True)
        self.database = open_database(self.settings.data_dir, self.keyring, create=True)
        users.create_user("bench", Role.REVIEWER, "no hash: nobody logs in", at=time.time())
        self.cookie = f"agent_session={users.open_session('bench', time.time())}"
        self.ids = self._fill(studies)
        context = multiprocessing.get_context("forkserver")
        self._pipe, theirs = context.Pipe()
        self._process: Any = context.Process(target=run_web, args=(self.settings, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self.port = self._await_port()
        self.process = psutil.Process(self._process.pid)

    def _fill(self, count: int) -> list[str]:
        now, facts = time.time() - 600, IndexFacts("20260102", "101500", "MRI brain", "MR", "1", "Diffusion axial")
        rows = []
        for number in range(count):
            uid = f"2.25.{number + 1}"
            header = RecordHeader(uid, f"{uid}.1", f"{uid}.1.1", MR, EXPLICIT, "BENCH", "AGENT", "a", now, "{}")
            record = StoredRecord("b-1.seg", number * 1000, 1000, 524_288, f"{number:064x}", "k", header)
            rows.append(IndexRow(record, self.keyring.study_id(uid), f"ANON-{number:06d}", b"", False, facts))
        for start in range(0, count, 500):
            transact(lambda part=tuple(rows[start : start + 500]): index_records(part))  # type: ignore[misc]
        return [row.study_id for row in rows]

    def _await_port(self) -> int:
        path, end = self.settings.data_dir / "run" / "web.json", time.monotonic() + 60
        while time.monotonic() < end:
            if path.exists():
                return int(json.loads(path.read_text())["port"])
            time.sleep(0.05)
        raise RuntimeError("the web process did not start")

    def change(self, number: int) -> None:
        """Change one study so that everybody has to hear of it."""
        study_id = self.ids[number % len(self.ids)]
        transact(lambda: update_progress(study_id, 1, qc_done=number, qc_total=1_000_000))

    def cpu_s(self) -> float:
        """Processor time that the web process has used."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def close(self) -> None:
        """End the web process as the end of the engine would."""
        self._pipe.close()
        self._process.join(10)
        self.database.close()


def _round(house: _House, seen: _Seen, first: int, changes: int, every_s: float) -> tuple[float, list[float]]:
    """Return the share of a core, and the delays of all lists."""
    delays: list[float] = []
    began, used = time.monotonic(), house.cpu_s()
    told: dict[int, float] = {}
    for number in range(first, first + changes):
        told[number] = time.monotonic()
        house.change(number)
        time.sleep(max(0.0, told[number] + every_s - time.monotonic()))
    share = (house.cpu_s() - used) / (time.monotonic() - began)
    with seen.lock:
        for number, at in told.items():
            delays += [moment - at for moment in seen.at.get(number, [])]
    return share, delays


def run(*, quick: bool, say: Callable[[str], None]) -> list[Figure]:
    """Measure a web process with open lists while studies change."""
    lists, rounds, changes, every_s = (20, 1, 3, 1.0) if quick else (100, 5, 10, 2.0)
    shares, middles, worsts, missed = [], [], [], []
    with tempfile.TemporaryDirectory(prefix="bench-dashboard-") as folder:
        house = _House(Path(folder), 200 if quick else 5000)
        seen, halt = _Seen(), threading.Event()
        try:
            threads = [_List(house.port, house.cookie, seen, halt) for _ in range(lists)]
            for thread in threads:
                thread.start()
            time.sleep(3)
            for number in range(rounds):
                share, delays = _round(house, seen, 1 + number * changes, changes, every_s)
                shares.append(share)
                middles.append(statistics.median(delays))
                worsts.append(max(delays))
                seen_after = f"seen after {middles[-1]:.2f} s, {worsts[-1]:.2f} s at worst"
                say(f"round {number + 1}: {share:.3f} of a core; {seen_after}")
                missed.append(float(lists * changes - len(delays)))
            halt.set()
        finally:
            halt.set()
            house.close()
    what = f"{lists} open lists, a change every {every_s:g} s"
    return [
        Figure(f"web process, {what}", "cores", tuple(shares), "lower"),
        Figure("change to list, median", "s", tuple(middles), "lower"),
        Figure("change to list, worst", "s", tuple(worsts), "lower"),
        Figure("changes a list did not get", "", tuple(missed), "lower"),
    ]
