"""Rules of reading and writing tasks as VTODO text: nothing lost, nothing invented."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from icalendar import Calendar

from bridge.errors import Invalid
from bridge.model.ids import TaskId
from bridge.wire import caldate, contentline, vtodo, vtodo_fields, vtodo_table
from bridge.wire.vtodo_sets import is_tag
from bridge.wire.vtodo_table import is_rule

TASK = TaskId("0" * 32 + "-p@example.com")
CREATED, MODIFIED = "2026-11-20T16:00:00.000Z", "2026-11-20T17:00:00.000Z"
SAMPLES = sorted((Path(__file__).parent / "samples").glob("*.ics"))
REPLACED = ("DTSTAMP:", "LAST-MODIFIED:")


def render(keys: dict[str, str], **options: bool) -> str:
    return vtodo.render(keys, task=TASK, created=CREATED, modified=MODIFIED, **options)


def body(*lines: str, uid: str = "u1") -> str:
    head = ("BEGIN:VCALENDAR", "VERSION:2.0", vtodo.PRODID, "BEGIN:VTODO", f"UID:{uid}")
    return "\r\n".join((*head, *lines, "END:VTODO", "END:VCALENDAR", ""))


def read(*lines: str) -> dict[str, str]:
    return vtodo.read(body(*lines)).keys


# --- round trips


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_every_line_and_component_of_a_sample_survives(path: Path) -> None:
    text = contentline.decode(path.read_bytes())
    upload = vtodo.read(text)
    again = render(upload.keys)
    assert vtodo.read(again).keys == upload.keys
    sent = {r for r in contentline.unfold(text) if not r.startswith(REPLACED)}
    assert sent <= set(contentline.unfold(again))
    assert blocks(text) == blocks(again)
    assert (upload.text, upload.cleaned, upload.large) == (text, False, ())
    Calendar.from_ical(again)


def blocks(text: str) -> list[str]:
    """Return the components inside VTODO, VTIMEZONE and their names, in a fixed order."""
    tree = contentline.parse(text)
    inner = [c for part in tree.top[0].children for c in part.children]
    return sorted([tree.text(c) for c in inner] + [c.name for c in tree.top[0].children])


WORDS = st.text(
    st.sampled_from("aZ9ä€\U0001f95b \\;,:\"'^-_/=") | st.characters(categories=("L", "P")),
    max_size=12,
)
VALUES = WORDS | st.sampled_from(
    ["20261201", "20261201T090000Z", "20261201T090000", "PT1H", "-P1D", "NEEDS-ACTION", "COMPLETED"]
    + ["CANCELLED", "IN-PROCESS", "FAILED", "DELETED", "BLOCKED", "100", "0", "5", "7", "high"]
    + [
        "mailto:Bob@Example.org",
        "mailto:a@b",
        "u2",
        "u3",
        "Home",
        "Home,Phone",
        "A\\,b,Home",
        "x\\ny",
    ]
    + ["FREQ=DAILY", "ni:///sha-256;" + "A" * 43, "1767225600=0123456789ab", "status", ""]
)
NAMES = st.sampled_from(
    [row for row in vtodo_table.ROWS if row != "UID"]
    + ["X-TX-STATUS", "X-TX-END", "X-TX-WAIT", "X-TX-START", "X-TX-FIELD", "X-TX-REF", "X-TX-RFA"]
    + ["X-TX-ENTRIES", "X-FOO", "PRODID", "VCALENDAR", "VTIMEZONE", "OVERRIDE", "summary", "Due"]
)
PARAMS = st.sampled_from(
    ["", "", "", ";TZID=Europe/Berlin", ";VALUE=DATE", ";RELTYPE=DEPENDS-ON", ";RELTYPE=CHILD"]
    + [";PARTSTAT=ACCEPTED", ";PARTSTAT=X-Odd", ";X-TX-ENTRY=20260101T000000Z", ';X-A="b:;,c"']
    + [";X-KEY=status", ";X-KEY=app.size", ";X-KEY=recur", ";X-SYSTEM=jira", ";LANGUAGE=de;X=^n"]
)
LINES = st.builds("{}{}:{}".format, NAMES, PARAMS, VALUES)
PARTS = st.sampled_from(["VALARM", "PARTICIPANT", "X-PART"]).flatmap(
    lambda name: st.lists(
        st.builds("{}:{}".format, st.sampled_from(["UID", "ACTION", "X-A"]), WORDS)
    ).map(lambda lines: (f"BEGIN:{name}", *lines, f"END:{name}"))
)


@settings(max_examples=400, deadline=None)
@given(st.lists(LINES, max_size=14), st.lists(PARTS, max_size=3))
def test_what_was_read_is_read_again_from_our_text(
    lines: list[str], parts: list[tuple[str, ...]]
) -> None:
    sent = body(*lines, *(line for part in parts for line in part))
    keys = vtodo.read(sent).keys
    text = render(keys)
    assert vtodo.read(text).keys == keys
    assert render(vtodo.read(text).keys) == text


@settings(max_examples=200, deadline=None)
@given(st.lists(LINES.filter(lambda raw: "X-TX" not in raw), max_size=10))
def test_no_line_of_a_client_is_lost(lines: list[str]) -> None:
    text = set(contentline.unfold(render(vtodo.read(body(*lines)).keys)))
    for raw in lines:
        if contentline.name_of(raw) not in {"DTSTAMP", "LAST-MODIFIED"}:
            assert raw in text


TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.just("\n"), max_size=40)
DATES = st.sampled_from(
    ["2026-12-01", "2026-12-01T09:00:00Z", "2026-12-01T09:00:00", "2026-12-01T09:00:00[Asia/Tokyo]"]
)
UIDS = st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=30)
NATIVE = st.fixed_dictionaries(
    {
        "ical.uid": UIDS,
        "status": st.sampled_from(["needs_action", "in_progress", "blocked", "Wai t"]),
    },
    optional={
        "description": TEXT.map(lambda text: text.replace("\n", " ")),
        "notes": TEXT,
        "due": DATES,
        "scheduled": DATES,
        "wait": DATES,
        "until": DATES,
        "start": DATES,
        "end": DATES,
        "recur": st.sampled_from(["FREQ=DAILY;COUNT=3", "weekly", "FREQ=MONTHLY;BYDAY=-1FR"]),
        "progress": st.integers(0, 100).map(str),
        "priority": st.sampled_from(["low", "normal", "high"]),
        "parent": UIDS,
        "requester": TEXT,
        "mandate": TEXT,
        "rfa": TEXT,
        "source": st.just("manual"),
        "order": st.just("0.5"),
        "external_jira": TEXT,
        "preferred_r1": TEXT,
        "app.field": TEXT,
        "udä,x;y:z": TEXT,
    },
)
SETS = st.dictionaries(
    UIDS.filter(is_tag).map("tag_".__add__) | UIDS.map("dep_".__add__), st.just(""), max_size=5
)
PEOPLE = st.dictionaries(
    st.sampled_from(["assignee_bob@example.org", "assignee_zoë@example.org", "assignee_a@b"]),
    st.sampled_from(["requested", "accepted", "declined", "delegated"]),
)
NOTES = st.dictionaries(st.integers(0, 9_999_999_999).map("annotation_{}".format), TEXT, max_size=4)
FILES = st.dictionaries(
    st.binary(min_size=32, max_size=32).map(lambda octets: "attach_" + octets.hex()),
    st.fixed_dictionaries({"name": TEXT.filter(bool), "size": st.integers(0, 9**9)}).map(
        lambda facts: json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    ),
    max_size=2,
)


@settings(max_examples=300, deadline=None)
@given(st.tuples(NATIVE, SETS, PEOPLE, NOTES, FILES))
def test_every_valid_map_of_native_keys_comes_back(maps: tuple[dict[str, str], ...]) -> None:
    keys = {key: value for each in maps for key, value in each.items()}
    assert vtodo.read(render(keys)).keys == keys


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=10)
        | NAMES.map("ical.{}".format)
        | st.sampled_from(
            ["ical.VALARM.1", "ical.VTIMEZONE.x", "ical.override.1", "ical.VCALENDAR"]
        )
        | NATIVE.map(max),
        st.text(max_size=30)
        | LINES
        | st.sampled_from(["X-FOO:1\r\nEND:VTODO\r\nBEGIN:VEVENT", "BEGIN:VALARM\nEND:VTODO"])
        | st.sampled_from(["BEGIN:VALARM\nEND:VALARM\nBEGIN:VALARM\nEND:VALARM", "SUMMARY:\x00"]),
    )
)
def test_keys_of_anybody_make_one_sound_task(keys: dict[str, str]) -> None:
    text = render(keys)
    assert contentline.clean(text) == (text, False)
    tree = contentline.parse(text)
    assert [c.name for c in tree.top] == ["VCALENDAR"]
    assert [c.name for c in tree.top[0].children] == ["VTODO"]
    assert vtodo.facts(keys) is not None


def test_the_text_depends_on_keys_only_not_on_their_order() -> None:
    keys = vtodo.read(contentline.decode(SAMPLES[7].read_bytes())).keys
    assert render(dict(reversed(keys.items()))) == render(keys)


# --- single rules of caldav-clients section 1


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((), "needs_action"),
        (("STATUS:NEEDS-ACTION",), "needs_action"),
        (("STATUS:in-process",), "in_progress"),
        (("PERCENT-COMPLETE:40",), "in_progress"),
        (("PERCENT-COMPLETE:0",), "needs_action"),
        (("COMPLETED:20260101T000000Z",), "completed"),
        (("STATUS:NEEDS-ACTION", "COMPLETED:20260101T000000Z"), "needs_action"),
        (("STATUS:CANCELLED",), "cancelled"),
        (("STATUS:IN-PROCESS", "X-TX-STATUS:BLOCKED"), "blocked"),
        (("SUBSTATE:SUSPENDED",), "blocked"),
        (("STATUS:COMPLETED", "X-TX-STATUS:BLOCKED"), "completed"),
        (("X-TX-STATUS:deleted",), "needs_action"),
        (("STATUS:DELETED",), "needs_action"),
        (("STATUS:FAILED",), "failed"),
    ],
)
def test_status_is_read_from_three_lines(lines: tuple[str, ...], status: str) -> None:
    keys = read(*lines)
    assert keys["status"] == status
    text = render(keys)
    assert all(raw + "\r\n" in text for raw in lines if not raw.startswith("X-TX"))
    assert ("\r\nSTATUS:" in text) == any(raw.startswith("STATUS") for raw in lines)


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        ("needs_action", {"STATUS:NEEDS-ACTION"}),
        ("in_progress", {"STATUS:IN-PROCESS"}),
        ("blocked", {"STATUS:NEEDS-ACTION", "X-TX-STATUS:BLOCKED"}),
        (
            "completed",
            {"STATUS:COMPLETED", "COMPLETED:20261120T170000Z", "PERCENT-COMPLETE:100"},
        ),
        ("cancelled", {"STATUS:CANCELLED"}),
        ("waiting", {"STATUS:NEEDS-ACTION", "X-TX-STATUS:waiting"}),
    ],
)
def test_status_is_written_as_the_table_says(status: str, lines: set[str]) -> None:
    names = ("STATUS", "COMPLETED", "PERCENT", "X-TX")
    text = contentline.unfold(render({"status": status}))
    assert {raw for raw in text if raw.startswith(names)} == lines


def test_end_of_a_task_that_is_not_completed_hides_in_our_own_line() -> None:
    text = render({"status": "cancelled", "end": "2026-01-01T00:00:00Z"})
    assert "\r\nCOMPLETED" not in text
    assert "X-TX-END:20260101T000000Z" in text


@pytest.mark.parametrize(
    ("number", "word", "raw"),
    [("1", "high", None), ("4", "high", "4"), ("5", "normal", None), ("7", "low", "7")],
)
def test_priority_numbers_become_words_and_stay(number: str, word: str, raw: str | None) -> None:
    keys = read(f"PRIORITY:{number}")
    assert (keys["priority"], keys.get("priority.raw")) == (word, raw)
    assert f"PRIORITY:{number}\r\n" in render(keys)
    assert "PRIORITY:9\r\n" in render({**keys, "priority": "low", "priority.raw": ""})


@pytest.mark.parametrize("value", ["0", "high", "11", ""])
def test_priorities_without_meaning_stay_in_their_line(value: str) -> None:
    keys = read(f"PRIORITY:{value}")
    assert "priority" not in keys
    assert f"PRIORITY:{value}\r\n" in render(keys)


def test_a_changed_value_drops_the_kept_spelling() -> None:
    keys = read("SUMMARY;LANGUAGE=en:One, two; three")
    assert keys["description"] == "One, two; three"
    assert "SUMMARY;LANGUAGE=en:One, two; three\r\n" in render(keys)
    assert "SUMMARY:Two\r\n" in render({**keys, "description": "Two"})


def test_a_title_of_two_lines_is_one_line_in_the_key() -> None:
    keys = read("SUMMARY:One\\ntwo")
    assert keys["description"] == "One two"
    assert "SUMMARY:One\\ntwo\r\n" in render(keys)


def test_duration_says_the_due_time_until_it_is_changed() -> None:
    keys = read("DTSTART:20260101T090000Z", "DURATION:PT1H")
    assert keys["due"] == "2026-01-01T10:00:00Z"
    assert "DURATION:PT1H" in render(keys)
    assert "DUE" not in render(keys)
    changed = render({**keys, "due": "2026-01-02"})
    assert "DUE;VALUE=DATE:20260102" in changed
    assert "DURATION" not in changed


def test_a_removed_tag_leaves_the_other_names_of_its_line() -> None:
    keys = read("CATEGORIES:Home,Two words,Phone")
    assert {key for key in keys if key.startswith("tag_")} == {"tag_Home", "tag_Phone"}
    del keys["tag_Home"]
    tags = {raw for raw in contentline.unfold(render(keys)) if raw.startswith("CATEGORIES")}
    assert tags == {"CATEGORIES:Two words", "CATEGORIES:Phone"}


@pytest.mark.parametrize("name", ["HOME", "+x", "a b", "1st", "a:b", ""])
def test_names_taskchampion_refuses_are_no_tags(name: str) -> None:
    assert not is_tag(name)


def test_comments_keep_their_second_and_their_line() -> None:
    keys = read(
        "LAST-MODIFIED:20260101T000000Z",
        "COMMENT:one",
        "COMMENT;X-TX-ENTRY=20260101T000000Z:two",
    )
    assert (keys["annotation_1767225600"], keys["annotation_1767225601"]) == ("two", "one")
    text = render(keys)
    assert "COMMENT:one\r\n" in text
    assert vtodo.read(text).keys == keys


def test_people_are_assignees_by_address() -> None:
    keys = read("ATTENDEE;PARTSTAT=ACCEPTED;CN=Bob:mailto:Bob@Example.org", "ATTENDEE:urn:uuid:1")
    assert keys["assignee_bob@example.org"] == "accepted"
    assert "ATTENDEE;PARTSTAT=DECLINED:mailto:bob@example.org" in render(
        {**keys, "assignee_bob@example.org": "declined"}
    )
    assert "ATTENDEE:urn:uuid:1\r\n" in render(keys)


def test_native_tasks_have_the_task_id_as_uid_and_our_times() -> None:
    keys = {"status": "needs_action", "description": "x"}
    text = render(keys)
    assert f"UID:{TASK}\r\n" in text
    for raw in ("CREATED:20261120T160000Z", "LAST-MODIFIED:20261120T170000Z", vtodo.PRODID):
        assert raw + "\r\n" in text
    assert vtodo.read(text, task=TASK).keys == keys
    assert vtodo.read(text).keys["ical.uid"] == TASK


def test_a_task_of_a_client_without_created_gets_none() -> None:
    assert "CREATED" not in render(read("SUMMARY:x"))


def test_a_field_cannot_shadow_a_native_key() -> None:
    keys = read("X-TX-FIELD;X-KEY=status:completed", "X-TX-FIELD;X-KEY=ical.uid:other")
    assert (keys["status"], keys["ical.uid"]) == ("needs_action", "u1")
    assert vtodo_fields.is_native("assignee_a@b")
    assert not vtodo_fields.is_native("app.field")


def test_lines_named_like_calendar_keys_stay_in_the_task() -> None:
    keys = read("PRODID:inner", "VCALENDAR:x")
    assert "ical.PRODID" not in keys
    assert "ical.VCALENDAR" not in keys
    assert render(keys).index("PRODID:inner") > render(keys).index("BEGIN:VTODO")


def test_overrides_are_kept_whole_and_can_be_left_out() -> None:
    text = contentline.decode(
        (SAMPLES[0].parent / "thunderbird-14-put-occurrence-done.ics").read_bytes()
    )
    upload = vtodo.read(text)
    assert list(upload.overrides) == ["2030-01-14T09:00:00[Europe/Berlin]"]
    assert upload.keys["status"] == "needs_action"
    assert render(upload.keys).count("BEGIN:VTODO") == 2
    assert render(upload.keys, overrides=False).count("BEGIN:VTODO") == 1


def test_large_values_are_named() -> None:
    upload = vtodo.read(body("ATTACH;ENCODING=BASE64;VALUE=BINARY:" + "A" * 70_000, "SUMMARY:x"))
    assert [key.rpartition(".")[0] for key in upload.large] == ["ical.ATTACH"]


def test_cleaned_text_says_so() -> None:
    upload = vtodo.read(body("SUMMARY:a\x0bb"))
    assert (upload.cleaned, upload.keys["description"]) == (True, "ab")


def test_relations_are_renamed_both_ways() -> None:
    keys = read("RELATED-TO:p1", "RELATED-TO;RELTYPE=DEPENDS-ON;GAP=PT1H:d1")
    assert vtodo.references(keys) == {"p1", "d1"}
    ids = vtodo.rename(keys, {"p1": "id1", "d1": "id2"})
    assert (ids["parent"], ids["dep_id2"]) == ("id1", "")
    assert vtodo.rename(ids, {"id1": "p1", "id2": "d1"}) == keys


# --- refusals (RFC 4791 section 4.1)

TODO = ("BEGIN:VTODO", "UID:u1", "END:VTODO")


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (("METHOD:REQUEST", *TODO), "valid-calendar-object-resource"),
        (("BEGIN:VEVENT", "UID:u1", "END:VEVENT"), "supported-calendar-component"),
        ((*TODO, "BEGIN:VJOURNAL", "UID:u1", "END:VJOURNAL"), "supported-calendar-component"),
        ((), "supported-calendar-component"),
        ((*TODO, *TODO), "valid-calendar-object-resource"),
        ((*TODO, "BEGIN:VTODO", "UID:u2", "RECURRENCE-ID:20260101", "END:VTODO"),
         "valid-calendar-object-resource"),
        (("BEGIN:VTODO", "SUMMARY:x", "END:VTODO"), "valid-calendar-object-resource"),
        (("BEGIN:VTODO", "UID:", "END:VTODO"), "valid-calendar-object-resource"),
        (("BEGIN:VTODO", "UID:1", "UID:2", "END:VTODO"), "valid-calendar-object-resource"),
        (("BEGIN:VTODO", "UID:" + "1" * 2000, "END:VTODO"), "valid-calendar-object-resource"),
        (("BEGIN:VTODO", "UID:1"), "valid-calendar-data"),
    ],
)  # fmt: skip
def test_what_is_no_task_object_is_refused(lines: tuple[str, ...], code: str) -> None:
    with pytest.raises(Invalid) as caught:
        vtodo.read("\r\n".join(("BEGIN:VCALENDAR", *lines, "END:VCALENDAR", "")))
    assert caught.value.code == code


@pytest.mark.parametrize("text", ["", "hello", body() + body()])
def test_what_is_not_one_calendar_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        vtodo.read(text)
    assert caught.value.code in {"valid-calendar-data", "valid-calendar-object-resource"}


def test_an_object_over_the_limit_is_refused() -> None:
    with pytest.raises(Invalid) as caught:
        vtodo.read(body(), max_octets=20)
    assert caught.value.code == "max-resource-size"


def test_every_row_names_its_section() -> None:
    for row in vtodo_table.ROWS.values():
        assert row.section.split()[0].isdigit() or row.section.startswith("draft")
    assert caldate.canonical("2026-01-01")
    assert is_rule("FREQ=DAILY")
