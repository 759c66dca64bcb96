"""Settings: one TOML file, environment, credentials -> frozen values (design section 9)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bridge import listener

if TYPE_CHECKING:
    from bridge.model.ids import Domain

DEFAULT_FILE: Final = Path("/etc/tx-bridge/bridge.toml")
DEFAULT_SPOOL: Final = Path("/var/spool/tasks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings of a gateway."""

    domain: Domain
    spool: Path = DEFAULT_SPOOL
    key_file: Path | None = None
    directory_url: str = ""
    index_url: str = ""
    reserve: int = 64 * 1024 * 1024
    max_attachment: int = 25 * 1024 * 1024
    http: listener.Settings = field(default_factory=listener.Settings)
