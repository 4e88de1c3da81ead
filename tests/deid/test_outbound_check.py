"""The outbound check catches what a broken engine lets through, and leaves clean objects alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agent.deid import engine as engine_module
from agent.deid import outbound, worker
from agent.deid.elements import EXPLICIT_LITTLE
from agent.deid.engine import Engine, read_source
from agent.deid.outbound import OutboundCheck, check_text, collect_identifiers
from agent.deid.part10 import part10_start
from agent.deid.pseudonyms import PseudonymKeys
from agent.deid.rules.compile import Action, Rule, Rules
from agent.errors import DeidError
from tests.deid.planted import EXPLICIT, encode, set_raw
from tests.dicom_files import make_image


def person() -> Any:
    ds = make_image(patient_id="77123409", patient_name="Ottokarsen^Wilhelmine")
    ds.PatientBirthDate = "19310417"
    ds.InstitutionName = "Klinikum Nirgendwo"
    ds.ReferringPhysicianName = "Quacksalber^Anton"
    ds.PatientTelephoneNumbers = "555-0199-42"
    ds.StationName = "MRNOWHERE1"
    ds.AccessionNumber = "ACC4455667"
    ds.SeriesDescription = "T1 Ottokarsen axial"
    set_raw(ds, 0x00990010, "LO", "NOWHERE SCANNER")
    set_raw(ds, 0x00991001, "LO", "note for Wilhelmine Ottokarsen")
    return ds


def send(ds: Any, rules: Rules, keys: PseudonymKeys, tail: bytes = b"") -> None:
    data = encode(ds, EXPLICIT)
    clean = Engine(rules, keys).clean(read_source(data, EXPLICIT_LITTLE, EXPLICIT))
    outgoing = part10_start(clean.sop_class_uid, clean.sop_uid, EXPLICIT) + b"".join(clean.chunks) + tail
    OutboundCheck(collect_identifiers(data, EXPLICIT)).check(outgoing)


def keep(rules: Rules, *tags: int) -> Rules:
    public = {**rules.public, **{tag: Rule(Action.TERMS, "broken", "LO") for tag in tags}}
    terms = _Everything()
    return replace(rules, public=public, vocabulary=replace(rules.vocabulary, terms=terms))  # type: ignore[arg-type]


class _Everything(frozenset[bytes]):
    def __contains__(self, item: object) -> bool:
        return True


def test_what_the_whole_engine_cleans_may_leave(rules: Rules, keys: PseudonymKeys) -> None:
    send(person(), rules, keys)


@pytest.mark.parametrize(
    "tag",
    [0x00100010, 0x00100020, 0x00100030, 0x00080050, 0x00080080, 0x00080090, 0x00081010, 0x00102154, 0x0008103E, 0x0020000D,
     0x00080018],
    ids=["name", "id", "birth date", "accession", "institution", "physician", "station", "telephone", "description", "study uid",
         "sop uid"],
)  # fmt: skip
def test_an_attribute_that_the_engine_forgets_is_caught(tag: int, rules: Rules, keys: PseudonymKeys) -> None:
    with pytest.raises(DeidError) as caught:
        send(person(), keep(rules, tag), keys)
    assert caught.value.code == "outbound_hit"
    for value in ("Ottokarsen", "77123409", "1931", "Nirgendwo", "0010,", "PatientName"):
        assert value.lower() not in str(caught.value).lower()


def test_sequences_that_are_not_walked_into_are_caught(
    rules: Rules, keys: PseudonymKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pydicom.dataset import Dataset

    ds = person()
    item = Dataset()
    item.PatientID = "77123409"
    ds.ReferencedImageSequence = [item]
    send(ds, rules, keys)
    monkeypatch.setattr(engine_module._Walk, "_sequence", lambda self, element, *_: [self._whole(element)])
    with pytest.raises(DeidError, match="identifier"):
        send(ds, rules, keys)


def test_uids_in_sequences_that_are_not_walked_into_are_caught(
    rules: Rules, keys: PseudonymKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pydicom.dataset import Dataset
    from pydicom.uid import generate_uid

    ds = person()
    item = Dataset()
    item.ReferencedSOPInstanceUID = generate_uid()
    ds.SourceImageSequence = [item]
    monkeypatch.setattr(engine_module._Walk, "_sequence", lambda self, element, *_: [self._whole(element)])
    with pytest.raises(DeidError, match="identifier"):
        send(ds, rules, keys)


def test_private_elements_that_are_kept_are_caught(
    rules: Rules, keys: PseudonymKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = replace(rules, private={("NOWHERE SCANNER", 0x99, 1): Rule(Action.TERMS, "broken", "LO")})
    broken = replace(broken, vocabulary=replace(rules.vocabulary, terms=_Everything()))
    with pytest.raises(DeidError, match="identifier"):
        send(person(), broken, keys)


@pytest.mark.parametrize(
    "text",
    ["OTTOKARSEN", "ottokarsen", "Wilhelmine Ottokarsen", "xx77123409yy", "1931-04-17", "04/17/1931", "17.04.1931", "555019942",
     "Quacksalber", "klinikum nirgendwo"],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_spellings_behind_the_pixels_are_caught(text: str, encoding: str, rules: Rules, keys: PseudonymKeys) -> None:
    body = text.encode(encoding)
    padding = b"\xfc\xff\xfc\xffOB\x00\x00" + (len(body) + 2).to_bytes(4, "little") + b"\x00\x00" + body
    if len(body) & 1:
        padding += b"\x00"
        padding = padding.replace((len(body) + 2).to_bytes(4, "little"), (len(body) + 3).to_bytes(4, "little"), 1)
    with pytest.raises(DeidError, match="identifier"):
        send(person(), rules, keys, padding)


def test_a_comment_inside_compressed_pixels_is_caught(keys: PseudonymKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    from agent.deid import pixels
    from tests.deid.test_compressed_pixels import jpeg_object

    ds, syntax = jpeg_object(comment=b"scan of Wilhelmine Ottokarsen", patient_name="Ottokarsen^Wilhelmine")
    data = encode(ds, syntax)
    assert b"Ottokarsen" not in worker.deidentify_bytes(data, syntax, keys, "basic").data
    monkeypatch.setattr(pixels, "strip_jpeg", lambda fragment: fragment)
    with pytest.raises(DeidError, match="identifier"):
        worker.deidentify_bytes(data, syntax, keys, "basic")


def test_identifiers_known_from_elsewhere_are_looked_for(keys: PseudonymKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    ds = make_image(patient_id="", patient_name="")
    ds.ReceiveCoilName, ds.SoftwareVersions = "BODY", "12.34.56"
    data = encode(ds, EXPLICIT)
    worker.deidentify_bytes(data, EXPLICIT, keys, "basic", ("OTHER-99",))
    assert b"12.34.56" not in worker.deidentify_bytes(data, EXPLICIT, keys, "basic", ("12.34.56",)).data
    with pytest.raises(DeidError, match="identifier"):
        worker.deidentify_bytes(data, EXPLICIT, keys, "basic", ("agent profile",))


def test_pixels_by_chance_are_no_hit(rules: Rules, keys: PseudonymKeys) -> None:
    """Ramps, constants and noise of a megabyte hold short tokens; none may block an object."""
    rng = np.random.default_rng(7)
    ramp = np.tile(np.arange(256, dtype=np.uint8), 1024)
    for pixels in (ramp, np.full(1 << 18, 0x30, np.uint8), rng.integers(0x30, 0x7A, 1 << 20, dtype=np.uint8)):
        for patient_id, name in [
            ("12345678", "Abcdefgh^Lisa"),
            ("00000000", "Lee^Ann"),
            ("1", "M^X"),
            ("4711", "Brain^Head"),
        ]:
            ds = make_image(patient_id=patient_id, patient_name=name, shape=(512, len(pixels) // 1024))
            ds.PixelData = pixels.tobytes()
            ds["PixelData"].VR = "OW"
            ds.StudyID = "1"
            send(ds, rules, keys)


def test_common_words_and_equipment_are_no_identifiers(rules: Rules, keys: PseudonymKeys) -> None:
    ds = make_image(patient_id="BRAIN", patient_name="HEAD^PHANTOM")
    ds.InstitutionName, ds.Manufacturer = "SIEMENS", "SIEMENS"
    ds.BodyPartExamined = "BRAIN"
    send(ds, rules, keys)


def test_a_patient_named_like_a_word_of_the_vocabulary_does_not_block_the_study(
    rules: Rules, keys: PseudonymKeys
) -> None:
    ds = make_image(patient_name="Sharp^Willis")
    ds.SeriesDescription = "T2 sharp axial Willis"
    send(ds, rules, keys)


def test_an_object_that_cannot_be_parsed_does_not_leave(rules: Rules, keys: PseudonymKeys) -> None:
    identifiers = collect_identifiers(encode(person(), EXPLICIT), EXPLICIT)
    with pytest.raises(DeidError) as caught:
        OutboundCheck(identifiers).check(b"not DICOM at all")
    assert caught.value.code == "outbound_unreadable"


@pytest.mark.parametrize(
    ("text", "token", "hit"),
    [
        ('{"patient": "ottokarsen"}', "Ottokarsen^Wilhelmine", True),
        ('{"id": "A-77123409"}', "77123409", True),
        ('{"size": 177123409}', "77123409", False),
        ('{"study": "1.2.3.4.5.6"}', "1.2.3.4.5.6", True),
        ('{"order": "b7d0", "objects": 40}', "40", False),
        ('{"word": "brain"}', "BRAIN", False),
        ('{"description": "Wilhelmines Gehirn"}', "Ottokarsen^Wilhelmine", True),
    ],
)
def test_manifests_pass_the_same_filter(text: str, token: str, hit: bool) -> None:
    check: Callable[[], None] = lambda: check_text(text, (token,))  # noqa: E731
    if not hit:
        check()
        return
    with pytest.raises(DeidError) as caught:
        check()
    assert caught.value.code == "outbound_hit"


def test_the_check_shares_nothing_with_the_engine() -> None:
    import ast
    import inspect

    from agent.deid import spellings

    for module in (outbound, spellings):
        imported = {
            node.module for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.ImportFrom)
        }
        assert not imported & {
            "agent.deid.engine", "agent.deid.elements", "agent.deid.values", "agent.deid.pixels", "agent.deid.part10",
            "agent.deid.rules", "agent.deid.rules.compile", "agent.deid.rules.vocabulary", "agent.deid.rules.annex_e",
        }  # fmt: skip
