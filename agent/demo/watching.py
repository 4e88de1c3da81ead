"""What the demonstration reads of the agent's store.

Job: follow the steps of all studies, judge how each one ended, and make the two logins. Place: used by ``runner``,
beside the running agent; reads through ``store.reader``, writes accounts through the same functions as ``agent user``.
It must never write a study.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import Enum
from textwrap import shorten

from agent.config import Settings
from agent.demo.studies import DemoStudy, StudyKind
from agent.qc_kernels.cache import cache_key, is_complete
from agent.store import audit, users
from agent.store.database import open_database
from agent.store.keys import Keyring
from agent.store.reader.operations import last_step, studies_stepped_since
from agent.store.reader.studies import StudyLine, read_line
from agent.store.reader.study import HistoryLine, read_history
from agent.study import LOOKS, Role, StudyStatus

AGENT = "agent"
_WORDS = 160


class End(Enum):
    """How a study of the demonstration ended."""

    EXPECTED = "ended as expected"
    OTHERWISE = "did not end as expected"
    BY_HAND = "was decided by a person"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of one study, in words."""

    study_id: str
    words: str


class Watcher:
    """Reads beside the running agent.

    Parameters
    ----------
    settings : Settings
        The agent's own.
    """

    def __init__(self, settings: Settings) -> None:
        self._kernels = settings.data_dir / "cache" / "numba" / cache_key()
        self._keyring = Keyring.open(settings)
        self._database = open_database(settings.data_dir, self._keyring)
        self._seq = last_step()

    def id_of(self, study_uid: str) -> str:
        """Return the id under which the agent keeps a study."""
        return self._keyring.study_id(study_uid)

    def one_time_login(self, name: str, role: Role) -> str:
        """Give an account of the demonstration a new one-time password and return it; its logins end."""
        from agent.web.passwords import create_one_time_login

        if users.read_user(name) is not None:
            # no password has this hash: the account counts as one whose one-time password was never used
            users.set_password(name, "", one_time=True)
        password = create_one_time_login(name, role, time.time())
        audit.append(
            self._keyring,
            actor="demo",
            role="",
            source="cli",
            action="user_created",
            object=name,
            detail={"role": role.value},
        )
        return password

    def are_kernels_ready(self) -> bool:
        """Say whether the kernels of quality control are compiled."""
        return is_complete(self._kernels)

    def steps(self) -> list[Step]:
        """Return what happened since the last call, in order."""
        changed, last = studies_stepped_since(self._seq)
        found = [
            (line.seq, Step(study_id, self._words(study_id, line)))
            for study_id in changed
            for line in read_history(study_id)
            if self._seq < line.seq <= last and line.from_status != line.to_status
        ]
        self._seq = max(self._seq, last)
        return [step for _, step in sorted(found, key=lambda item: item[0])]

    def line_of(self, study_id: str) -> StudyLine | None:
        """Return a study as the dashboard lists it; None while it is not there."""
        line = read_line(study_id)
        return None if line is None or line.deleted else line

    def end_of(self, study: DemoStudy, study_id: str) -> End | None:
        """Say how a study ended; None while it is on its way."""
        line = self.line_of(study_id)
        expected = None if line is None else _is_expected(study, line.status)
        if expected is None:
            return None
        if any(step.by != AGENT for step in read_history(study_id)):
            return End.BY_HAND
        return End.EXPECTED if expected else End.OTHERWISE

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _words(self, study_id: str, step: HistoryLine) -> str:
        """Return a step in the words of the dashboard."""
        status = StudyStatus(step.to_status)
        line = read_line(study_id)
        why = LOOKS[status].meaning
        if status is StudyStatus.FAILED and line is not None and line.status is status and line.failure_text:
            why = shorten(line.failure_text, _WORDS, placeholder=" …")
        return f"{LOOKS[status].word}: {why if step.by == AGENT else f'a person decided so ({step.by})'}"


def _is_expected(study: DemoStudy, status: StudyStatus) -> bool | None:
    """Say whether a study has ended, and whether as expected; None while it is on its way."""
    S = StudyStatus  # noqa: N806 - as in agent.study
    match study.kind:
        case StudyKind.INCOMPLETE:
            return {S.RECEIVING: None, S.UNSTABLE: True}.get(status, False)
        case StudyKind.DROPOUTS:
            return {S.FAILED: True, S.DELIVERED: False}.get(status)
        case _:
            return {S.DELIVERED: True, S.FAILED: False}.get(status)
