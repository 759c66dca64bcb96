"""project, task, log and revert."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cli.conftest import Terminal


def new_task(terminal: Terminal, title: str = "Buy milk", *words: str) -> str:
    return terminal.ok("task", "add", "Team", title, *words)


def shown(terminal: Terminal, task: str) -> dict[str, Any]:
    document: dict[str, Any] = terminal.json("task", "show", task)
    return document


# -- projects ----------------------------------------------------------------------------


def test_a_project_is_made_named_and_archived(terminal: Terminal) -> None:
    project = terminal.team()
    terminal.ok("project", "rename", project, "Crew")
    terminal.ok("project", "set", "Crew", "color=#2E7D32")
    described = terminal.json("project", "show", "Crew")
    assert described["project"] == project
    assert described["policy"] == {"name": "Crew", "color": "#2E7D32"}
    assert [(one["user"], one["role"]) for one in described["members"]] == [
        (terminal.alice, "creator"),
        (terminal.bob, "member"),
    ]
    assert "Crew" in terminal.ok("project", "show", project)
    terminal.ok("project", "archive", "Crew")
    assert project not in terminal.ok("project", "list")
    assert project in terminal.ok("project", "list", "--all")
    terminal.ok("project", "set", project, "archived=")
    assert project in terminal.ok("project", "list", "--user", terminal.bob)


def test_members_come_and_go(terminal: Terminal) -> None:
    terminal.team()
    terminal.ok("project", "member", "add", "Team", "c@far.example", "--role", "guest")
    terminal.ok("project", "member", "add", "Team", terminal.bob, "--sees", "food")
    terminal.ok("project", "member", "remove", "Team", "c@far.example")
    members = terminal.json("project", "show", "Team")["members"]
    assert members[1] == {"user": terminal.bob, "role": "member", "scope": ["tag_food"]}
    assert len(members) == 2
    terminal.ok("project", "member", "remove", "Team", "c@far.example")


def test_who_may_not_is_told_why(terminal: Terminal) -> None:
    terminal.team()
    said = terminal.refused("project", "rename", "Team", "Mine", "--as", terminal.bob)
    assert said == "only owners may change the project's settings"
    assert "only its creator" in terminal.refused(
        "project", "archive", "Team", "--as", terminal.bob
    )
    assert "nobody a personal one" in terminal.refused("project", "archive", terminal.alice)
    assert "not a user of home.example" in terminal.refused(
        "project", "rename", "Team", "x", "--as", "m@evil.example"
    )


def test_a_project_that_is_not_there_is_refused(terminal: Terminal) -> None:
    for words in ("project show", "task list", "export", "log"):
        command = [*words.split(), "Nowhere", *(["x.tar.gz"] if words == "export" else [])]
        assert "there is no project" in terminal.refused(*command)


def test_a_name_that_two_projects_have_is_refused(terminal: Terminal) -> None:
    ids = [terminal.ok("project", "create", "Twin", "--as", terminal.alice) for _ in range(2)]
    result = terminal.run("project", "show", "Twin")
    assert result.exit_code == 1
    assert all(one in result.stderr for one in ids)


# -- tasks -------------------------------------------------------------------------------


def test_a_task_from_its_making_to_its_end(terminal: Terminal) -> None:
    project = terminal.team()
    task = new_task(
        terminal, "Buy milk", "--due", "2026-12-01", "--tag", "food", "--priority", "high",
        "--notes", "two litres", "--assign", terminal.bob, "app.color=blue",
    )  # fmt: skip
    assert task.endswith(f"-{project}")
    terminal.ok("task", "set", task, "due=2026-12-02T09:00:00+01:00", "priority=")
    terminal.ok("task", "annotate", task, "the shop is closed", "--as", terminal.bob)
    terminal.ok("task", "complete", task, "--as", terminal.bob)
    keys = shown(terminal, task)["keys"]
    (comment,) = (value for key, value in keys.items() if key.startswith("annotation_"))
    assert comment == "the shop is closed"
    assert keys["due"] == "2026-12-02T08:00:00Z"
    assert keys["status"] == "completed"
    assert keys["app.color"] == "blue"
    assert "priority" not in keys
    assert "tag_food" in keys
    assert "the shop is closed" in terminal.ok("task", "show", task)


def test_lists_show_what_is_open_to_whom(terminal: Terminal) -> None:
    terminal.team()
    terminal.ok("project", "member", "add", "Team", terminal.bob, "--role", "guest")
    mine = new_task(terminal, "Mine")
    his = new_task(terminal, "His", "--assign", terminal.bob)
    done = new_task(terminal, "Done")
    terminal.ok("task", "complete", done)

    def listed(*words: str) -> set[str]:
        return {one["task"] for one in terminal.json("task", "list", *words)}

    assert listed() == listed("Team") == {mine, his}
    assert listed("Team", "--all") == {mine, his, done}
    assert listed("--as", terminal.bob) == {his}
    assert listed(terminal.alice) == set()
    assert "Mine" in terminal.ok("task", "list")


def test_a_task_may_be_named_by_few_digits(terminal: Terminal) -> None:
    terminal.team()
    task = new_task(terminal)
    hexes = task[:32]
    for name in (hexes, hexes[-8:], hexes[:12], hexes[-8:].upper()):
        assert shown(terminal, name)["task"] == task
    new_task(terminal)
    assert "2 tasks match" in terminal.refused("task", "show", hexes[:6])
    assert "there is no task" in terminal.refused("task", "show", "0000")
    assert "there is no task" in terminal.refused("task", "show", "../etc/passwd")


def test_a_deleted_task_can_be_restored(terminal: Terminal) -> None:
    terminal.team()
    task = new_task(terminal)
    terminal.ok("task", "delete", task)
    assert terminal.json("task", "list", "--all") == []
    terminal.ok("task", "set", task[:32], "status=needs_action")
    assert len(terminal.json("task", "list")) == 1


def test_a_file_is_attached_and_kept(terminal: Terminal) -> None:
    project = terminal.team()
    task = new_task(terminal)
    file = terminal.directory / "plan.txt"
    file.write_bytes(b"the plan\n")
    terminal.ok("task", "attach", task, file)
    (value,) = (v for k, v in shown(terminal, task)["keys"].items() if k.startswith("attach_"))
    assert json.loads(value) == {"name": "plan.txt", "type": "text/plain", "size": 9}
    container = terminal.log_of(project).parents[1]
    assert [path.read_bytes() for path in container.glob("blobs/??/*")] == [b"the plan\n"]


def test_a_file_that_is_too_large_is_refused(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.team()
    task = new_task(terminal)
    file = terminal.directory / "big"
    file.write_bytes(b"x" * 2048)
    monkeypatch.setenv("TX_BRIDGE_STORAGE__MAX_ATTACHMENT", "1024")
    assert "larger than 1024 bytes" in terminal.refused("task", "attach", task, file)
    assert "no such file" in terminal.refused("task", "attach", task, "/none").lower()


def test_a_value_that_is_too_long_is_refused_by_its_key(terminal: Terminal) -> None:
    terminal.team()
    said = terminal.refused("task", "add", "Team", "Long", "--notes", "ä" * 40_000)
    assert said == "notes has 80000 bytes, at most 65536 are allowed"
    said = terminal.refused("task", "add", "Team", "Long", f"{'k' * 300}=x")
    assert "a key has 1 to 255 bytes" in said


@pytest.mark.parametrize(
    "setting", ["due=tomorrow", "status=done", "priority=9", "progress=101", "progress=x"]
)
def test_a_value_that_no_client_could_read_is_refused(terminal: Terminal, setting: str) -> None:
    terminal.team()
    task = new_task(terminal)
    key = setting.partition("=")[0]
    assert terminal.refused("task", "set", task, setting).startswith(f"{key} cannot be")


def test_words_without_a_value_are_a_usage_error(terminal: Terminal) -> None:
    terminal.team()
    task = new_task(terminal)
    assert "KEY=VALUE" in terminal.refused("task", "set", task, "due", status=2)
    assert "KEY=VALUE" in terminal.refused("task", "set", task, status=2)


def test_rights_hold_on_the_command_line_too(terminal: Terminal) -> None:
    terminal.team()
    terminal.ok("project", "member", "add", "Team", terminal.bob, "--role", "guest")
    task = new_task(terminal)
    said = terminal.refused("task", "set", task, "description=x", "--as", terminal.bob)
    assert "as a guest" in said
    assert "not a member" in terminal.refused(
        "task", "add", terminal.alice, "x", "--as", terminal.bob
    )


# -- history -----------------------------------------------------------------------------


def test_history_says_who_changed_what(terminal: Terminal) -> None:
    terminal.team()
    task = new_task(terminal)
    terminal.ok("task", "set", task, "description=Buy two litres", "--as", terminal.bob)
    newest, first = terminal.json("log", task)
    assert (newest["author"], newest["via"]) == (terminal.bob, "worker")
    assert newest["changes"] == [{"key": "description", "old": "Buy milk", "new": "Buy two litres"}]
    assert newest["signers"] == ["home.example/k1"]
    assert first["created"]
    said = terminal.ok("log", task, "-n", "1")
    assert f"author   {terminal.bob} via worker" in said
    assert 'description: "Buy milk" → "Buy two litres"' in said


def test_history_of_a_project_shows_members_and_settings(terminal: Terminal) -> None:
    terminal.team()
    terminal.ok("project", "rename", "Team", "Crew")
    terminal.ok("project", "member", "remove", "Crew", terminal.bob)
    removed, renamed, added = terminal.json("log", "Crew", "--limit", "3")
    assert removed["changes"] == [{"key": f"member {terminal.bob}", "old": "member", "new": None}]
    assert renamed["changes"] == [{"key": "name", "old": "Team", "new": "Crew"}]
    assert added["changes"][0]["new"] == "member"


def test_history_of_all_projects_is_newest_first(terminal: Terminal) -> None:
    terminal.team()
    new_task(terminal)
    told = terminal.json("log", "--limit", "100")
    assert [one["ts"] for one in told] == sorted((one["ts"] for one in told), reverse=True)
    assert {one["project"] for one in told} >= {terminal.alice, terminal.bob}
    by_bob = terminal.json("log", "--author", terminal.bob)
    assert {one["author"] for one in by_bob} == {terminal.bob}


def test_a_patch_is_found_by_its_beginning(terminal: Terminal) -> None:
    terminal.team()
    task = new_task(terminal)
    (told,) = terminal.json("log", task)
    digits = told["patch"].removeprefix("sha256:")
    for name in (told["patch"], digits, digits[:8]):
        assert terminal.json("log", name) == [told]
    assert "no project, task or patch" in terminal.refused("log", "ffffffff00")


def test_a_change_is_taken_back_and_so_is_that(terminal: Terminal) -> None:
    terminal.team()
    task = new_task(terminal)
    terminal.ok("task", "set", task, "description=Wrong")
    wrong = terminal.json("log", task)[0]["patch"]
    taken_back = terminal.json("revert", wrong)
    assert taken_back["reverts"] == wrong
    assert shown(terminal, task)["title"] == "Buy milk"
    assert "reverts  " in terminal.ok("log", taken_back["patch"])
    terminal.ok("revert", taken_back["patch"][:20])
    assert shown(terminal, task)["title"] == "Wrong"


def test_what_was_written_since_is_kept_unless_forced(terminal: Terminal) -> None:
    terminal.team()
    task = new_task(terminal)
    terminal.ok("task", "set", task, "description=Wrong")
    wrong = terminal.json("log", task)[0]["patch"]
    terminal.ok("task", "set", task, "description=Right")
    result = terminal.run("revert", wrong)
    assert result.exit_code == 1
    assert "written again since: description" in result.stderr
    assert "--force" in result.stderr
    terminal.ok("revert", wrong, "--force")
    assert shown(terminal, task)["title"] == "Buy milk"


def test_a_revert_needs_a_patch_of_a_task_and_the_right(terminal: Terminal) -> None:
    terminal.team()
    task = new_task(terminal)
    patch = terminal.json("log", task)[0]["patch"]
    terminal.ok("project", "member", "remove", "Team", terminal.bob)
    assert "not a member" in terminal.refused("revert", patch, "--as", terminal.bob)
    assert "there is no patch" in terminal.refused("revert", "12345678")


def test_a_change_of_the_project_is_taken_back_too(terminal: Terminal) -> None:
    project = terminal.team()
    terminal.ok("project", "rename", "Team", "Crew")
    terminal.ok("revert", terminal.json("log", project)[0]["patch"])
    assert terminal.json("project", "show", project)["name"] == "Team"
