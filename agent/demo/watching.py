"""What the demonstration reads of the agent's store.

Job: follow the steps of all studies and make the two logins. Place: used by ``runner``, beside the running agent; reads
through ``store.reader``, writes accounts through the same functions as ``agent user``. It must never write a study.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from agent.config import Settings
from agent.errors import ConfigError
from agent.store import audit, users
from agent.store.database import open_database
from agent.store.keys import Keyring
from agent.store.reader.operations import last_step, studies_stepped_since
from agent.store.reader.studies import read_line
from agent.store.reader.study import HistoryLine, read_history
from agent.study import Role


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
        self._keyring = Keyring.open(settings)
        self._database = open_database(settings.data_dir, self._keyring)
        self._seq = last_step()

    def id_of(self, study_uid: str) -> str:
        """Return the id under which the agent keeps a study."""
        return self._keyring.study_id(study_uid)

    def one_time_login(self, name: str, role: str) -> str | None:
        """Return a one-time password for a new account; None when the account is in use already."""
        from agent.web.passwords import create_one_time_login

        user = users.read_user(name)
        if user is not None and not user.one_time:
            return None
        try:
            password = create_one_time_login(name, Role(role), time.time())
        except ConfigError:
            return None
        audit.append(
            self._keyring,
            actor="demo",
            role="",
            source="cli",
            action="user_created",
            object=name,
            detail={"role": role},
        )
        return password

    def steps(self) -> list[Step]:
        """Return what happened since the last call, in order."""
        changed, last = studies_stepped_since(self._seq)
        found = [
            (line.seq, Step(study_id, _words(line)))
            for study_id in changed
            for line in read_history(study_id)
            if self._seq < line.seq <= last and line.from_status != line.to_status
        ]
        self._seq = max(self._seq, last)
        return [step for _, step in sorted(found, key=lambda item: item[0])]

    def status_of(self, study_id: str) -> str | None:
        """Return the status of a study; None while it is not known."""
        line = read_line(study_id)
        return None if line is None else line.status.value

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def _words(line: HistoryLine) -> str:
    before = f"{line.from_status} -> " if line.from_status else ""
    return f"{before}{line.to_status} ({line.trigger})"
