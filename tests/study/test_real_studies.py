"""Real studies of every kind through the agent: each comes to rest, none is lost, no actor fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from agent.store.reader.studies import StudyQuery, read_studies
from agent.study import StudyStatus
from tests.study.agents import running, settings_for, wait_until

AT_REST = (StudyStatus.QC_PASSED, StudyStatus.FAILED)


@pytest.mark.parametrize("kind", ["mr_brain_dwi", "ct", "enhanced_multiframe", "non_image", "mr_other"])
def test_real_studies_come_to_rest(tmp_path: Path, real_data: Path, kind: str) -> None:
    folder = real_data / kind
    if not folder.is_dir():
        pytest.skip(f"no {kind}")
    with running(settings_for(tmp_path, study={"max_wait_s": 2})) as agent:
        stored = agent.send(folder).counts().get("stored", 0)
        assert stored

        def rest() -> bool:
            page = agent.read(lambda: read_studies(StudyQuery(page_size=200)))
            assert not [line for line in page.items if line.failure_code in ("internal", "qc_internal")]
            return bool(page.items) and all(line.status in AT_REST or line.needs_review for line in page.items)

        wait_until(rest, "every study rests")
