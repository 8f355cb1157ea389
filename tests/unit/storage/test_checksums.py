"""CRC-64: known values, and parts that make the whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.storage.checksums import Crc64, as_base64, combine, from_base64, of, start


@pytest.mark.parametrize(
    ("form", "expected"), [(Crc64.ECMA, 0x995DC9BBDF1939FA), (Crc64.NVME, 0xAE8B14860A799888)]
)
def test_the_published_check_values_come_out(form: Crc64, expected: int) -> None:
    assert of(form, b"123456789") == expected


@given(form=st.sampled_from(Crc64), parts=st.lists(st.binary(max_size=300), max_size=6))
def test_the_checksums_of_parts_make_that_of_the_whole(form: Crc64, parts: list[bytes]) -> None:
    assert combine(form, [(of(form, part), len(part)) for part in parts]) == of(form, b"".join(parts))


@given(st.lists(st.binary(max_size=50), max_size=5))
def test_pieces_one_by_one_sum_up_as_all_at_once(pieces: list[bytes]) -> None:
    running = start(Crc64.ECMA)
    for piece in pieces:
        running.update(piece)
    assert running.value == of(Crc64.ECMA, b"".join(pieces))


def test_a_checksum_survives_its_header() -> None:
    assert from_base64(as_base64(0x00FF)) == 0x00FF
