"""Connections: why can't PACS1 send?

Place: blueprint ``connections``. The node to copy into the PACS, the known peers, associations open now and
recent ones with what was negotiated and what was refused, in words.
"""

from __future__ import annotations

import socket

from flask import Blueprint, render_template, request
from pydicom.uid import UID

from agent.store.associations import AssociationRow
from agent.store.reader import operations
from agent.web import status_file, words
from agent.web.access import allow
from agent.web.context import web

blueprint = Blueprint("connections", __name__)

CONTEXTS_SHOWN = 60
RESULT_WORDS = {
    1: "refused by the user",
    2: "refused without a reason",
    3: "SOP Class not supported",
    4: "none of its transfer syntaxes is supported",
}
"""PS3.8 table 9-18."""


@blueprint.get("/connections")
@allow()
def index() -> str:
    """Show the node, the peers and the associations."""
    context = web()
    refused = request.args.get("show") == "refused"
    engine = status_file.read(context.settings, context.clock.timestamp())
    recent = operations.recent_associations(50, refused=refused)
    return render_template(
        "connections/connections.html",
        dicom=context.settings.dicom,
        port=engine.dicom_port or context.settings.dicom.port,
        host=_host(context.settings.dicom.host),
        engine=engine,
        open_now=operations.open_associations(),
        recent=[(line, contexts_of(line)) for line in recent],
        refused=refused,
    )


def _host(host: str) -> str:
    """Return a name under which others may reach an address that means every address."""
    return socket.gethostname() if host in ("0.0.0.0", "::", "") else host


def contexts_of(line: AssociationRow) -> list[tuple[str, str, bool]]:
    """Return the presentation contexts of an association: SOP Class, transfer syntax or reason, whether accepted."""
    found = words.from_json(line.contexts_json)
    rows: list[tuple[str, str, bool]] = []
    for item in found if isinstance(found, list) else []:
        if not isinstance(item, dict):
            continue
        result = item.get("result")
        is_accepted = result == 0
        said = uid_name(str(item.get("transfer_syntax", "")))
        if not is_accepted:
            said = RESULT_WORDS.get(result, "refused") if isinstance(result, int) else "refused"
        rows.append((uid_name(str(item.get("abstract_syntax", ""))), said, is_accepted))
    return sorted(rows, key=lambda row: row[2])[:CONTEXTS_SHOWN]


def uid_name(uid: str) -> str:
    """Return the Standard's name of a UID; a UID that has none as it is."""
    name = UID(uid).name
    return name or uid
