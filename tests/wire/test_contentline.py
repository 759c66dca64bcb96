"""Rules of the content-line reader and writer, checked against icalendar."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from icalendar.parser import Contentline  # the outside judge

from bridge.errors import Invalid
from bridge.wire import contentline
from bridge.wire.vtodo_table import unescape

SAMPLES = sorted((Path(__file__).parent / "samples").glob("*.ics"))
TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufeff"))
NAME = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,12}", fullmatch=True).filter(
    lambda name: name.upper() not in {"BEGIN", "END"}
)
PARAM = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters='"'), max_size=20)


def theirs(raw: str) -> tuple[str, dict[str, object], str]:
    """Return what icalendar reads; it undoes escapes in every value, TEXT or not."""
    name, params, value = Contentline(raw).parts()  # type: ignore[no-untyped-call]  # its __new__
    return name.upper(), dict(params), value


def wrap(*lines: str) -> str:
    return "\r\n".join(("BEGIN:VCALENDAR", *lines, "END:VCALENDAR", ""))


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_samples_are_read_as_icalendar_reads_them(path: Path) -> None:
    for raw in contentline.unfold(contentline.decode(path.read_bytes())):
        line = contentline.split(raw)
        assert line is not None
        name, params, value = theirs(raw)
        assert (line.name, unescape(line.value)) == (name, value)
        for key, wanted in params.items():
            assert unescape(line.param(key)) == wanted


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_samples_fold_back_to_their_bytes(path: Path) -> None:
    text = contentline.decode(path.read_bytes())
    assert contentline.unfold(contentline.fold(contentline.unfold(text))) == contentline.unfold(
        text
    )
    tree = contentline.parse(text)
    assert tree.text(tree.top[0]).split("\n") == tree.lines


@given(NAME, st.lists(st.tuples(NAME, PARAM), max_size=3, unique_by=lambda p: p[0].upper()), TEXT)
def test_written_lines_are_read_alike_by_icalendar_and_by_us(
    name: str, params: list[tuple[str, str]], value: str
) -> None:
    raw = contentline.join(
        name, tuple((key, contentline.quote(text)) for key, text in params), value
    )
    line = contentline.split(raw)
    assert line is not None
    assert (line.name, line.value) == (name.upper(), value)
    assert [(key.upper(), text) for key, text in params] == [
        (key, contentline.unquote(text)) for key, text in line.params
    ]
    assert contentline.name_of(raw) == name.upper()
    assert theirs(raw)[::2] == (name.upper(), unescape(value))


@given(st.lists(TEXT.map(lambda text: "X-A:" + text), min_size=1, max_size=5))
def test_folding_loses_nothing_and_keeps_75_octets(lines: list[str]) -> None:
    folded = contentline.fold(lines)
    assert contentline.unfold(folded) == lines
    for physical in folded.encode().split(b"\r\n"):
        assert len(physical) <= 75
        physical.decode("utf-8")


@given(TEXT, st.integers(1, 40), st.sampled_from(["\r\n ", "\n ", "\r\n\t", "\n\t"]))
def test_folds_at_any_octet_are_undone(text: str, step: int, fold: str) -> None:
    octets = ("SUMMARY:" + text).encode()
    cut = fold.encode().join(octets[at : at + step] for at in range(0, len(octets), step))
    assert contentline.unfold(contentline.decode(cut)) == ["SUMMARY:" + text]


@given(st.text())
def test_any_text_is_a_tree_or_refused(text: str) -> None:
    cleaned, _ = contentline.clean(text)
    try:
        tree = contentline.parse(cleaned)
    except Invalid:
        return
    assert sum(component.stop - component.start for component in tree.top) <= len(tree.lines)


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("\x00\x0b\r\n\ufffe\ud800")))
def test_cleaned_text_is_legal_in_xml_and_cleaning_twice_is_cleaning_once(text: str) -> None:
    cleaned, changed = contentline.clean(text)
    assert changed == (cleaned != text)
    for char in cleaned:
        code = ord(char)
        assert (
            char in "\t\n\r" or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code > 0xFFFF
        )
    assert "\r" not in cleaned.replace("\r\n", "")


def test_lone_carriage_returns_end_lines_only_where_nothing_else_does() -> None:
    assert contentline.clean("A:1\rB:2\r") == ("A:1\nB:2\n", True)
    assert contentline.clean("A:1\rx\r\nB:2\r\n") == ("A:1x\r\nB:2\r\n", True)


def test_nul_and_byte_order_mark_go() -> None:
    assert contentline.clean("\ufeffA:\x001\n") == ("A:1\n", True)
    assert contentline.clean("A:1\n") == ("A:1\n", False)


def test_bytes_that_are_no_utf8_are_refused_naming_the_line() -> None:
    with pytest.raises(Invalid, match="line 2 is not UTF-8") as caught:
        contentline.decode(b"A:1\nB:\xff\n")
    assert caught.value.code == "valid-calendar-data"


def test_the_refused_line_is_numbered_as_the_client_wrote_it() -> None:
    with pytest.raises(Invalid, match="line 4 is no content line") as caught:
        contentline.parse(wrap("A:folded", "  on", "no colon", "B:2"))
    assert caught.value.fields["line"] == 4


@pytest.mark.parametrize(
    "lines",
    [
        ("BEGIN:VTODO", "END:VALARM"),
        ("BEGIN:VTODO",),
        ("END:VTODO",),
        ("BEGIN;X=1:VTODO", "END:VTODO"),
        ("BEGIN:", "END:"),
        (";X=1:a",),
        ("A;B:c",),
        ('A;B="c:d',),
        ("Ä:c",),
    ],
)
def test_broken_lines_and_nesting_are_refused(lines: tuple[str, ...]) -> None:
    with pytest.raises(Invalid) as caught:
        contentline.parse(wrap(*lines))
    assert caught.value.code == "valid-calendar-data"


def test_lower_case_names_and_line_feeds_are_taken() -> None:
    tree = contentline.parse("begin:vcalendar\nversion:2.0\nend:vcalendar\n")
    assert (tree.top[0].name, tree.top[0].names) == ("VCALENDAR", ["VERSION"])


def test_depth_lines_and_octets_are_limited() -> None:
    deep = ["BEGIN:A"] * 8 + ["END:A"] * 8
    with pytest.raises(Invalid, match="deeper than 8"):
        contentline.parse(wrap(*deep))
    contentline.parse(wrap(*deep[1:-1]))
    with pytest.raises(Invalid, match="more than 10000 lines"):
        contentline.parse(wrap(*(["A:1"] * 10_000)))
    with pytest.raises(Invalid) as caught:
        contentline.parse(wrap("A:ä"), max_octets=len(wrap("A:ä")))
    assert caught.value.code == "max-resource-size"
    contentline.parse(wrap("A:ä"), max_octets=len(wrap("A:ä")) + 1)


def test_a_hostile_parameter_list_is_read_in_linear_time() -> None:
    line = "X" + ';A="b"' * 50_000 + ";"
    with pytest.raises(Invalid):
        contentline.parse(wrap(line))
