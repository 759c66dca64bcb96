"""A ``tx-bridge serve`` that another command runs beside itself.

Promises that the process is gone when `stop` returns, and that a gateway that does not
come up is reported with its own words. Its log goes to a file, not to the terminal.
"""

from __future__ import annotations

import select
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from bridge.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path

_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 40.0
_TAIL: Final = 4096


class GatewayProcess:
    """One gateway: started, waited for, stopped."""

    def __init__(
        self, config: Path, log: Path, web: tuple[str, int], mail: tuple[str, int]
    ) -> None:
        """Serve `config`, HTTP on `web` and mail on `mail`; `log` takes what it says."""
        self._log = log
        self._command = [sys.executable, "-m", "bridge", "serve", "--config", str(config)]
        for option, (host, port) in (("--listen", web), ("--lmtp", mail)):
            shown = f"[{host}]" if ":" in host else host
            self._command += [option, f"{shown}:{port}"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start it and return the line with which it says that it is ready.

        Raises:
            Unavailable: ``step-failed``: it ended, or was not ready in time.
        """
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program, without a shell
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
            )
        output = self._process.stdout
        if output is None or not select.select([output], [], [], _START_SECONDS)[0]:
            raise Unavailable("step-failed", f"the gateway is not ready; its log is {self._log}")
        line = output.readline().decode(errors="replace").strip()
        if not line:
            self._process.wait(_STOP_SECONDS)
            raise Unavailable(
                "step-failed", f"the gateway ended: {self._last_words()}", hint=f"see {self._log}"
            )
        return line

    def _last_words(self) -> str:
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - _TAIL))
            lines = log.read().decode(errors="replace").splitlines()
        told = [line.partition("error: ")[2] for line in lines if "error: " in line]
        return told[-1] if told else "it said nothing"

    def wait(self) -> None:
        """Wait until it ends by itself.

        Raises:
            Unavailable: ``step-failed``: it ended with an error.
        """
        if self._process is not None and self._process.wait():
            raise Unavailable("step-failed", f"the gateway ended: {self._last_words()}")

    def stop(self) -> None:
        """Let it finish what is in hand, then end it."""
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
