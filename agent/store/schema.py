"""The tables.

Job: every table and column once, with who writes it. Place: used by the aggregates of ``store`` and by nothing above
it. Times are seconds since the epoch, UTC (``*_at``). Columns that hold JSON end in ``_json``. It must never hold
behaviour.

Writers: the engine's writer thread writes everything but users, sessions, tokens, commands (their insertion) and
audit, which any process appends to in short ``BEGIN IMMEDIATE`` transactions.
"""

from __future__ import annotations

from peewee import (
    AutoField,
    BlobField,
    BooleanField,
    Check,
    DatabaseProxy,
    FloatField,
    ForeignKeyField,
    IntegerField,
    Model,
    TextField,
)

from agent.study import status_constraint

SCHEMA_VERSION = 1

database = DatabaseProxy()


class Table(Model):
    """Base of all tables."""

    class Meta:
        """Binding to whichever database this process opened."""

        database = database
        legacy_table_names = False


class Meta(Table):
    """Facts about the database itself (schema version, key check value)."""

    key = TextField(primary_key=True)
    value = TextField()


class StudyKeyRow(Table):
    """Wrapped data keys; written by ``keys``. Deleting a row shreds what was encrypted under it."""

    key_id = TextField(primary_key=True)
    study_id = TextField(null=True, index=True)  # null: in the pool, committed ahead
    wrapped = BlobField()
    created_at = FloatField()

    class Meta:
        """Table name."""

        table_name = "study_key"


class Study(Table):
    """One row a study; status, flags and revision change through ``studies.record_transition`` only."""

    id = TextField(primary_key=True)  # keyed hash of the Study Instance UID: stable, tells nothing
    study_uid = TextField(unique=True)
    status = TextField(index=True)
    revision = IntegerField(default=1)
    held = BooleanField(default=False)
    needs_review = BooleanField(default=False)
    incomplete = BooleanField(default=False)
    conflict = BooleanField(default=False)
    quarantined = BooleanField(default=False)
    deleted = BooleanField(default=False, index=True)
    failed_step = TextField(null=True)
    failure_code = TextField(null=True)
    failure_text = TextField(null=True)  # free of patient data
    # index facts, from the headers of the instances
    patient = TextField(default="", index=True)  # the pseudonym that leaves the hospital
    identifiers = BlobField(null=True)  # agent.dicom.facts.PatientIdentifiers, sealed with the mapping key
    study_date = TextField(default="")  # DICOM DA
    study_time = TextField(default="")  # DICOM TM
    modality = TextField(default="")  # distinct modalities, sorted, joined by "\\"
    description = TextField(default="")
    description_identifies = BooleanField(default=False)
    source_aet = TextField(default="")
    series_received = IntegerField(default=0)
    series_expected = IntegerField(null=True)
    instances_received = IntegerField(default=0)
    instances_expected = IntegerField(null=True)
    first_arrival_at = FloatField()
    last_arrival_at = FloatField()
    # progress
    completeness_json = TextField(default="[]")  # what the judges said last
    deadline_at = FloatField(null=True, index=True)  # when a sleeping study must be looked at
    qc_done = IntegerField(default=0)
    qc_total = IntegerField(default=0)
    qc_verdict = TextField(null=True)
    qc_score = FloatField(null=True)
    order_id = TextField(null=True, index=True)
    upload_done_bytes = IntegerField(default=0)
    upload_total_bytes = IntegerField(default=0)
    upload_done_objects = IntegerField(default=0)
    upload_total_objects = IntegerField(default=0)
    upload_problem = TextField(default="")  # why an upload waits, free of patient data
    cloud_progress = IntegerField(default=0)
    crashes = IntegerField(default=0)
    status_at = FloatField()
    updated_at = FloatField(index=True)

    class Meta:
        """The constraint comes from the status machine."""

        constraints = [Check(status_constraint())]
        indexes = ((("status", "updated_at"), False), (("study_date", "study_time"), False))


class Series(Table):
    """One row a series of a study."""

    id = AutoField()
    study = ForeignKeyField(Study, on_delete="CASCADE", backref="series")
    series_uid = TextField()
    modality = TextField(default="")
    description = TextField(default="")
    number = TextField(default="")
    instances_received = IntegerField(default=0)
    instances_expected = IntegerField(null=True)
    last_arrival_at = FloatField(default=0)

    class Meta:
        """One row a UID."""

        indexes = ((("study", "series_uid"), True),)


class Instance(Table):
    """One row a stored version of a SOP instance: the index of the segments."""

    id = AutoField()
    study = ForeignKeyField(Study, on_delete="CASCADE", backref="instances")
    series_uid = TextField()
    sop_uid = TextField(index=True)
    sop_class_uid = TextField()
    transfer_syntax_uid = TextField()
    size_bytes = IntegerField()
    sha256 = TextField()  # of the data set bytes as received
    key_id = TextField()
    segment = TextField()
    offset = IntegerField()
    length = IntegerField()
    revision = IntegerField()
    version = IntegerField(default=1)  # 2 and more: same SOP Instance UID, other bytes
    active = BooleanField(default=True)
    association_id = TextField()
    calling_aet = TextField()
    called_aet = TextField()
    received_at = FloatField()
    facts_json = TextField()  # agent.dicom.facts.HeaderFacts

    class Meta:
        """A record of a segment is indexed once, however often recovery runs."""

        indexes = (
            (("segment", "offset"), True),
            (("study", "active"), False),
            (("study", "sop_uid"), False),
            (("association_id",), False),
        )


class Duplicate(Table):
    """A record that repeats an instance byte for byte: it counts for nothing but must not be indexed again."""

    id = AutoField()
    study = ForeignKeyField(Study, on_delete="CASCADE")
    sop_uid = TextField()
    segment = TextField()
    offset = IntegerField()
    length = IntegerField()
    association_id = TextField(index=True)
    received_at = FloatField()

    class Meta:
        """A record is counted once, however often recovery runs."""

        indexes = ((("segment", "offset"), True),)


class Segment(Table):
    """What the index knows of a segment file; a file that is shorter was cut."""

    name = TextField(primary_key=True)
    records = IntegerField(default=0)  # indexed, duplicates included
    end_bytes = IntegerField(default=0)  # behind the last record indexed
    settled = BooleanField(default=False)  # closed and completely indexed: recovery does not read it again


class Measurement(Table):
    """What the kernels measured on one instance."""

    instance = ForeignKeyField(Instance, primary_key=True, on_delete="CASCADE")
    study_id = TextField(index=True)
    code = TextField()  # version of the measuring code; another version measures again
    body_json = TextField()


class History(Table):
    """What happened to a study; `seq` is the cursor of live updates."""

    seq = AutoField()
    study_id = TextField(index=True)
    revision = IntegerField()
    from_status = TextField(null=True)
    to_status = TextField()
    trigger = TextField()
    by = TextField()  # "agent", a user name or a token name
    at = FloatField()
    detail_json = TextField(default="{}")


class Job(Table):
    """One piece of work for one revision of a study."""

    id = TextField(primary_key=True)  # random UUID
    study_id = TextField(index=True)
    revision = IntegerField()
    kind = TextField()  # qc | upload | watch
    state = TextField(index=True)  # queued | running | waiting | done | failed | cancelled
    attempts = IntegerField(default=0)
    next_at = FloatField(null=True)
    order_id = TextField(null=True)
    error_code = TextField(null=True)
    body_json = TextField(default="{}")
    created_at = FloatField()
    updated_at = FloatField()


class UploadObject(Table):
    """The ledger of an upload: one row an object of an order."""

    id = AutoField()
    job = ForeignKeyField(Job, on_delete="CASCADE")
    number = IntegerField()
    instance_id = IntegerField()
    key = TextField()
    size_bytes = IntegerField(null=True)
    sha256 = TextField(null=True)
    etag = TextField(null=True)
    multipart_id = TextField(null=True)
    state = TextField()  # planned | sent | excluded
    excluded_because = TextField(null=True)

    class Meta:
        """One row an object."""

        table_name = "upload_object"
        indexes = ((("job", "number"), True),)


class UploadPart(Table):
    """The ledger of the parts of a multipart object."""

    id = AutoField()
    object = ForeignKeyField(UploadObject, on_delete="CASCADE", backref="parts")
    number = IntegerField()
    size_bytes = IntegerField()
    sha256 = TextField()
    etag = TextField()

    class Meta:
        """One row a part."""

        table_name = "upload_part"
        indexes = ((("object", "number"), True),)


class QcReportRow(Table):
    """A quality report of one revision."""

    id = AutoField()
    study_id = TextField(index=True)
    revision = IntegerField()
    verdict = TextField()
    score = FloatField(null=True)
    profile = TextField()
    body_json = TextField()  # agent.qc.verdict.QcReport
    created_at = FloatField()

    class Meta:
        """Table name."""

        table_name = "qc_report"


class QcPicture(Table):
    """A picture of a quality report (PNG)."""

    id = AutoField()
    report = ForeignKeyField(QcReportRow, on_delete="CASCADE", backref="pictures")
    name = TextField()
    caption = TextField()
    body = BlobField()

    class Meta:
        """Table name."""

        table_name = "qc_picture"


class DeidAction(Table):
    """What de-identification did in one revision: counts by tag and action, no values."""

    id = AutoField()
    study_id = TextField(index=True)
    revision = IntegerField()
    tag = TextField()
    keyword = TextField()
    action = TextField()
    count = IntegerField()

    class Meta:
        """Table name."""

        table_name = "deid_action"


class Report(Table):
    """A file that the analysis returned."""

    id = AutoField()
    study_id = TextField(index=True)
    revision = IntegerField()
    order_id = TextField()
    name = TextField()
    media_type = TextField()
    sha256 = TextField()
    body = BlobField()
    superseded = BooleanField(default=False)
    stored_at = FloatField()

    class Meta:
        """One row a file."""

        indexes = ((("order_id", "name"), True),)


class Pseudonym(Table):
    """The way back from a pseudonym to a patient; identifiers are encrypted with the mapping key."""

    pseudonym = TextField(primary_key=True)
    key_version = IntegerField()
    blind_index = TextField(index=True)  # keyed hash of the normalised patient ID
    identifiers = BlobField()  # sealed JSON
    created_at = FloatField()


class UidMapping(Table):
    """The way back from a replaced UID."""

    new_uid = TextField(primary_key=True)
    study_id = TextField(index=True)
    kind = TextField()  # study | series | instance
    old_uid = BlobField()  # sealed

    class Meta:
        """Table name."""

        table_name = "uid_mapping"


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


TABLES: tuple[type[Table], ...] = (
    Meta, StudyKeyRow, Study, Series, Instance, Duplicate, Segment, Measurement, History, Job, UploadObject,
    UploadPart, QcReportRow, QcPicture,
    DeidAction, Report, Pseudonym, UidMapping, Association, Alarm, Command, User, Session, Token, Audit, Notice,
)  # fmt: skip
