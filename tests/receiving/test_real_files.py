"""Every real file with a storage SOP class goes in by a raw sender, and comes back byte for byte."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from agent.dicom.raw_association import read_part10
from agent.dicom.scu import SendRequest, find_files, send
from tests.receiving.books import receiving

# what the data set itself lacks: no SOP Instance UID anywhere in it
NO_UIDS = {"chrSQEncoding.dcm", "UN_sequence.dcm", "priv_SQ.dcm", "no_meta_group_length.dcm"}


def test_wire_bytes_of_every_real_file_come_back(real_data: Path, tmp_path: Path) -> None:
    with receiving(tmp_path, receivers=1) as stand:
        summary = send([real_data], SendRequest("127.0.0.1", stand.port, "NEUROPACS_AGENT", associations=2))
        stand.books.wait(lambda: len(stand.books.closed) >= 2)
        refused = {f.path.name: f.status for f in summary.files if f.outcome == "refused"}
        assert refused == dict.fromkeys(NO_UIDS, 0xC000)
        assert not summary.counts().get("failed")
        expected: Counter[str] = Counter()
        for sent in summary.files:
            if sent.outcome == "stored":
                file = read_part10(sent.path)
                expected[hashlib.sha256(sent.path.read_bytes()[file.offset :]).hexdigest()] += 1
        assert sum(expected.values()) > 850
        assert stand.digests() == expected
        skipped = {f.path.name for f in summary.files if f.outcome == "skipped"}
        print(sorted(skipped))
        assert "DICOMDIR" in skipped
        studies = {r.header.study_uid for r in stand.books.records}
        assert stand.books.key_requests == len(studies)
