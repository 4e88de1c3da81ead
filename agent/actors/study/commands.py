"""What a command is answered with.

Job: say whether a command makes sense for a study, and in which words it is answered. Place: called by the study's
actor and the command inbox; pure. The answer is shown to whoever gave the command.
"""

from __future__ import annotations

import json

from agent.store.commands import CommandRow
from agent.store.studies import StudyRow
from agent.study import (
    LOOKS,
    REASON_REQUIRED,
    CommandContext,
    Role,
    Verb,
    allowed_commands,
)

UNKNOWN_STUDY = "There is no such study."

_OUTCOMES: dict[Verb, str] = {
    Verb.FORCE_STABLE: "Declared complete; quality control runs.",
    Verb.RETRY: "The failed step runs again.",
    Verb.OVERRIDE: "Quality control overridden.",
    Verb.REJECT: "Rejected.",
    Verb.REPROCESS: "A new revision runs through quality control.",
    Verb.HOLD: "Held.",
    Verb.RELEASE: "Released.",
    Verb.CANCEL: "Cancelled.",
    Verb.DELETE: "Deleted.",
}


def outcome_of(verb: Verb) -> str:
    """Return what a command that was carried out is answered with."""
    return _OUTCOMES[verb]


def refusal_of(row: StudyRow | None, command: CommandRow) -> str:
    """Return why a command is refused; empty when it is allowed."""
    if row is None:
        return UNKNOWN_STUDY
    try:
        verb, role = Verb(command.verb), Role(command.role)
    except ValueError:
        return "There is no such command."
    if verb in REASON_REQUIRED and not command.reason.strip():
        return "This command needs a reason."
    context = CommandContext(row.flags, row.failed_step)
    if verb not in allowed_commands(row.status, role, context):
        return f"A study that is {LOOKS[row.status].word} does not take this command now, or the role may not give it."
    return ""


def worst_reasons(body_json: str) -> str:
    """Return the reasons of a quality report in one line, for the study's failure text."""
    reasons = json.loads(body_json).get("reasons") or []
    texts = [reason if isinstance(reason, str) else str(reason.get("text", "")) for reason in reasons]
    return " ".join(text for text in texts if text) or "Quality control failed."
