"""Jobs, the ledger of uploads, and the mapping that an upload leaves behind.

Job: what is to be done and how far it got. Place: writes run inside operations of the writer, reads anywhere. It must
never lose what was sent already: an upload resumes from the ledger.
"""

from agent.store.jobs.ledger import (
    LedgerObject,
    LedgerPart,
    PlannedObject,
    mark_excluded,
    mark_sent,
    plan_objects,
    read_ledger,
    record_part,
    start_multipart,
)
from agent.store.jobs.mapping import (
    DeidActionRow,
    ReplacedUid,
    pseudonyms_of,
    read_deid_actions,
    read_old_uid,
    read_pseudonym,
    store_deid_actions,
    store_pseudonym,
    store_uid_mappings,
)
from agent.store.jobs.queue import (
    KINDS,
    JobRow,
    NewJob,
    cancel,
    cancel_older,
    claim,
    create,
    due_jobs,
    finish,
    living_jobs,
    read_job,
    requeue_running,
    reschedule,
    save_body,
)

__all__ = [
    "KINDS", "DeidActionRow", "JobRow", "LedgerObject", "LedgerPart", "NewJob", "PlannedObject", "ReplacedUid",
    "cancel",
    "cancel_older", "claim", "create", "due_jobs", "finish", "living_jobs", "mark_excluded", "mark_sent",
    "plan_objects",
    "pseudonyms_of", "read_deid_actions", "read_job", "read_ledger", "read_old_uid", "read_pseudonym", "record_part",
    "requeue_running", "reschedule", "save_body", "start_multipart", "store_deid_actions", "store_pseudonym",
    "store_uid_mappings",
]  # fmt: skip
