"""Tables of people and operation.

Job: who connected, what is wrong, who may do what and who did what. Place: associations and alarms are written by the
engine's writer thread; commands, users, sessions, tokens and audit by any process. It must never hold behaviour.
"""

from __future__ import annotations

from peewee import AutoField, BooleanField, FloatField, IntegerField, TextField

from agent.store.schema.base import Table


class Association(Table):
    """An association that was opened or refused."""

    id = TextField(primary_key=True)
    calling_aet = TextField()
    called_aet = TextField()
    address = TextField()
    opened_at = FloatField(index=True)
    closed_at = FloatField(null=True)
    outcome = TextField()  # open | released | aborted | refused | lost
    reason = TextField(default="")  # in words
    contexts_json = TextField(default="[]")
    objects = IntegerField(default=0)
    refused_objects = IntegerField(default=0)
    bytes = IntegerField(default=0)
    last_traffic_at = FloatField()


class Alarm(Table):
    """Something a human must know; cleared when it is over."""

    code = TextField(primary_key=True)
    severity = TextField()  # warning | error
    text = TextField()
    hint = TextField()
    raised_at = FloatField()
    cleared_at = FloatField(null=True)


class Command(Table):
    """A command of a person; inserted by web or cli, finished by the study."""

    id = AutoField()
    study_id = TextField(index=True)
    verb = TextField()
    reason = TextField(default="")
    by = TextField()
    role = TextField()
    at = FloatField()
    state = TextField(index=True)  # requested | claimed | done | refused
    outcome = TextField(default="")
    finished_at = FloatField(null=True)


class User(Table):
    """An account."""

    name = TextField(primary_key=True)
    role = TextField()
    password_hash = TextField()
    disabled = BooleanField(default=False)
    one_time = BooleanField(default=False)  # must choose a password at the first login
    expires_at = FloatField(null=True)
    failures = IntegerField(default=0)
    locked_until = FloatField(null=True)
    created_at = FloatField()


class Session(Table):
    """A login."""

    id_hash = TextField(primary_key=True)
    user_name = TextField(index=True)
    created_at = FloatField()
    seen_at = FloatField()
    csrf_secret = TextField()


class Token(Table):
    """An API token."""

    name = TextField(primary_key=True)
    token_hash = TextField(unique=True)
    role = TextField()
    created_at = FloatField()
    used_at = FloatField(null=True)
    disabled = BooleanField(default=False)


class Audit(Table):
    """The hash-chained audit."""

    seq = IntegerField(primary_key=True)
    at = FloatField()
    actor = TextField()
    role = TextField()
    source = TextField()  # address, "cli" or "agent"
    action = TextField(index=True)
    object = TextField(default="")  # study id, user name…
    outcome = TextField()
    detail_json = TextField(default="{}")
    previous = TextField()
    digest = TextField()


class Notice(Table):
    """A notification that was sent, for de-duplication."""

    key = TextField(primary_key=True)
    at = FloatField()
    outcome = TextField()
