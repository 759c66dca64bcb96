"""Rules of the three-way merge: only what a client changed is a change."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.model.ids import TaskId
from bridge.wire import contentline, vtodo

TASK = TaskId("0" * 32 + "-p@example.com")
SAMPLES = Path(__file__).parent / "samples"
THUNDERBIRD = "PRODID:-//Mozilla.org/NONSGML Mozilla Calendar V1.1//EN"
EVOLUTION = "PRODID:-//Ximian//NONSGML Evolution Calendar//EN"
APPLE = "PRODID:-//Apple Inc.//iOS 18.3//EN"
OTHER = "PRODID:-//x//x//EN"


def sample(name: str) -> dict[str, str]:
    return vtodo.read(contentline.decode((SAMPLES / f"{name}.ics").read_bytes())).keys


def task(*lines: str, client: str = OTHER) -> dict[str, str]:
    head = ("BEGIN:VCALENDAR", "VERSION:2.0", client, "BEGIN:VTODO", "UID:u1")
    return vtodo.read("\r\n".join((*head, *lines, "END:VTODO", "END:VCALENDAR", ""))).keys


def put(
    base: dict[str, str], sent: dict[str, str], current: dict[str, str] | None = None
) -> dict[str, str]:
    """Return the task after a PUT."""
    current = base if current is None else current
    merged = dict(current)
    for key, value in vtodo.changes(base, sent, current).items():
        if value is None:
            del merged[key]
        else:
            merged[key] = value
    return merged


def lines(keys: dict[str, str]) -> set[str]:
    text = vtodo.render(keys, task=TASK, created="", modified="2026-11-20T17:00:00Z")
    return set(contentline.unfold(text))


@pytest.mark.parametrize("client", ["thunderbird", "evolution"])
def test_a_title_edit_by_a_lossy_client_loses_nothing(client: str) -> None:
    seed, edit = {"thunderbird": ("18", "20"), "evolution": ("16", "18")}[client]
    base = sample(f"{client}-{seed}-rich-seed")
    after = put(base, sample(f"{client}-{edit}-rich-edit"))
    assert after["description"] in {"rich edited", "edited by evolution"}
    lost = lines(base) - lines(after) - {"SUMMARY:rich", "PRODID:-//t//t//EN"}
    # Evolution gives the inline attachment a name; every word of the line is still there.
    assert {raw for raw in lost if not raw.startswith("ATTACH")} == set()
    for part in ("FMTTYPE=text/plain;ENCODING=BASE64", "GAP=PT1H", "GEO:52.5;13.4"):
        assert any(part in raw for raw in lines(after))


@pytest.mark.parametrize("client", ["thunderbird", "evolution"])
def test_the_same_lossy_text_twice_changes_nothing_more(client: str) -> None:
    seed, edit = {"thunderbird": ("18", "20"), "evolution": ("16", "18")}[client]
    sent = sample(f"{client}-{edit}-rich-edit")
    after = put(sample(f"{client}-{seed}-rich-seed"), sent)
    assert vtodo.changes(after, sent, after) == {}


TEXTS = sorted(path.stem for path in SAMPLES.glob("*.ics"))


@pytest.mark.parametrize("name", TEXTS)
def test_sending_back_what_was_served_changes_nothing(name: str) -> None:
    keys = sample(name)
    assert vtodo.changes(keys, keys, keys) == {}
    assert vtodo.changes(keys, keys, {"status": "blocked"}) == {}


@pytest.mark.parametrize("name", TEXTS)
def test_a_new_task_takes_all_keys_but_claims(name: str) -> None:
    keys = sample(name)
    claims = {"requester": "a@b", "mandate": "m", "rfa": "r", "source": "s", "external_x": "1"}
    assert vtodo.changes({}, keys | claims | {"wait": "2026-01-01"}, {}) == keys | {
        "wait": "2026-01-01"
    }


LINE = st.sampled_from(
    ["SUMMARY:a", "SUMMARY;LANGUAGE=de:b", "DESCRIPTION:n", "DUE;VALUE=DATE:20260101", "PRIORITY:3"]
    + ["STATUS:COMPLETED", "STATUS:IN-PROCESS", "PERCENT-COMPLETE:30", "CATEGORIES:A1,b", "X-FOO:1"]
    + ["CATEGORIES:b", "CATEGORIES:two words", "RELATED-TO:p", "RELATED-TO;RELTYPE=DEPENDS-ON:d"]
    + ["COMMENT:c1", "COMMENT:c2", "CONTACT:x", "CONTACT:y", "X-FOO:2", "GEO:1;2", "GEO:1.0;2.00"]
    + ["ATTENDEE;PARTSTAT=ACCEPTED:mailto:a@b.example", "ATTENDEE:mailto:a@b.example", "URL:u"]
    + ["DTSTART:20260101T090000Z", "DURATION:PT1H", "COMPLETED:20260101T000000Z", "EXDATE:20260101"]
)
TASKS = st.lists(LINE, max_size=10, unique=True)


@settings(max_examples=300, deadline=None)
@given(TASKS, TASKS, TASKS, st.sampled_from([THUNDERBIRD, EVOLUTION, APPLE, OTHER]))
def test_applied_changes_are_a_task_and_applying_them_twice_is_once(
    base: list[str], sent: list[str], current: list[str], client: str
) -> None:
    before, now, ours = task(*base), task(*sent, client=client), task(*current)
    after = put(before, now, ours)
    again = vtodo.read(vtodo.render(after, task=TASK, created="", modified="2026-11-20T17:00:00Z"))
    assert again.uid == "u1"
    assert vtodo.changes(before, now, after).keys() <= {
        key for key in after if key.startswith(("annotation_", "ical."))
    } | {f"annotation_{n}" for n in range(10)} | {f"ical.COMMENT.{n}" for n in range(10)}
    for key in ("description", "notes", "due", "scheduled", "priority", "parent"):
        if before.get(key) == now.get(key):
            assert after.get(key) == ours.get(key) or key in {"due", "parent"}
        elif now.get(key) is not None:
            assert after[key] == now[key]


def test_others_changes_stay_where_the_client_changed_nothing() -> None:
    base = task("SUMMARY:a", "DESCRIPTION:n", "CATEGORIES:One")
    sent = task("SUMMARY:b", "DESCRIPTION:n", "CATEGORIES:One,Two")
    ours = task("SUMMARY:a", "DESCRIPTION:changed", "CATEGORIES:Three", "LOCATION:here")
    after = put(base, sent, ours)
    assert (after["description"], after["notes"]) == ("b", "changed")
    assert {key for key in after if key.startswith("tag_")} == {"tag_Two", "tag_Three"}
    assert "LOCATION:here" in lines(after)


def test_respelling_is_no_change() -> None:
    base = task("SUMMARY;LANGUAGE=de:a", "CATEGORIES:A1,b", "GEO:52.5;13.4", "PRIORITY:0")
    sent = task(
        "SUMMARY:a", "CATEGORIES:b", "CATEGORIES:A1", "GEO:52.500000;13.400000", client=OTHER
    )
    assert vtodo.changes(base, sent, base) == {}


def test_a_meant_line_that_is_gone_is_deleted() -> None:
    base = task("SUMMARY:a", "DESCRIPTION:n", "DUE:20260101T000000Z", "LOCATION:x", "PRIORITY:1")
    after = put(base, task("SUMMARY:a"))
    assert not {"notes", "due", "priority", "ical.LOCATION"} & after.keys()


def test_read_only_keys_cannot_be_set_or_dropped() -> None:
    base = task("SUMMARY:a") | {"wait": "2026-01-01", "until": "2027-01-01", "requester": "a@b"}
    base |= {"mandate": "m", "app.size": "3", "preferred_r1": "x", "external_jira": "J-1"}
    after = put(base, task("SUMMARY:b", "X-TX-RFA:forged", "X-TX-FIELD;X-KEY=app.size:4"))
    assert after == base | {"description": "b"}


def test_missing_people_stay_assigned_and_answers_count() -> None:
    base = task("ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:bob@example.org")
    assert put(base, task("SUMMARY:x"))["assignee_bob@example.org"] == "requested"
    after = put(base, task("ATTENDEE;PARTSTAT=ACCEPTED:mailto:bob@example.org"))
    assert after["assignee_bob@example.org"] == "accepted"
    assert "ATTENDEE;PARTSTAT=ACCEPTED;RSVP=TRUE:mailto:bob@example.org" in lines(after)


# --- status (caldav-clients section 1.1)


def test_three_lines_removed_together_reopen() -> None:
    base = task("STATUS:COMPLETED", "COMPLETED:20260101T000000Z", "PERCENT-COMPLETE:100")
    after = put(base, task("SUMMARY:x"))
    assert after["status"] == "needs_action"
    assert not {"end", "progress"} & after.keys()


def test_losing_the_blocked_line_does_not_clear_it_and_a_new_status_does() -> None:
    base = task("STATUS:NEEDS-ACTION", "X-TX-STATUS:BLOCKED")
    assert base["status"] == "blocked"
    assert put(base, task("STATUS:NEEDS-ACTION"))["status"] == "blocked"
    assert put(base, task("SUMMARY:x"))["status"] == "blocked"
    assert put(base, task("STATUS:IN-PROCESS"))["status"] == "in_progress"
    echoed = task("STATUS:IN-PROCESS", "X-TX-STATUS:BLOCKED")
    assert put(base, echoed)["status"] == "in_progress"
    assert put(base, task("STATUS:COMPLETED"))["status"] == "completed"


def test_blocked_by_somebody_else_stays_blocked() -> None:
    base = task("STATUS:NEEDS-ACTION", "SUMMARY:a")
    ours = base | {"status": "blocked"}
    assert put(base, task("STATUS:NEEDS-ACTION", "SUMMARY:b"), ours)["status"] == "blocked"


def test_a_client_can_block() -> None:
    assert put(task("STATUS:NEEDS-ACTION"), task("X-TX-STATUS:BLOCKED"))["status"] == "blocked"


def test_unknown_words_turned_into_needs_action_are_no_change() -> None:
    base = task("STATUS:FAILED")
    assert put(base, task("STATUS:NEEDS-ACTION"))["status"] == "failed"
    assert put(base, task("STATUS:COMPLETED"))["status"] == "completed"


@pytest.mark.parametrize(
    ("before", "now", "status"),
    [
        (
            ("STATUS:NEEDS-ACTION",),
            ("STATUS:NEEDS-ACTION", "COMPLETED:20260101T000000Z"),
            "completed",
        ),
        (("STATUS:NEEDS-ACTION",), ("STATUS:NEEDS-ACTION", "PERCENT-COMPLETE:100"), "completed"),
        (
            ("STATUS:COMPLETED", "PERCENT-COMPLETE:100"),
            ("STATUS:COMPLETED", "PERCENT-COMPLETE:50"),
            "in_progress",
        ),
        (
            ("STATUS:COMPLETED", "COMPLETED:20260101T000000Z"),
            ("STATUS:NEEDS-ACTION", "COMPLETED:20260101T000000Z"),
            "needs_action",
        ),
        (("STATUS:NEEDS-ACTION",), ("STATUS:NEEDS-ACTION", "PERCENT-COMPLETE:50"), "needs_action"),
        ((), ("PERCENT-COMPLETE:50",), "in_progress"),
    ],
)
def test_where_lines_contradict_the_changed_one_wins(
    before: tuple[str, ...], now: tuple[str, ...], status: str
) -> None:
    after = put(task(*before), task(*now))
    assert after["status"] == status
    assert ("end" in after) <= (status == "completed")


# --- lines, comments, components


def test_repeated_lines_go_only_where_the_client_keeps_repeats() -> None:
    base = task("COMMENT:a", "COMMENT:b", "CONTACT:c", "CONTACT:d")
    kept = put(base, task("COMMENT:b", "CONTACT:d", client=THUNDERBIRD))
    assert {"COMMENT:a", "COMMENT:b", "CONTACT:c", "CONTACT:d"} <= lines(kept)
    gone = lines(put(base, task("COMMENT:b", "CONTACT:d", client=EVOLUTION)))
    assert not {"COMMENT:a", "CONTACT:c"} & gone
    assert {"COMMENT:b", "CONTACT:d"} <= gone


def test_an_edited_comment_keeps_its_second() -> None:
    base = task("COMMENT;X-TX-ENTRY=20260101T000000Z:a")
    after = put(base, task("DTSTAMP:20270101T000000Z", "COMMENT:edited"))
    assert {k: v for k, v in after.items() if k.startswith("annotation")} == {
        "annotation_1767225600": "edited"
    }


def test_a_new_comment_takes_the_next_free_second() -> None:
    stamp = "DTSTAMP:20260101T000000Z"
    ours = task() | {"annotation_1767225600": "theirs"}
    after = put(task(), task(stamp, "COMMENT:mine"), ours)
    assert (after["annotation_1767225600"], after["annotation_1767225601"]) == ("theirs", "mine")


def test_a_put_sent_again_adds_no_second_comment() -> None:
    stamp = "DTSTAMP:20260101T000000Z"
    base, sent = task(stamp), task(stamp, "COMMENT:mine", "CONTACT:c")
    assert put(base, sent, put(base, sent)) == put(base, sent)


def test_thousands_of_comments_of_one_second_find_their_places() -> None:
    began = time.perf_counter()
    sent = task("DTSTAMP:20260101T000000Z", *(f"COMMENT:{n}" for n in range(5000)))
    ours = {key: value + "x" for key, value in sent.items() if key.startswith("annotation")}
    after = put(task(), sent, task() | ours)
    assert sum(key.startswith("annotation") for key in after) == 10_000
    assert time.perf_counter() - began < 3


def test_comments_without_a_second_do_not_move_when_the_text_is_written_later() -> None:
    base = task("DTSTAMP:20260101T000000Z", "COMMENT:a")
    assert put(base, task("DTSTAMP:20270101T000000Z", "COMMENT:a")) == base


def test_sequence_never_goes_back() -> None:
    base, ours = task("SEQUENCE:1"), task("SEQUENCE:7")
    assert put(base, task("SEQUENCE:2"), ours)["ical.SEQUENCE"] == "SEQUENCE:7"
    assert put(base, task("SEQUENCE:9"), ours)["ical.SEQUENCE"] == "SEQUENCE:9"


def test_apple_dropping_the_parent_keeps_it_and_others_move_the_task() -> None:
    base = task("RELATED-TO:p1")
    assert put(base, task("SUMMARY:x", client=APPLE))["parent"] == "p1"
    assert "parent" not in put(base, task("SUMMARY:x", client=THUNDERBIRD))
    moved = task("RELATED-TO;RELTYPE=PARENT:p2")
    assert put(base, moved)["parent"] == "p2"
    assert put(base, moved, task("RELATED-TO:p3"))["parent"] == "p2"


def test_dependencies_lost_by_a_client_stay() -> None:
    base = task("RELATED-TO;RELTYPE=DEPENDS-ON;GAP=PT1H:d1", "RELATED-TO;RELTYPE=DEPENDS-ON:d2")
    after = put(base, task("RELATED-TO;RELTYPE=DEPENDS-ON:d1", "RELATED-TO;RELTYPE=DEPENDS-ON:d3"))
    assert {key for key in after if key.startswith("dep_")} == {"dep_d1", "dep_d2", "dep_d3"}
    assert "RELATED-TO;RELTYPE=DEPENDS-ON;GAP=PT1H:d1" in lines(after)


def test_a_due_time_takes_the_place_of_a_duration() -> None:
    base = task("DTSTART:20260101T090000Z", "DURATION:PT1H")
    same = task("DTSTART:20260101T090000Z", "DUE:20260101T100000Z")
    assert vtodo.changes(base, same, base) == {}
    after = lines(put(base, task("DTSTART:20260101T090000Z", "DUE:20260101T110000Z")))
    assert "DUE:20260101T110000Z" in after
    assert "DURATION:PT1H" not in after


ALARM = ("BEGIN:VALARM", "ACTION:{}", "TRIGGER:{}", "X-OURS:1", "END:VALARM")


def alarm(action: str, trigger: str, *more: str) -> tuple[str, ...]:
    return ("BEGIN:VALARM", "UID:a1", f"ACTION:{action}", f"TRIGGER:{trigger}", *more, "END:VALARM")


def test_alarms_are_deleted_only_where_the_client_could_show_them() -> None:
    shown = task(*alarm("DISPLAY", "-PT15M"))
    assert "ical.VALARM.a1" not in put(shown, task("SUMMARY:x"))
    for hidden in (
        alarm("EMAIL", "-PT15M"),
        alarm("DISPLAY", "19760401T005545Z", "X-APPLE-PROXIMITY:ARRIVE"),
    ):
        assert "ical.VALARM.a1" in put(task(*hidden), task("SUMMARY:x"))


def test_an_alarm_set_anew_keeps_foreign_lines_but_no_acknowledgement() -> None:
    base = task(*alarm("DISPLAY", "-PT15M", "X-OURS:1", "ACKNOWLEDGED:20260101T000000Z"))
    after = put(base, task(*alarm("DISPLAY", "-PT30M")))["ical.VALARM.a1"]
    assert "X-OURS:1" in after
    assert "TRIGGER:-PT30M" in after
    assert "ACKNOWLEDGED" not in after


def test_an_occurrence_ticked_by_thunderbird_is_an_override() -> None:
    base = sample("thunderbird-13-put-recurring")
    found = vtodo.changes(base, sample("thunderbird-14-put-occurrence-done"), base)
    assert [key for key in found if key.startswith("ical.override.")] == [
        "ical.override.2030-01-14T09:00:00[Europe/Berlin]"
    ]
    assert "status" not in found


def test_thousands_of_lines_are_merged_in_little_time() -> None:
    many = [f"{name};X-P={n}:v{n}" for n in range(2000) for name in ("CONTACT", "COMMENT", "X-FOO")]
    base = task(*many)
    sent = task(*(raw.replace("X-P", "X-Q").replace(":v1", ":w1") for raw in many))
    began = time.perf_counter()
    assert len(put(base, sent)) > len(base)
    assert time.perf_counter() - began < 3


def test_a_zone_goes_with_its_last_use() -> None:
    base = sample("thunderbird-12-put-complete")
    sent = {key: value for key, value in base.items() if "VTIMEZONE" not in key}
    assert "ical.VTIMEZONE.Europe/Berlin" in put(base, sent)
    assert "ical.VTIMEZONE.Europe/Berlin" not in put(
        base, sent | {"due": "2030-01-01", "scheduled": "2030-01-01"}
    )
