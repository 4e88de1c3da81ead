"""A real SCU sends; what it gets back and what is kept."""

from __future__ import annotations

from pathlib import Path

from pynetdicom import AE
from pynetdicom.sop_class import MRImageStorage, Verification

from tests.dicom_files import as_part10, make_series
from tests.receiving.books import receiving


def test_every_image_of_a_series_is_acknowledged_and_kept(tmp_path: Path) -> None:
    datasets = make_series(5)
    for ds in datasets:
        as_part10(ds)
    ae = AE("SENDER")
    ae.add_requested_context(MRImageStorage)
    ae.add_requested_context(Verification)
    with receiving(tmp_path) as stand:
        association = ae.associate("127.0.0.1", stand.port, ae_title="NEUROPACS_AGENT")
        assert association.is_established
        assert association.send_c_echo().Status == 0
        assert [association.send_c_store(ds).Status for ds in datasets] == [0] * 5
        association.release()
        stand.books.wait(lambda: len(stand.books.closed) == 1)
        assert len(stand.books.records) == 5
        assert stand.books.closed[0].outcome == "released"
        assert stand.books.closed[0].objects == 5
        assert sum(stand.digests().values()) == 5
        assert stand.books.key_requests == 1
