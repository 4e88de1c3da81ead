"""The table of PS3.15 Annex E, as data.

Job: read the attribute table of the Basic Profile that ``dicom-anonymizer`` carries and give it as one dictionary.
Place: called by ``compile`` once a process; calls only that package's data modules, never its engine (which does not
walk into sequences). It must refuse a table that is too short: a missing row would not be noticed later.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Literal

from agent.errors import DeidError

EDITION = "2026c"
ROWS_EXPECTED = 650

AnnexAction = Literal["D", "Z", "X", "U", "Z/D", "X/Z", "X/D", "X/Z/D", "X/Z/U*"]

_CATEGORIES: dict[str, AnnexAction] = {
    "D_TAGS": "D", "Z_TAGS": "Z", "X_TAGS": "X", "U_TAGS": "U", "Z_D_TAGS": "Z/D", "X_Z_TAGS": "X/Z",
    "X_D_TAGS": "X/D", "X_Z_D_TAGS": "X/Z/D", "X_Z_U_STAR_TAGS": "X/Z/U*",
}  # fmt: skip


@cache
def annex_e_actions(edition: str = EDITION) -> dict[int, AnnexAction]:
    """Return the action of each attribute of Table E.1-1.

    Parameters
    ----------
    edition : str
        Edition of the Standard the table was taken from.

    Returns
    -------
    dict of int to str
        Action by tag. Rows with wildcards (curves, overlays) are left out: those groups are dropped whole.

    Raises
    ------
    DeidError
        When the table is missing or has fewer than 650 rows.
    """
    try:
        module = importlib.import_module(f"dicomanonymizer.dicom_anonymization_databases.dicomfields_{edition}")
        tables = {action: list(getattr(module, name)) for name, action in _CATEGORIES.items()}
    except (ImportError, AttributeError) as error:
        raise DeidError(
            f"The de-identification table {edition} cannot be loaded.",
            code="deid_table",
            hint="Install dicom-anonymizer 2.1.0, as requirements.lock says.",
        ) from error
    rows = sum(len(table) for table in tables.values())
    if rows < ROWS_EXPECTED:
        raise DeidError(
            f"The de-identification table {edition} has {rows} rows; at least {ROWS_EXPECTED} are expected.",
            code="deid_table",
            hint="Install dicom-anonymizer 2.1.0, as requirements.lock says.",
        )
    return {row[0] << 16 | row[1]: action for action, table in tables.items() for row in table if len(row) == 2}
