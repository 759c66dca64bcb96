"""ATTACH lines with MANAGED-ID (RFC 8607): the blob they name, and lines that only look so."""

from __future__ import annotations

import pytest

from bridge.wire.vtodo_sets import give_lines, take_attachment, take_lines

ID = "ab" * 32
LINE = (
    f"ATTACH;MANAGED-ID={ID};FMTTYPE=text/plain;FILENAME=plan.txt;SIZE=3:"
    f"https://home.example/dav/attachments/t/{ID}"
)


def test_a_managed_attachment_is_the_tasks_own_and_keeps_its_line() -> None:
    keys: dict[str, str] = {}
    take_lines("ATTACH", [LINE], keys)
    native = {key: value for key, value in keys.items() if key.startswith("attach_")}
    assert native == {f"attach_{ID}": '{"name":"plan.txt","size":3,"type":"text/plain"}'}
    kept = [value for key, value in keys.items() if key.startswith("ical.")]
    assert give_lines("ATTACH", native, kept) == ([LINE], set())
    assert give_lines("ATTACH", {}, kept)[0] == []


@pytest.mark.parametrize(
    "line",
    [
        LINE.replace(f"MANAGED-ID={ID}", "MANAGED-ID=97S"),
        LINE.replace(f"MANAGED-ID={ID};", ""),
        LINE.replace(f"/t/{ID}", "/t/" + "cd" * 32),
        LINE.replace(f"/t/{ID}", f"/t{ID}"),
        LINE.replace(ID, ID.upper()),
    ],
)
def test_a_line_of_another_server_names_no_blob(line: str) -> None:
    assert take_attachment(line) == {}
