"""Commands of people, from rows to studies.

Job: notice new command rows, claim them, deliver each to its study by way of the registry. Place: woken ten times a
second by the timer; looks into the table only when the database says that somebody else has committed. It must never
answer a command that a study can answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from agent.actors.base import BaseActor
from agent.actors.study.commands import UNKNOWN_STUDY
from agent.actors.surroundings import Surroundings
from agent.messages import Begin, CommandGiven, InboxMessage, LookForCommands
from agent.store import commands, database, studies
from agent.store.commands import CommandRow
from agent.store.reader.operations import commands_waiting


class CommandInbox(BaseActor[InboxMessage]):
    """Claims and delivers.

    Parameters
    ----------
    around : Surroundings
        What every actor is given.
    """

    kind = "inbox"

    def __init__(self, around: Surroundings, on_crash: Callable[[], None]) -> None:
        super().__init__(on_crash)
        self._around = around
        self._version = -1

    def begin(self) -> None:
        """Deliver again what an earlier life had claimed and nobody has answered."""
        self._around.write(commands.release_claimed)
        self._claim()

    def receive(self, message: InboxMessage) -> None:
        """Look whether something was committed."""
        match message:
            case Begin():
                pass
            case LookForCommands():
                version = database.data_version()
                if version != self._version:
                    self._version = version
                    self._claim()
            case _ as never:
                assert_never(never)

    def on_stop(self) -> None:
        """Close this thread's connection."""
        database.current().close()

    def _claim(self) -> None:
        if not commands_waiting():
            return
        for command in self._around.write(commands.claim_requested):
            self._deliver(command)

    def _deliver(self, command: CommandRow) -> None:
        if self._around.read(lambda: studies.read_study(command.study_id)) is None:
            at = self._around.clock.timestamp()
            self._around.write(lambda: commands.finish(command.id, UNKNOWN_STUDY, done=False, at=at))
        else:
            self._around.post.study(command.study_id, CommandGiven(command.id))
