"""The short way to canonical bytes and RFC 8785's own order agree on every plane of Unicode."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.model.canonical import canonical, rfc8785

# The two orders differ only between these: beyond the basic plane, and from U+E000 up.
letters = st.sampled_from("aé\ud7ff\ue000\uffff\U00010000\U0001f600\U0010ffff")
texts = st.text(letters, max_size=4)


@given(document=st.dictionaries(texts, st.one_of(texts, st.dictionaries(texts, texts)), max_size=5))
def test_names_are_ordered_by_utf_16_units(document: dict[str, str | dict[str, str]]) -> None:
    assert canonical(document) == rfc8785(document)


def test_the_orders_do_differ() -> None:
    assert canonical({"\ue000": 1, "\U00010000": 2}) == '{"\U00010000":2,"\ue000":1}'.encode()
