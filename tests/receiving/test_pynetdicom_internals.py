"""``agent.dicom.guard`` stands on private names of pynetdicom; when they change this fails first, and says where to look."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import pynetdicom
import pytest
from pynetdicom import evt, fsm
from pynetdicom.acse import ACSE
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import TRANSITION_TABLE
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationSocket

from agent.dicom.raw_association import Rejected

ROOM = Path(pynetdicom.__file__).parents[0]
AGENT = Path(__file__).parents[2] / "agent"


def test_the_version_is_the_one_that_was_read() -> None:
    assert pynetdicom.__version__ == "3.0.4", "read agent/dicom/guard again before moving to another version"


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (ACSE, ["_negotiate_as_acceptor", "send_accept", "is_release_requested", "is_aborted"]),
        (Association, ["_bind_defaults", "_run_reactor", "run_reactor", "set_socket", "kill"]),
        (DIMSEServiceProvider, ["receive_primitive", "send_msg"]),
        (
            DULServiceProvider,
            ["run_reactor", "_is_transport_event", "_read_pdu_data", "_process_recv_primitive", "_decode_pdu"],
        ),
        (AssociationSocket, ["ready", "send", "close", "_shutdown_socket"]),
    ],
)
def test_methods_that_are_overridden_or_called_exist(kind: type, names: list[str]) -> None:
    assert [n for n in names if not hasattr(kind, n)] == []


def test_attributes_that_are_set_exist() -> None:
    association = Association(ApplicationEntity("X"), "acceptor")
    for name in ("_accepted_cx", "_rejected_cx", "_dul_ready", "_kill", "acse", "dul", "dimse", "is_established"):
        assert hasattr(association, name), name
    for name in ("_is_paused", "_reactor_checkpoint", "get_handlers", "requestor", "acceptor"):
        assert hasattr(association, name), name
    assert hasattr(association.dimse, "message")  # None between messages: the fast path looks
    assert hasattr(association.dul, "state_machine")
    for name in (
        "_recv_pdu",
        "_idle_timer",
        "artim_timer",
        "to_provider_queue",
        "to_user_queue",
        "_kill_thread",
        "event_queue",
    ):
        assert hasattr(association.dul, name), name
    for name in ("_abstract_syntax", "_transfer_syntax", "_as_scu", "_as_scp"):
        assert hasattr(PresentationContext(), name), name
    assert evt._INTERVENTION_EVENTS
    assert ("Evt19", "Sta6") in TRANSITION_TABLE
    assert TRANSITION_TABLE["Evt15", "Sta3"] == "AA-1"
    assert TRANSITION_TABLE["Evt10", "Sta6"] == "DT-2", "the fast path does in its stead what DT-2 does"


def test_data_in_state_6_goes_nowhere_but_to_message_assembly() -> None:
    """The fast path calls ``dimse.receive_primitive`` itself; DT-2 must not do more."""
    tree = ast.parse(Path(fsm.__file__).read_text())
    [action] = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "DT_2"]
    called = {n.func.attr for n in ast.walk(action) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)}
    assert called == {"get", "to_primitive", "receive_primitive"}


def test_private_names_are_touched_in_one_package_only() -> None:
    """No other module of the agent imports pynetdicom's private or low-level modules."""
    low = (
        "pynetdicom._",
        "pynetdicom.dul",
        "pynetdicom.fsm",
        "pynetdicom.acse",
        "pynetdicom.dimse.",
        "pynetdicom.transport",
    )
    for path in AGENT.rglob("*.py"):
        if path.parent.name == "guard":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pynetdicom"):
                assert path.parent.name == "dicom", path
                assert not f"{node.module}.".startswith(low), path


def test_a_rejection_survives_pickling() -> None:
    back = pickle.loads(pickle.dumps(Rejected(1, 1, 7)))
    assert (back.result, back.source, back.reason) == (1, 1, 7)
