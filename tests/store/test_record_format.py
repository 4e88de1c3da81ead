"""The record format: known answers, and whatever is stored comes back or is refused."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import IntegrityError
from agent.store.objects import ObjectReader, part10_header
from agent.store.segments import SegmentWriter
from agent.store.segments.record import (
    CHUNK_BYTES,
    FILE_HEADER_BYTES,
    FRAME_BYTES,
    KEY_INFO,
    RECORD,
    Frame,
    RecordCipher,
    RecordHeader,
    binding_of,
    derive_object_key,
    parse_frame,
)
from tests.store.installation import a_key, header_of, ref_of


def test_object_keys_are_hkdf_expand_of_the_study_key() -> None:
    secret, salt = bytes(range(32)), bytes(range(16))
    assert derive_object_key(secret, salt) == HKDFExpand(SHA256(), 32, KEY_INFO + salt).derive(secret)


def test_frame_and_sealed_parts_have_their_published_bytes() -> None:
    """The format on disk: this test fails when it changes, which then needs a version of its own."""
    binding = binding_of("r-1.seg", bytes(16))
    frame = Frame(RECORD, 60, 5, 64, 64, 0, "00112233aabbccdd", bytes(range(16)))
    packed = frame.pack(binding)
    assert len(packed) == FRAME_BYTES
    cipher = RecordCipher(bytes(range(32)), binding, 64, frame.salt)
    sealed = bytearray(5 + 16)
    cipher.seal_chunk(0, b"hello", memoryview(sealed), last=True)
    trailer = cipher.seal_trailer(frame, packed, bytes(16), hashlib.sha256(b"hello").digest())
    assert hashlib.sha256(packed + sealed + trailer).hexdigest() == (
        "2c4049cc164e971c3e9143b7f39606a1c26a7ff9e376eb5126080263cdb5c2a4"
    )


def test_a_frame_is_read_only_at_its_own_place() -> None:
    binding = binding_of("r-1.seg", bytes(16))
    packed = Frame(RECORD, 60, 5, 64, 64, 0, "k", bytes(16)).pack(binding)
    assert parse_frame(packed, binding, 64) is not None
    assert parse_frame(packed, binding, 80) is None
    assert parse_frame(packed, binding_of("r-2.seg", bytes(16)), 64) is None


def test_header_survives_its_json() -> None:
    header = header_of("1.2.3", 7)
    assert RecordHeader.from_bytes(header.to_bytes()) == header


SIZES = st.one_of(
    st.integers(0, 300),
    st.sampled_from([CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES]),
    st.integers(0, 3 * CHUNK_BYTES),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    sizes=st.lists(SIZES, min_size=1, max_size=3), piece=st.integers(1, CHUNK_BYTES + 5000), seed=st.integers(0, 2**32)
)
def test_what_was_stored_comes_back_whatever_its_size_and_pieces(sizes: list[int], piece: int, seed: int) -> None:
    key = a_key()
    bodies = [hashlib.shake_256(f"{seed}-{n}".encode()).digest(size) for n, size in enumerate(sizes)]
    with tempfile.TemporaryDirectory() as folder:
        writer = SegmentWriter(Path(folder), "r", segment_bytes=4 << 20, sync=False)
        step = max(piece, 1 + max(sizes) // 50)
        records = [
            writer.append(key, header_of("1.2", n), (body[at : at + step] for at in range(0, len(body), step)))
            for n, body in enumerate(bodies)
        ]
        writer.close()
        with ObjectReader(Path(folder), {key.key_id: key.secret}) as reader:
            for record, body in zip(records, bodies, strict=True):
                assert record.sha256 == hashlib.sha256(body).hexdigest()
                assert record.size_bytes == len(body)
                assert reader.read(ref_of(record)) == body


def test_a_large_object_never_stands_in_memory_as_a_whole(tmp_path: Path) -> None:
    import tracemalloc

    key = a_key()
    writer = SegmentWriter(tmp_path, "r", segment_bytes=4 << 20, sync=False)
    piece = bytearray(os.urandom(CHUNK_BYTES))
    tracemalloc.start()
    record = writer.append(key, header_of("1.2", 1), (memoryview(piece) for _ in range(64)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert record.size_bytes == 64 * CHUNK_BYTES
    assert peak < 12 * CHUNK_BYTES
    with ObjectReader(tmp_path, {key.key_id: key.secret}) as reader:
        assert sum(1 for chunk in reader.chunks(ref_of(record)) if chunk == piece) == 64


@pytest.fixture
def one_record(tmp_path: Path):
    key = a_key()
    writer = SegmentWriter(tmp_path, "r", segment_bytes=8 << 20, sync=False)
    records = [writer.append(key, header_of("1.2", n), [os.urandom(CHUNK_BYTES + 40_000)]) for n in range(2)]
    writer.close()
    return tmp_path, key, records


def _is_refused(folder: Path, key, record) -> bool:
    with ObjectReader(folder, {key.key_id: key.secret}) as reader:
        try:
            reader.read(ref_of(record))
        except IntegrityError:
            return True
    return False


def test_a_flipped_bit_anywhere_in_a_record_is_seen(one_record) -> None:
    folder, key, records = one_record
    record = records[0]
    path = folder / record.segment
    original = path.read_bytes()
    used = record.length - 16
    frame = parse_frame(original[64 : 64 + FRAME_BYTES], _binding(original, record.segment), 64)
    borders = [
        0,
        FILE_HEADER_BYTES - 45,
        64,
        64 + FRAME_BYTES - 1,
        frame.header_at,
        frame.payload_at - 1,
        frame.payload_at,
    ]
    borders += [
        frame.payload_at + CHUNK_BYTES,
        frame.payload_at + CHUNK_BYTES + 16,
        frame.trailer_at,
        frame.trailer_at + 95,
    ]
    places = borders + [64 + n * used // 60 for n in range(60)]
    for place in places:
        changed = bytearray(original)
        changed[place] ^= 1 << (place % 8)
        path.write_bytes(changed)
        assert _is_refused(folder, key, record), place
    path.write_bytes(original)
    assert not _is_refused(folder, key, record)


def _binding(raw: bytes, name: str) -> bytes:
    from agent.store.segments.record import read_binding

    binding = read_binding(raw[:FILE_HEADER_BYTES], name)
    assert binding is not None
    return binding


def test_a_truncated_record_is_seen(one_record) -> None:
    folder, key, records = one_record
    path = folder / records[0].segment
    original = path.read_bytes()
    for n in range(1, 40):
        path.write_bytes(original[: 64 + n * (records[0].length - 16) // 40])
        assert _is_refused(folder, key, records[0])


def test_swapped_records_are_seen(one_record) -> None:
    folder, key, (first, second) = one_record
    path = folder / first.segment
    raw = path.read_bytes()
    a, b = (raw[r.offset : r.offset + r.length] for r in (first, second))
    assert len(a) == len(b)
    path.write_bytes(raw[:64] + b + a + raw[64 + len(a) + len(b) :])
    assert _is_refused(folder, key, first)
    assert _is_refused(folder, key, second)


def test_chunks_of_two_records_cannot_change_places(one_record) -> None:
    folder, key, (first, second) = one_record
    path = folder / first.segment
    raw = bytearray(path.read_bytes())
    binding = _binding(raw, first.segment)
    at = [parse_frame(raw[r.offset : r.offset + FRAME_BYTES], binding, r.offset).payload_at for r in (first, second)]
    size = CHUNK_BYTES + 16
    raw[at[0] : at[0] + size], raw[at[1] : at[1] + size] = raw[at[1] : at[1] + size], raw[at[0] : at[0] + size]
    path.write_bytes(raw)
    assert _is_refused(folder, key, first)


def test_swapped_files_are_seen(tmp_path: Path) -> None:
    key = a_key()
    writer = SegmentWriter(tmp_path, "r", segment_bytes=4 << 20, sync=False)
    body = os.urandom(5 << 20)
    first, second = (writer.append(key, header_of("1.2", 1), [body]) for _ in range(2))
    writer.close()
    (tmp_path / first.segment).rename(tmp_path / "aside")
    (tmp_path / second.segment).rename(tmp_path / first.segment)
    (tmp_path / "aside").rename(tmp_path / second.segment)
    assert _is_refused(tmp_path, key, first)
    assert _is_refused(tmp_path, key, second)


def test_the_record_of_another_instance_is_refused(one_record) -> None:
    from dataclasses import replace

    folder, key, (first, second) = one_record
    wrong = replace(first, offset=second.offset)
    assert _is_refused(folder, key, wrong)


def test_nothing_is_readable_without_the_key(one_record) -> None:
    folder, _, records = one_record
    with ObjectReader(folder, {}) as reader, pytest.raises(IntegrityError):
        reader.read(ref_of(records[0]))
    raw = b"".join(path.read_bytes() for path in folder.iterdir())
    assert b"MARKED" not in raw
    assert b"MODALITY" not in raw


def test_the_part_10_header_is_readable_and_its_preamble_zero(one_record) -> None:
    import io

    import pydicom

    folder, key, records = one_record
    header = part10_header(ref_of(records[0]))
    assert header[:128] == bytes(128)
    meta = pydicom.dcmread(io.BytesIO(header)).file_meta
    assert meta.MediaStorageSOPInstanceUID == records[0].header.sop_uid
    assert meta.TransferSyntaxUID == records[0].header.transfer_syntax_uid
    assert len(header) == 144 + meta.FileMetaInformationGroupLength
