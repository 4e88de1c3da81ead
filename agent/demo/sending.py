"""The studies of a demonstration on their way to the agent.

Job: make the studies and send them by C-STORE, one after the other; leave alone what is there already. Place: a thread
of ``runner`` runs it. It must never stop the demonstration: what goes wrong is said in a line.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from agent.clock import SystemClock
from agent.demo.studies import DemoStudy, StudyKind, write_study
from agent.errors import AgentError

CALLING = "DEMO_PACS"
FIRST_S = 30.0


class Sender:
    """Sends studies to the agent.

    Parameters
    ----------
    studies : list of DemoStudy
        In the order they are sent.
    folder : Path
        Where their files are written.
    peer : tuple
        Host, port and AE title of the agent.
    """

    def __init__(self, studies: list[DemoStudy], folder: Path, peer: tuple[str, int, str]) -> None:
        self._clock = SystemClock()
        self._studies, self._folder, self._peer = studies, folder, peer
        self.first_ended = threading.Event()
        self.finished = threading.Event()
        self.failed: set[str] = set()

    def run(self, tell: Callable[[str, str], None], halt: threading.Event) -> None:
        """Send all; `tell` gets the name of a study and what happened."""
        for study in self._studies:
            if study.kind in {StudyKind.DROPOUTS, StudyKind.DIFFUSION}:
                # thousands of images: let the first small study through, so that something is delivered early
                self._clock.wait(self.first_ended, FIRST_S)
            if halt.is_set():
                return
            try:
                self._send(study, tell)
            except (AgentError, OSError) as error:
                self.failed.add(study.name)
                tell(study.name, f"sending failed: {error}")
        self.finished.set()

    def _send(self, study: DemoStudy, tell: Callable[[str, str], None]) -> None:
        from agent.dicom.scu import SendRequest, send

        host, port, called = self._peer
        paths = write_study(study, self._folder / f"{study.number:03d}-{study.kind}")
        began = time.monotonic()
        summary = send(paths, SendRequest(host, port, called, CALLING, associations=1))
        stored = summary.counts().get("stored", 0)
        tell(
            study.name,
            f"{stored} of {len(paths)} images sent in {time.monotonic() - began:.1f} s; expected: {study.expectation}",
        )
