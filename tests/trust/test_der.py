"""DER reading and the way from BER to DER."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import Invalid
from bridge.trust import der


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\x30", b"\x30\x80\x00\x00", b"\x30\x05\x02\x01", b"\x30\x81\x01\x05", b"\x30\x82\x00\x80" + b"\0" * 128,
        b"\x1f\x01\x01\x00", b"\x30\x85\x00\x00\x00\x00\x01\x05", b"\x30\x00\x00", b"\x31\x00", b"\x30\xff",
    ],
)  # fmt: skip
def test_what_is_not_one_der_sequence_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        der.whole(data, der.SEQUENCE)


def test_members_fill_their_parent() -> None:
    data = bytes.fromhex("3006020101040102")
    parts = der.children(data, der.whole(data, der.SEQUENCE))
    assert [(part.tag, der.content(data, part)) for part in parts] == [(2, b"\x01"), (4, b"\x02")]
    assert der.encoded(data, parts[1]) == b"\x04\x01\x02"
    short = bytes.fromhex("300302020100")[:5]
    with pytest.raises(Invalid):
        der.children(short, der.whole(short, der.SEQUENCE))


@pytest.mark.parametrize(
    ("ber", "expected"),
    [
        ("30800201050000", "3003020105"),
        ("3081030201 05", "3003020105"),
        ("3084000000030201 05", "3003020105"),
        ("2480040161040162 0000", "04026162"),
        ("24060401610401 62", "04026162"),
        ("3080a0800401610000 0000", "3005a003040161"),
        ("3003020105", "3003020105"),
        ("30800000", "3000"),
    ],
)
def test_ber_becomes_der(ber: str, expected: str) -> None:
    assert der.to_der(bytes.fromhex(ber)) == bytes.fromhex(expected)


def test_certificates_are_copied_untouched() -> None:
    odd = bytes.fromhex("308103020105")  # a length that DER would write shorter
    member = b"\xa0\x80" + odd + b"\0\0"
    nested = b"\x30\x80\xa0\x80\x30\x80" + member + b"\0\0" * 3
    assert der.to_der(nested) == der.wrap(0x30, der.wrap(0xA0, der.wrap(0x30, der.wrap(0xA0, odd))))
    endless = nested.replace(odd, b"\x30\x80\0\0")
    with pytest.raises(Invalid):
        der.to_der(endless)


@pytest.mark.parametrize(
    "data",
    [
        b"\x30\x80" * 18 + b"\0\0" * 18,
        b"\x30\x80" + b"\x05\x00" * 201 + b"\0\0",
        b"\x30\x80\x05\x00",
        b"\x04\x80\x00\x00",
        b"\x30\x80\x00\x00\x00",
        b"\x24\x80\x02\x01\x05\x00\x00",
        b"\x30" * 5_000_000,
        b"\x30\x80" * 100_000,
        b"\x24\x80" + b"\x04\x00" * 9_000 + b"\0\0",
    ],
    ids=["deep", "wide", "open", "plain without length", "left over", "mixed string", "large", "very deep", "pieces"],
)  # fmt: skip
def test_ber_beyond_the_limits_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        der.to_der(data)


_TREES = st.recursive(
    st.binary(max_size=200).map(lambda body: der.wrap(4, body)),
    lambda inner: st.lists(inner, max_size=5).map(lambda parts: der.wrap(0x31, b"".join(parts))),
    max_leaves=12,
)


@given(_TREES)
def test_der_stays_as_it_is(data: bytes) -> None:
    assert der.to_der(data) == data
    assert der.element(data, 0, len(data)).end == len(data)


@given(st.binary(max_size=100))
def test_any_bytes_are_converted_or_refused(data: bytes) -> None:
    try:
        converted = der.to_der(data)
    except Invalid:
        return
    assert der.element(converted, 0, len(converted)).end == len(converted)
