"""``log --refused`` shows what was refused, to whom and why, with the text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge import app
from bridge.caldav.refusededits import RefusedEdits
from bridge.model.ids import Address
from bridge.model.patch import Via
from bridge.worker.command import Actor, Refused

if TYPE_CHECKING:
    from cli.conftest import Terminal

TEXT = "BEGIN:VTODO\r\nSUMMARY:Mine\x1b[2J\r\nEND:VTODO\r\n"


def test_a_refused_edit_is_shown_with_its_text(terminal: Terminal) -> None:
    project = terminal.team()
    with app.open_writer(terminal.config) as running:
        edits = RefusedEdits(running.gateway)
        who = Actor(user=Address(terminal.bob), via=Via.CALDAV)
        state = running.gateway.index.project(project)  # type: ignore[arg-type]  # an id that the program printed
        assert state is not None
        for name in ("a.ics", "b.ics"):
            refused = Refused(code="forbidden", reason="a guest may not do this")
            edits.keep(who, (state.id, name), TEXT, refused)
    shown = terminal.ok("log", "--refused")
    assert "\x1b" not in shown
    assert "SUMMARY:Mine" in shown
    assert "forbidden: a guest may not do this" in shown
    found = terminal.json("log", "--refused", "Team")
    assert [one["href"] for one in found] == ["b.ics", "a.ics"]
    assert found[0]["text"] == TEXT
    assert terminal.json("log", "--refused", "-n", "1")[0]["href"] == "b.ics"
    assert terminal.json("log", "--refused", "--author", terminal.alice) == []


def test_no_refused_edit_is_said_so(terminal: Terminal) -> None:
    terminal.team()
    result = terminal.run("log", "--refused")
    assert result.exit_code == 0
    assert "no edit was refused" in result.stderr
