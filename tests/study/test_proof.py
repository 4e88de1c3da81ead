"""A study that proves to be complete is Stable at once; one without proof waits until nothing comes any more."""

from __future__ import annotations

from pathlib import Path

from agent.study import StudyStatus
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage, generate_uid
from tests.dicom_files import make_image, write_series
from tests.study.agents import Agent, made_study, running, settings_for

NEVER_QUIET = {"quiet_s": 600, "series_quiet_s": 600, "max_wait_s": 3600}
SLICES, DIRECTIONS = 4, 6
AFTER_QC = (StudyStatus.QC_PASSED, StudyStatus.FAILED)


def enhanced_head(frames: int = 4) -> Dataset:
    """One enhanced CT object: its header counts the frames it holds."""
    ds = make_image(modality="CT", SOPClassUID=EnhancedCTImageStorage, BodyPartExamined="HEAD", NumberOfFrames=frames)
    ds.PixelData = ds.PixelData * frames
    return ds


def philips_diffusion() -> list[Dataset]:
    """A diffusion series whose private elements count its slices, b values and directions."""
    study, series = generate_uid(), generate_uid()
    images = []
    for volume in range(1 + DIRECTIONS):
        for z in range(SLICES):
            ds = make_image(study_uid=study, series_uid=series, number=1 + volume * SLICES + z, shape=(16, 16))
            ds.ImagePositionPatient = [0, 0, 2.0 * z]
            ds.DiffusionBValue = 1000.0 if volume else 0.0
            if volume:
                ds.DiffusionGradientOrientation = [1.0, 0.1 * volume, 0.0]
            ds.private_block(0x2001, "Philips Imaging DD 001", create=True).add_new(0x18, "SL", SLICES)
            more = ds.private_block(0x2005, "Philips MR Imaging DD 005", create=True)
            more.add_new(0x14, "SL", 2)
            more.add_new(0x15, "SL", DIRECTIONS)
            images.append(ds)
    return images


def seconds_to_stable(agent: Agent, study_uid: str) -> float:
    """From the end of the last association, or the last image, to Stable, as rows and history say."""
    assert agent.engine.around is not None
    agent.wait_for(study_uid, StudyStatus.STABLE, *AFTER_QC)
    stable = next(line for line in agent.history(study_uid) if line.to_status == "stable")
    assert stable.trigger == "found_complete"
    closed = agent.read(last_association_end)
    return float(stable.at - closed)


def last_association_end() -> float:
    from agent.store.database import query

    return float(query("SELECT max(closed_at) FROM association")[0][0])


def test_an_enhanced_object_that_holds_all_its_frames_makes_its_study_stable_at_once(tmp_path: Path) -> None:
    with running(settings_for(tmp_path, study=NEVER_QUIET)) as agent:
        ds = enhanced_head()
        assert agent.send(*write_series(tmp_path / "files", [ds])).ok
        assert seconds_to_stable(agent, ds.StudyInstanceUID) < 10  # a second by design, whatever else this machine does


def test_a_diffusion_study_is_stable_with_the_last_image_its_scanner_counted(tmp_path: Path) -> None:
    with running(settings_for(tmp_path, study=NEVER_QUIET)) as agent:
        images = philips_diffusion()
        uid = images[0].StudyInstanceUID
        paths = write_series(tmp_path / "files", images)
        assert agent.send(*paths[:-1]).ok
        agent.wait_for(uid, StudyStatus.UNSTABLE)
        assert agent.send(paths[-1]).ok
        assert seconds_to_stable(agent, uid) < 10
        assert agent.study(uid).revision == 1


def test_a_study_that_nothing_proves_waits_for_quiet_time(tmp_path: Path) -> None:
    with running(settings_for(tmp_path, study={"quiet_s": 2, "series_quiet_s": 2})) as agent:
        uid, paths = made_study(tmp_path / "files")
        assert agent.send(*paths).ok
        agent.wait_for(uid, StudyStatus.STABLE, *AFTER_QC)
        stable = next(line for line in agent.history(uid) if line.to_status == "stable")
        assert stable.trigger == "waited_out"
        assert stable.at - agent.read(last_association_end) > 1
