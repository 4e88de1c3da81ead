"""Tables of work and what comes of it.

Job: jobs, the ledger of uploads, reports and the way back from pseudonyms. Place: written by the engine's writer
thread. It must never hold behaviour, nor an identifier that is not sealed.
"""

from __future__ import annotations

from peewee import AutoField, BlobField, BooleanField, FloatField, ForeignKeyField, IntegerField, TextField

from agent.store.schema.base import Table


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
