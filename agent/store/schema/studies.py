"""Tables of studies, series and instances.

Job: what was received and where a study stands. Place: written by the engine's writer thread. It must never hold
behaviour.
"""

from __future__ import annotations

from peewee import (
    SQL,
    AutoField,
    BlobField,
    BooleanField,
    Check,
    FloatField,
    ForeignKeyField,
    IntegerField,
    TextField,
)

from agent.store.schema.base import Table
from agent.study import status_constraint

NEEDS_A_PERSON = "(status = 'failed' OR held OR needs_review OR conflict OR quarantined) AND NOT deleted"
"""Which studies wait for somebody; a query that says it in these words reads the partial index."""


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

        constraints = (Check(status_constraint()),)
        indexes = ((("status", "updated_at"), False), (("study_date", "study_time"), False))


Study.add_index(SQL(f"CREATE INDEX IF NOT EXISTS study_needs_a_person ON study (updated_at) WHERE {NEEDS_A_PERSON}"))


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
