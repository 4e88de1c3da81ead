"""Jobs and the ledger of uploads.

Job: what is to be done and how far it got. Place: writes run inside operations of the writer, reads anywhere. It must never lose what
was sent already: an upload resumes from the ledger.
"""

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
    "KINDS", "JobRow", "NewJob", "cancel", "cancel_older", "claim", "create", "due_jobs", "finish", "living_jobs", "read_job",
    "requeue_running", "reschedule", "save_body",
]  # fmt: skip
