"""verify, rebuild, export and import: damage is found and named, and archives are not trusted."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from bridge import app
from bridge.store.spool import SpoolLock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cli.conftest import Terminal

Members = list[tuple[str, bytes]]


def damage_of(terminal: Terminal, *words: object) -> list[dict[str, Any]]:
    """Return what verify says in JSON, having checked that it exits with 1."""
    result = terminal.run("verify", *words, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["ok"] is False
    return [one for report in document["projects"] for one in report["damage"]]


def lines_of(file: Path) -> list[bytes]:
    return file.read_bytes().splitlines(keepends=True)


# -- verify ------------------------------------------------------------------------------


def test_a_good_spool_is_verified_and_counted(terminal: Terminal, project: str) -> None:
    reports = {one["project"]: one for one in terminal.json("verify")["projects"]}
    assert set(reports) == {project, terminal.alice, terminal.bob}
    assert (reports[project]["entries"], reports[project]["blobs"]) == (6, 1)
    assert list(reports[project]["keys"]) == ["home.example/k1"]
    assert "Team: 6 entries, 1 attachments" in terminal.ok("verify", "Team")
    assert "there is no project" in terminal.refused("verify", "Nowhere")


def _change_text(lines: list[bytes]) -> list[bytes]:
    return [*lines[:3], lines[3].replace(b"Buy milk", b"Buy silk"), *lines[4:]]


def _forge_time(lines: list[bytes]) -> list[bytes]:
    entry = json.loads(lines[3])
    entry["head"]["ts"] = "2036" + entry["head"]["ts"][4:]
    forged = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return [*lines[:3], forged.encode() + b"\n"]


@pytest.mark.parametrize(
    ("change", "code", "line"),
    [
        (_change_text, "bad-body", 4),
        (_forge_time, "bad-entry-signature", 4),
        (lambda lines: [*lines[:3], *lines[4:]], "bad-seq", 4),
        (lambda lines: [*lines[:3], b"not json\n", *lines[4:]], "bad-line", 4),
        (lambda lines: [*lines[:4], lines[3], *lines[4:]], "bad-seq", 5),
        (lambda lines: [b"{}\n", *lines[1:]], "bad-line", 1),
        (lambda lines: [lines[0], b"[]\n", *lines[2:]], "bad-line", 2),
    ],
    ids=["content", "head", "missing", "garbage", "twice", "first", "key"],
)
def test_a_damaged_line_is_named(
    terminal: Terminal,
    project: str,
    change: Callable[[list[bytes]], list[bytes]],
    code: str,
    line: int,
) -> None:
    log = terminal.log_of(project)
    log.write_bytes(b"".join(change(lines_of(log))))
    (damage,) = damage_of(terminal, project)
    assert (damage["code"], damage["line"]) == (code, line)
    assert damage["file"] == "log/00000001.jsonl"
    result = terminal.run("verify")
    assert f"log/00000001.jsonl line {line}: entry {line}: " in result.stdout
    assert f"1 of 3 projects damaged: {project}" in result.stderr


def test_entries_missing_at_the_end_are_noticed_by_the_index(
    terminal: Terminal, project: str
) -> None:
    log = terminal.log_of(project)
    log.write_bytes(b"".join(lines_of(log)[:-1]))
    (damage,) = damage_of(terminal, project)
    assert (damage["code"], damage["seq"]) == ("log-short", 6)
    shutil.rmtree(log.parent)
    assert damage_of(terminal)[0]["code"] == "log-short"


def test_a_log_made_anew_with_another_key_is_noticed(terminal: Terminal, project: str) -> None:
    app.key_file(terminal.config).write_text("A" * 43 + "\n")
    assert {one["code"] for one in damage_of(terminal, project)} == {"other-key"}


def test_verify_needs_neither_key_nor_index(terminal: Terminal, project: str) -> None:
    app.key_file(terminal.config).unlink()
    app.layout_of(terminal.config).index.unlink()
    assert terminal.json("verify", project)["ok"]


def test_a_missing_segment_is_named(terminal: Terminal, project: str) -> None:
    log = terminal.log_of(project)
    log.rename(log.with_name("00000005.jsonl"))
    assert damage_of(terminal, project)[0]["code"] == "log-gap"


def test_attachments_are_checked(terminal: Terminal, project: str) -> None:
    (blob,) = terminal.log_of(project).parents[1].glob("blobs/??/*")
    content = blob.read_bytes()
    blob.write_bytes(b"another plan\n")
    assert [one["code"] for one in damage_of(terminal, project)] == ["blob-damaged"]
    blob.unlink()
    assert [one["code"] for one in damage_of(terminal, project)] == ["blob-missing"]
    blob.write_bytes(content)
    terminal.ok("verify", project)


# -- rebuild -----------------------------------------------------------------------------


def test_a_rebuilt_index_says_the_same(terminal: Terminal, project: str) -> None:
    before = terminal.json("task", "list"), terminal.json("log", project)
    app.layout_of(terminal.config).index.write_bytes(b"not a database")
    rebuilt = terminal.json("rebuild")
    assert {one["project"]: one["entries"] for one in rebuilt["projects"]} == {
        project: 6,
        terminal.alice: 2,
        terminal.bob: 2,
    }
    assert (terminal.json("task", "list"), terminal.json("log", project)) == before


def test_a_damaged_project_does_not_stop_the_others(terminal: Terminal, project: str) -> None:
    log = terminal.log_of(project)
    log.write_bytes(b"".join(_change_text(lines_of(log))))
    result = terminal.run("rebuild", "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert [one["project"] for one in document["failed"]] == [project]
    assert len(document["projects"]) == 2


def test_what_needs_the_spool_alone_refuses_beside_a_writer(
    terminal: Terminal, project: str
) -> None:
    terminal.ok("export", project, terminal.directory / "a.tar.gz")
    with SpoolLock(app.layout_of(terminal.config)):
        for words in (["rebuild"], ["import", terminal.directory / "a.tar.gz"]):
            said = terminal.refused(*words)
            assert f"is in use by process {os.getpid()}" in said


# -- export and import -------------------------------------------------------------------


@pytest.fixture
def archive(terminal: Terminal, project: str) -> Path:
    file = terminal.directory / "team.tar.gz"
    assert terminal.json("export", project, file)["entries"] == 6
    return file


def forget(terminal: Terminal, project: str) -> None:
    shutil.rmtree(terminal.log_of(project).parents[1])
    app.layout_of(terminal.config).index.unlink()


def members_of(file: Path) -> Members:
    with tarfile.open(file) as tar:
        return [(one.name, tar.extractfile(one).read()) for one in tar]  # type: ignore[union-attr]  # plain files


def packed(file: Path, members: list[tarfile.TarInfo | tuple[str, bytes]]) -> Path:
    with tarfile.open(file, "w:gz", format=tarfile.USTAR_FORMAT) as tar:
        for one in members:
            if isinstance(one, tarfile.TarInfo):
                tar.addfile(one)
                continue
            member = tarfile.TarInfo(one[0])
            member.size = len(one[1])
            tar.addfile(member, io.BytesIO(one[1]))
    return file


def test_a_project_travels_as_one_file(terminal: Terminal, project: str, archive: Path) -> None:
    before = terminal.json("task", "list"), terminal.json("log", project)
    terminal.ok("verify", "--archive", archive)
    forget(terminal, project)
    assert terminal.ok("import", archive) == project
    assert (terminal.json("task", "list"), terminal.json("log", project)) == before
    terminal.ok("verify", project)
    terminal.ok("task", "add", project, "goes on")
    link = (
        terminal.home
        / terminal.alice
        / "projects"
        / "home.example"
        / project.split("@", maxsplit=1)[0]
    )
    assert (link / "project.json").is_file()


def test_an_archive_holds_the_container_and_its_keys(archive: Path, project: str) -> None:
    members = dict(members_of(archive))
    manifest = json.loads(members.pop("manifest.json"))
    assert (manifest["project"], manifest["seq"]) == (project, 6)
    assert list(manifest["keys"]) == ["home.example/k1"]
    assert [name.split("/")[0] for name in members] == ["log", "blobs"]


def test_an_existing_file_is_replaced_only_by_force(
    terminal: Terminal, project: str, archive: Path
) -> None:
    assert "exists already" in terminal.refused("export", project, archive)
    terminal.ok("export", project, archive, "--force")
    assert sorted(path.name for path in terminal.directory.glob("*.gz")) == ["team.tar.gz"]
    assert not list(terminal.directory.glob(".tmp-*"))


def test_a_damaged_project_is_not_exported(terminal: Terminal, project: str) -> None:
    log = terminal.log_of(project)
    log.write_bytes(b"".join(_change_text(lines_of(log))))
    said = terminal.refused("export", project, terminal.directory / "x.tar.gz")
    assert said == f"entry 4 of {project} is damaged: bad-body"
    assert not list(terminal.directory.glob("*.gz"))


def test_an_existing_project_is_not_replaced(
    terminal: Terminal, project: str, archive: Path
) -> None:
    assert f"the project {project} exists here already" in terminal.refused("import", archive)


def test_a_truncated_archive_is_refused(terminal: Terminal, project: str, archive: Path) -> None:
    forget(terminal, project)
    content = archive.read_bytes()
    for length in (0, 5, len(content) // 2, len(content) - 4):
        archive.write_bytes(content[:length])
        for words in (["import", archive], ["verify", "--archive", archive]):
            assert "not an archive of a project" in terminal.refused(*words)
    assert_nothing_left(terminal, project)


def assert_nothing_left(terminal: Terminal, project: str) -> None:
    assert not terminal.log_of(project).parents[1].exists()
    assert not list(terminal.home.glob(".tmp-*"))


def test_an_archive_with_one_bit_changed_is_refused(
    terminal: Terminal, project: str, archive: Path
) -> None:
    forget(terminal, project)
    members = members_of(archive)
    for at, (name, content) in enumerate(members):
        changed = content.replace(b"milk", b"silk").replace(b"plan", b"plot")
        if changed == content:
            continue
        broken = packed(archive, [*members[:at], (name, changed), *members[at + 1 :]])
        assert "the archive is damaged" in terminal.refused("import", broken)
        assert terminal.run("verify", "--archive", broken).exit_code == 1
    assert_nothing_left(terminal, project)


def _link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    "hostile",
    [
        ("../../evil", b"x"),
        ("/etc/evil", b"x"),
        ("log/../../evil", b"x"),
        ("log/00000001.jsonl/../evil", b"x"),
        ("blobs/aa/" + "b" * 64, b"x"),
        ("blobs/aa/aa", b"x"),
        ("project.json", b"{}"),
        _link("log/00000001.jsonl", "/etc/passwd", tarfile.SYMTYPE),
        _link("log/00000001.jsonl", "manifest.json", tarfile.LNKTYPE),
        _link("log", "", tarfile.DIRTYPE),
        _link("log/00000001.jsonl", "", tarfile.FIFOTYPE),
        _link("log/00000001.jsonl", "", tarfile.CHRTYPE),
        _link("x", "", tarfile.XHDTYPE),
    ],
    ids=lambda one: one.name if isinstance(one, tarfile.TarInfo) else one[0][:20],
)
def test_a_hostile_archive_writes_nothing(
    terminal: Terminal, project: str, archive: Path, hostile: tarfile.TarInfo | tuple[str, bytes]
) -> None:
    forget(terminal, project)
    packed(archive, [members_of(archive)[0], hostile])
    assert "not an archive of a project: it holds" in terminal.refused("import", archive)
    assert_nothing_left(terminal, project)
    assert not list(terminal.directory.rglob("evil"))


def test_an_archive_must_be_as_its_manifest_says(
    terminal: Terminal, project: str, archive: Path
) -> None:
    forget(terminal, project)
    (name, manifest), *rest = members_of(archive)
    log = rest[0][1]

    def refused(first: dict[str, Any] | bytes, *others: tuple[str, bytes]) -> str:
        content = first if isinstance(first, bytes) else json.dumps(first).encode()
        return terminal.refused("import", packed(archive, [(name, content), *others]))

    good = json.loads(manifest)
    short = b"".join(log.splitlines(keepends=True)[:5])
    assert "does not end with entry 6" in refused(manifest, (rest[0][0], short), *rest[1:])
    assert "attachments" in refused(manifest, rest[0])
    assert "twice" in refused(manifest, rest[0], rest[0])
    assert "it is of another kind" in refused(good | {"tx": 2}, *rest)
    assert "its manifest cannot be read" in refused(good | {"hash": "x"}, *rest)
    assert "its manifest cannot be read" in refused(b"[", *rest)
    assert "this is the server of" in refused(good | {"project": "x@far.example"}, *rest)
    other = f"{'b' * 26}@home.example"
    assert "entry of another project" in refused(good | {"project": other}, *rest)
    packed(archive, [rest[0]])
    assert "does not begin with its manifest" in terminal.refused("import", archive)
    packed(archive, [])
    assert "it is empty" in terminal.refused("import", archive)
    assert_nothing_left(terminal, project)


def test_an_archive_may_not_grow_without_end(
    terminal: Terminal, project: str, archive: Path
) -> None:
    forget(terminal, project)
    said = terminal.refused("import", archive, "--max-bytes", "1000")
    assert "unpacks to more than 1000 bytes" in said
    huge = tarfile.TarInfo("log/00000001.jsonl")
    huge.size = 1 << 40
    manifest = members_of(archive)[0]
    with gzip.open(archive, "wb") as out:
        first = tarfile.TarInfo(manifest[0])
        first.size = len(manifest[1])
        padded = manifest[1] + b"\0" * (-len(manifest[1]) % 512)
        out.write(first.tobuf() + padded + huge.tobuf(format=tarfile.GNU_FORMAT))
    assert "is larger than" in terminal.refused("import", archive)
    assert_nothing_left(terminal, project)


def test_an_archive_of_another_key_is_refused(
    terminal: Terminal, project: str, archive: Path
) -> None:
    forget(terminal, project)
    app.key_file(terminal.config).write_text("A" * 43 + "\n")
    assert "another key of the domain" in terminal.refused("import", archive)


def test_members_who_are_no_users_are_named(
    terminal: Terminal, project: str, archive: Path
) -> None:
    forget(terminal, project)
    layout = app.layout_of(terminal.config)
    for path in layout.home.glob("directory.sqlite3*"):
        path.unlink()
    result = terminal.run("import", archive)
    assert result.exit_code == 0
    assert f"{terminal.bob} is no user here yet" in result.stderr


def test_what_an_interrupted_import_left_is_removed(
    terminal: Terminal, project: str, archive: Path
) -> None:
    forget(terminal, project)
    left = terminal.home / ".tmp-import-old" / "home.example"
    left.mkdir(parents=True)
    terminal.ok("import", archive)
    assert list(terminal.home.glob(".tmp-*")) == []
