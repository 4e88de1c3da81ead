"""When a study is complete: judges that look at one kind of evidence each, and the decision that weighs them.

Place: called by the study's actor; pure functions of rows. It must never touch a clock, a row or a file.
"""

from agent.completeness.decision import decide
from agent.completeness.evidence import Decision, DiffusionNeed, Finding, OpenAssociation, StudyEvidence
from agent.completeness.ledger import InstanceEvidence, StudyLedger

__all__ = [
    "Decision",
    "DiffusionNeed",
    "Finding",
    "InstanceEvidence",
    "OpenAssociation",
    "StudyEvidence",
    "StudyLedger",
    "decide",
]
