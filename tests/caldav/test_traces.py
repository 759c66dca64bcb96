"""Real requests of six clients against the door; see traces/README.md."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from davdoor import Door, serving
from house import ALICE

TRACES = Path(__file__).parent / "traces"
# Not met: WebDAV-Push (3).
MET, ALL = 207, 210


@pytest.mark.timeout(60)
def test_the_clients_expectations_are_met() -> None:
    door = Door()
    with serving(door.application) as url:
        command = [
            sys.executable,
            str(TRACES / "replay.py"),
            *("--url", url, "--user", ALICE, "--password", door.logins[ALICE]),
        ]
        run = subprocess.run(  # noqa: S603 - our own script
            command, capture_output=True, text=True, timeout=50, check=False
        )
    figure = re.search(r"FIGURE traces (\d+)/(\d+)", run.stdout)
    assert figure, run.stderr
    assert int(figure[2]) == ALL
    assert int(figure[1]) >= MET, run.stdout
