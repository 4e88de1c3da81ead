"""What the rules keep, what they drop, what the object says about itself."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread

from agent.deid.part10 import IMPLEMENTATION_CLASS_UID
from agent.deid.pseudonyms import PseudonymKeys, identifier_pseudonym, new_uid, patient_pseudonym
from agent.deid.rules import annex_e
from agent.deid.rules.compile import compile_rules
from agent.deid.rules.profile import load_profile
from agent.deid.rules.vocabulary import load_vocabulary
from agent.deid.values import capped_age
from agent.deid.worker import deidentify_bytes
from agent.errors import ConfigError, DeidError
from tests.deid.planted import BIG, DEFLATED, EXPLICIT, IMPLICIT, encode, set_raw
from tests.dicom_files import make_image


def clean(ds: Dataset, keys: PseudonymKeys, syntax: str = EXPLICIT, profile: str = "basic") -> Any:
    done = deidentify_bytes(encode(ds, syntax), syntax, keys, profile)
    assert done.excluded_because is None
    return dcmread(BytesIO(done.data))


def test_identity_becomes_a_pseudonym_everywhere(keys: PseudonymKeys) -> None:
    ds = make_image()
    after = clean(ds, keys)
    pseudonym = patient_pseudonym(keys, "TEST-0001", "")
    assert after.PatientID == after.PatientName == pseudonym
    assert after.AccessionNumber == identifier_pseudonym(keys, "accession", "ACC0001")
    assert after.StudyInstanceUID == new_uid(keys, ds.StudyInstanceUID)
    assert after.PatientBirthDate == "" and after.ReferringPhysicianName == ""
    assert after.PatientSex == "F" and after.PatientAge == "065Y"
    assert after.PixelData == ds.PixelData


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, DEFLATED])
def test_every_encoding_gives_the_same_elements(syntax: str, keys: PseudonymKeys) -> None:
    ds = make_image(PixelData=None)
    ds.ReferencedImageSequence = [Dataset()]
    ds.ReferencedImageSequence[0].ReferencedSOPInstanceUID = "1.2.3.4.5"
    after = clean(ds, keys, syntax)
    assert after.file_meta.TransferSyntaxUID == (EXPLICIT if syntax == DEFLATED else syntax)
    assert after.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    reference = clean(ds, keys)
    assert [(e.tag, e.value) for e in after] == [(e.tag, e.value) for e in reference]


def test_the_same_input_gives_the_same_bytes(keys: PseudonymKeys) -> None:
    source = encode(make_image(), EXPLICIT)
    first, second = (deidentify_bytes(source, EXPLICIT, keys, "basic") for _ in range(2))
    assert first.data == second.data and first.sha256 == second.sha256


def codes(after: Dataset) -> set[str]:
    return {item.CodeValue for item in after.DeidentificationMethodCodeSequence}


@pytest.mark.parametrize(
    ("dates", "mark", "code"),
    [("shift", "MODIFIED", "113107"), ("keep", "UNMODIFIED", "113106"), ("remove", "REMOVED", None)],
)
def test_only_codes_that_were_applied_are_marked(dates: str, mark: str, code: str | None, keys: PseudonymKeys) -> None:
    keys = PseudonymKeys(keys.secret, 1, "ANON", dates)
    after = clean(make_image(), keys)
    assert after.PatientIdentityRemoved == "YES"
    assert after.LongitudinalTemporalInformationModified == mark
    assert codes(after) == {"113100", "113105", "113108"} | ({code} if code else set())
    bare = make_image(
        PatientAge=None, PatientSex=None, StudyDescription=None, SeriesDescription=None, StudyDate=None, StudyTime=None
    )
    assert codes(clean(bare, keys)) == {"113100"}
    set_raw(bare, 0x20010010, "LO", "Philips Imaging DD 001")
    set_raw(bare, 0x20011003, "FL", 1000.0)
    assert codes(clean(bare, keys)) == {"113100", "113111"}


def test_kept_dates_are_the_received_ones(keys: PseudonymKeys) -> None:
    ds = make_image(AcquisitionDateTime="20260102101500.123+0100")
    kept = clean(ds, PseudonymKeys(keys.secret, 1, "ANON", "keep"))
    assert kept.StudyDate == "20260102" and kept.AcquisitionDateTime == "20260102101500.123+0100"
    removed = clean(ds, PseudonymKeys(keys.secret, 1, "ANON", "remove"))
    assert removed.StudyDate == "" and removed.StudyTime == "" and not removed.get("AcquisitionDateTime")


@pytest.mark.parametrize(
    ("age", "kept"),
    [
        ("089Y", "089Y"),
        ("090Y", "090Y"),
        ("104Y", "090Y"),
        ("999M", "999M"),
        ("012W", "012W"),
        ("095", ""),
        ("old", ""),
    ],
)
def test_ages_above_89_are_capped(age: str, kept: str) -> None:
    assert capped_age(age) == kept


def test_descriptions_are_rebuilt_from_known_words(keys: PseudonymKeys) -> None:
    ds = make_image(patient_name="Sharp^Anna")
    ds.SeriesDescription = "ep2d_diff b1000 2.5mm Anna's T1 SHARP *axial* 77123409 Smith"
    ds.StudyDescription = "Brain Ottokarsen urgent"
    after = clean(ds, keys)
    assert after.SeriesDescription == "b1000 2.5mm T1 AXIAL"
    assert after.StudyDescription == "BRAIN"


def test_codes_stay_only_when_the_dictionaries_know_them(keys: PseudonymKeys) -> None:
    known, unknown = Dataset(), Dataset()
    known.CodeValue, known.CodingSchemeDesignator, known.CodeMeaning = "121322", "DCM", "Ottokarsen's image"
    unknown.CodeValue, unknown.CodingSchemeDesignator, unknown.CodeMeaning = "MRH", "99NOWHERE", "MR Ottokarsen"
    ds = make_image(AnatomicRegionSequence=[known, unknown])
    kept, dropped = clean(ds, keys).AnatomicRegionSequence
    assert kept.CodeMeaning == "Source image for image processing operation"
    assert len(dropped) == 0


def test_private_elements_are_found_by_creator_not_by_tag(keys: PseudonymKeys) -> None:
    ds = make_image()
    set_raw(ds, 0x20010033, "LO", "Philips Imaging DD 001")  # another block than usual
    set_raw(ds, 0x20013303, "FL", 1000.0)
    set_raw(ds, 0x20010010, "LO", "SOMEONE ELSE")
    set_raw(ds, 0x20011003, "FL", 7.0)
    after = clean(ds, keys)
    assert after[0x20013303].value == 1000.0 and 0x20011003 not in after and 0x20010010 not in after


def test_binary_numbers_of_another_length_or_with_text_are_dropped(keys: PseudonymKeys) -> None:
    ds = make_image()
    ds.add_new(0x00180086, "IS", "1")
    ds.DiffusionBValue = struct.unpack("<d", b"OTTOKARS")[0]
    ds.RepetitionTime = "2000"
    set_raw(ds, 0x00189098, "FD", [1.0, 2.0, 3.0])  # one or two values in the Standard
    set_raw(ds, 0x00189089, "FD", [1.0, 0.0, 0.0])
    after = clean(ds, keys)
    assert "DiffusionBValue" not in after and list(after.DiffusionGradientOrientation) == [1.0, 0.0, 0.0]


def _nested(depth: int) -> Dataset:
    inner = Dataset()
    for _ in range(depth):
        outer = Dataset()
        outer.SourceImageSequence = [inner]
        inner = outer
    return inner


def test_items_up_to_32_deep_are_cleaned_and_deeper_ones_refused(keys: PseudonymKeys) -> None:
    ds = make_image(SourceImageSequence=_nested(32).SourceImageSequence)
    assert clean(ds, keys).SourceImageSequence
    for depth in (33, 400):
        ds = make_image()
        body = b""
        for _ in range(depth):
            item = b"\xfe\xff\x00\xe0" + len(body).to_bytes(4, "little") + body
            body = b"\x08\x00\x12\x21SQ\x00\x00" + len(item).to_bytes(4, "little") + item
        done = deidentify_bytes(encode(ds, EXPLICIT) + body, EXPLICIT, keys, "basic")
        assert done.data == b"" and "deeper than 32" in str(done.excluded_because)


def test_a_short_table_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c

    assert len(annex_e.annex_e_actions()) >= 650 - 5
    monkeypatch.setattr(dicomfields_2026c, "X_TAGS", dicomfields_2026c.X_TAGS[:100])
    annex_e.annex_e_actions.cache_clear()
    with pytest.raises(DeidError, match="rows; at least 650"):
        annex_e.annex_e_actions()
    monkeypatch.undo()
    annex_e.annex_e_actions.cache_clear()
    with pytest.raises(DeidError, match="cannot be loaded"):
        annex_e.annex_e_actions("1999z")


def test_every_listed_attribute_has_a_rule_and_none_is_kept_by_the_keep_list() -> None:
    rules = compile_rules("basic", "remove")
    allowed = {"UID replaced", "UID replaced unless well known", "pseudonym", "pseudonym of the accession number", "pseudonym of the study ID", "removed", "emptied",
               "replaced by a dummy", "sequence cleaned", "text rebuilt from known words"}  # fmt: skip
    characteristics = set(rules.profile.patient_characteristics)
    for tag, action in annex_e.annex_e_actions().items():
        rule = rules.public[tag]
        assert rule.action.value in allowed or rule.keyword in characteristics, (rule, action)
        if rule.action.value == "sequence cleaned":
            assert rule.keyword in ("SourceImageSequence", "ReferencedImageSequence")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('name = "x"\nversion = 1\ndescriptor = []', "did you mean descriptors?"),
        ('name = "x"\nversion = 0', "version = 0"),
        ('name = "x"\nversion = 1\npatient_characteristics = ["PatientName"]', "PatientName cannot be kept"),
        ('name = "x"\nversion = 1\ndescriptors = ["Rows"]', "Rows is not the keyword of a text attribute"),
        ('name = "x"\nversion = 1\nextra_words = ["two words"]', "extra_words.0"),
        ('name = "x"\nversion = 1\n[[private]]\ncreator = "A"\ngroup = 8\nelements = {}', "8"),
        ("name = ", "not valid TOML"),
    ],
)
def test_a_profile_that_does_not_fit_says_where(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=".*") as caught:
        load_profile(str(file))
    assert says in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_profile_that_is_not_there_names_the_near_one() -> None:
    with pytest.raises(ConfigError, match="Did you mean basic"):
        load_profile("basik")


def test_a_site_profile_adds_words_and_removes_attributes(tmp_path: Path, keys: PseudonymKeys) -> None:
    file = tmp_path / "site.toml"
    file.write_text(
        'name = "site"\nversion = 2\ndescriptors = ["SeriesDescription"]\nextra_words = ["Nigrosoma"]\nremove = ["EchoTime"]\n'
        'secondary_images = "keep"\n'
    )
    ds = make_image(
        SeriesDescription="nigrosoma T1", EchoTime=3.0, ImageType=["DERIVED", "SECONDARY", "MPR"], PatientWeight=70
    )
    after = clean(ds, keys, profile=str(file))
    assert after.SeriesDescription == "Nigrosoma T1"
    assert "EchoTime" not in after and "PatientWeight" not in after and "StudyDescription" not in after


def test_image_type_keeps_its_positions() -> None:
    vocabulary = load_vocabulary()
    assert vocabulary.clean_terms(b"ORIGINAL\\PRIMARY\\OTTOKARSEN\\NONE ") == b"ORIGINAL\\PRIMARY\\OTHER\\NONE"
    assert vocabulary.clean_terms(b"OTTOKARSEN") is None
    assert vocabulary.clean_terms(b"") == b""
