"""Commands of people: what may be asked for, and the row that asks.

Job: check role, status and reason before a command row is inserted; the study decides and writes the outcome.
Place: used by pages and API alike. It must never change a study.
"""

from __future__ import annotations

from dataclasses import dataclass

from flask import request
from werkzeug.exceptions import Conflict, Forbidden, UnprocessableEntity

from agent.store import commands
from agent.store.reader import study as study_reads
from agent.store.reader.studies import StudyLine
from agent.store.reader.study import CommandLine
from agent.study import REASON_REQUIRED, VERBS_OF_ROLE, CommandContext, Role, Verb, allowed_commands
from agent.web.context import hinted, record, role, user_name
from agent.web.words import VERB_WORDS

REASON_LONGEST = 500
CONFIRMED: frozenset[Verb] = REASON_REQUIRED | {Verb.CANCEL, Verb.REPROCESS}
"""Commands that are asked about before they are given."""
DESTRUCTIVE: frozenset[Verb] = frozenset({Verb.DELETE, Verb.REJECT, Verb.CANCEL})


@dataclass(frozen=True, slots=True)
class Choice:
    """A command that may be given now, as a button shows it."""

    verb: str
    word: str
    meaning: str
    is_confirmed: bool
    needs_reason: bool
    is_destructive: bool


def choices(line: StudyLine, of_role: Role | None = None) -> list[Choice]:
    """Return the commands that whoever is asking may give to a study now."""
    context = CommandContext(line.flags, line.step)
    return [choice(verb) for verb in allowed_commands(line.status, of_role or role(), context)]


def choice(verb: Verb) -> Choice:
    """Return how a command is shown."""
    word, meaning = VERB_WORDS[verb]
    return Choice(verb.value, word, meaning, verb in CONFIRMED, verb in REASON_REQUIRED, verb in DESTRUCTIVE)


def verb_named(word: str) -> Verb:
    """Return a command by its name.

    Raises
    ------
    UnprocessableEntity
        If there is no such command.
    """
    try:
        return Verb(word)
    except ValueError:
        named = ", ".join(verb.value for verb in Verb)
        raise hinted(UnprocessableEntity("There is no such command."), f"Commands are {named}.") from None


def refusal(line: StudyLine, verb: Verb) -> str:
    """Return why a command makes no sense for a study now; empty when it does."""
    if verb in allowed_commands(line.status, role(), CommandContext(line.flags, line.step)):
        return ""
    if line.deleted:
        return "The images of this study are deleted."
    return f"{VERB_WORDS[verb][0]} is not possible while the study is {line.status.value.replace('_', ' ')}."


def _allowed_words(line: StudyLine) -> str:
    allowed = [choice.verb for choice in choices(line)]
    return f"Allowed now: {', '.join(allowed)}." if allowed else "No command is allowed for your role now."


def give(line: StudyLine, verb: Verb, reason: str) -> CommandLine:
    """Insert the row of a command.

    Parameters
    ----------
    line : StudyLine
        The study as it stands.
    verb : Verb
        What is asked for.
    reason : str
        Why; some commands need one.

    Raises
    ------
    Forbidden
        If the role does not include the command (written to the audit).
    Conflict
        If it makes no sense for the study now.
    UnprocessableEntity
        If a reason is missing or too long.
    """
    if verb not in VERBS_OF_ROLE[role()]:
        record("command_refused", line.id, outcome="refused", detail={"verb": verb.value})
        able = [one.value for one in Role if verb in VERBS_OF_ROLE[one]]
        raise hinted(
            Forbidden(f"Your role does not include {VERB_WORDS[verb][0].lower()}."),
            f"It needs the role {' or '.join(able)}.",
        )
    because = refusal(line, verb)
    if because:
        raise hinted(Conflict(because), _allowed_words(line))
    reason = " ".join(reason.split())
    if verb in REASON_REQUIRED and not reason:
        raise UnprocessableEntity(f"{VERB_WORDS[verb][0]} needs a reason.")
    if len(reason) > REASON_LONGEST:
        raise UnprocessableEntity(f"The reason is longer than {REASON_LONGEST} characters.")
    command_id = commands.insert_command(
        commands.NewCommand(line.id, verb.value, user_name(), role().value, reason, request.remote_addr or "")
    )
    given = study_reads.read_command(command_id)
    assert given is not None
    return given
