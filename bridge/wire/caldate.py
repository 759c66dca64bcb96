"""Dates and times: the text in task keys, the value in iCalendar, the second in UTC.

Four forms of text (tx-protocol section 8), all exact: ``2026-12-01`` (a date, never shifted
by any zone), ``2026-12-01T09:00:00Z`` (an instant), ``2026-12-01T09:00:00[Europe/Berlin]``
(local time with its zone, RFC 9557 without an offset, because the rules of a zone change)
and ``2026-12-01T09:00:00`` (floating). What is none of these is None, never an exception.
Zones named by a client are looked up among the known ones and then in the VTIMEZONE it
sent; a zone that neither explains counts as UTC. Only VTIMEZONEs with yearly rules are
computed: others could be made to run for ever.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
import zoneinfo
from collections.abc import Mapping

from icalendar import Timezone

_VALUE = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)(Z?))?\Z", re.ASCII)
_TEXT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:T(\d\d):(\d\d)(?::(\d\d))?(?:[.,]\d{1,9})?(?:(Z|[+-]\d\d:\d\d)?(?:\[!?([^\[\]]+)\])?))?\Z",
    re.ASCII | re.IGNORECASE,
)
_DURATION = re.compile(
    r"([+-]?)P(?:(\d{1,5})W)?(?:(\d{1,6})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,7})M)?(?:(\d{1,9})S)?)?\Z",
    re.ASCII,
)
# A zone id that can stand in a key's brackets and, quoted or not, in a parameter.
_ZONE = re.compile(r"[^\x00-\x1f\x7f\[\]\"^\\;,:]{1,128}\Z")
_QUOTED_ZONE = re.compile(r"[^\x00-\x1f\x7f\[\]\"^\\]{1,128}\Z")
_KNOWN_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,3}\Z")
_RULE = re.compile(r"(?im)^RRULE[^:\n]*:(.*)")
# What real zones use. Anything else could keep dateutil searching to the year 9999.
_ZONE_RULE = re.compile(
    r"(?i)(?:(?:FREQ=YEARLY|INTERVAL=1|BYMONTH=\d+|BYDAY=[+-]?\d*[A-Z]{2}|UNTIL=[0-9TZ]+|"
    r"COUNT=\d+|WKST=[A-Z]{2}|BYMONTHDAY=(?!30|31)[0-9,]+)(?:;|\Z))+\Z"
)
_ZONE_TEXT_MAX = 64 * 1024
_LEAP_SECOND = 60
_ZONE_RULES_MAX = 100

Zones = Mapping[str, str]
"""TZID -> text of the VTIMEZONE the client sent."""
NO_ZONES: Zones = {}


@functools.lru_cache(maxsize=2048)
def from_ical(value: str, tzid: str = "") -> str | None:
    """Return the key text of a DATE or DATE-TIME value (RFC 5545 sections 3.3.4, 3.3.5)."""
    found = _VALUE.match(value)
    if not found:
        return None
    year, month, day, hour, minute, second, utc = found.groups()
    if not _is_moment(found.groups()[:6]):
        return None
    date = f"{year}-{month}-{day}"
    if hour is None:
        return date
    text = f"{date}T{hour}:{minute}:{second}"
    if utc or not tzid:
        return text + utc
    return f"{text}[{tzid}]" if _QUOTED_ZONE.match(tzid) else None


@functools.lru_cache(maxsize=2048)
def to_ical(text: str) -> tuple[str, str] | None:
    """Return (parameters, value) of a key's text, such as ``(";VALUE=DATE", "20261201")``.

    Fractions of a second are cut; an offset without a zone becomes UTC.
    """
    plain = canonical(text)
    if plain is None:
        return None
    local, bracket, zone = plain.partition("[")
    value = local.replace("-", "").replace(":", "")
    if bracket:
        zone = zone[:-1]
        return f";TZID={zone}" if _ZONE.match(zone) else f';TZID="{zone}"', value
    return ("" if "T" in value else ";VALUE=DATE"), value


def canonical(text: str) -> str | None:
    """Return the one spelling of a key's date text, or None where it is none."""
    found = _TEXT.match(text)
    if not found:
        return None
    year, month, day, hour, minute, second, offset, zone = found.groups()
    second = second or "00"
    parts = (year, month, day, hour, minute, second)
    if not _is_moment(parts) or (zone and not _QUOTED_ZONE.match(zone)):
        return None
    date = f"{year}-{month}-{day}"
    if hour is None:
        return date
    local = f"{date}T{hour}:{minute}:{second}"
    if offset in {"Z", "z"}:
        return local + "Z"
    if zone:
        # With an offset beside it the wall time is what the person meant (RFC 9557 4.5).
        return f"{local}[{zone}]"
    return _shifted(local, offset) if offset else local


def epoch(text: str, zones: Zones = NO_ZONES) -> int | None:
    """Return the UTC second of a key's date text; dates and floating times count as UTC."""
    plain = canonical(text)
    if plain is None:
        return None
    local, bracket, zone = plain.partition("[")
    moment = _naive(local)
    if not bracket:
        return _utc(moment)
    tz = timezone(zone[:-1], zones.get(zone[:-1], ""))
    if tz is None:
        return _utc(moment)
    try:
        return int(moment.replace(tzinfo=tz).timestamp())
    except (ValueError, OverflowError, TypeError):
        return _utc(moment)


def from_epoch(second: int) -> str:
    """Return the instant of a UTC second; seconds outside years 1 to 9999 are cut to them."""
    bound = max(-62_135_596_800, min(253_402_300_799, second))
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=bound)
    return moment.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def is_date(text: str) -> bool:
    """Tell whether a key's text is a date without a time."""
    return len(text) == len("2026-12-01")


def duration(value: str) -> tuple[int, int] | None:
    """Return (days, seconds) of a DURATION value, both signed (RFC 5545 section 3.3.6)."""
    found = _DURATION.match(value)
    if not found or not any(found.groups()[1:]):
        return None
    sign = -1 if found[1] == "-" else 1
    weeks, days, hours, minutes, seconds = (int(each or 0) for each in found.groups()[1:])
    return sign * (weeks * 7 + days), sign * (hours * 3600 + minutes * 60 + seconds)


def add(text: str, length: tuple[int, int], zones: Zones = NO_ZONES) -> str | None:
    """Return `text` plus a duration: days by the calendar, seconds exact (RFC 5545 3.3.6)."""
    plain = canonical(text)
    if plain is None:
        return None
    days, seconds = length
    if is_date(plain):
        days, seconds = days + seconds // 86_400, 0
    local, bracket, zone = plain.partition("[")
    tail = bracket + zone
    tz = timezone(zone[:-1], zones.get(zone[:-1], "")) if bracket else None
    try:
        moment = _naive(local) + dt.timedelta(days=days)
        if tz is None or not seconds:
            moment += dt.timedelta(seconds=seconds)
        else:
            there = moment.replace(tzinfo=tz).astimezone(dt.UTC) + dt.timedelta(seconds=seconds)
            moment = there.astimezone(tz).replace(tzinfo=None)
    except (ValueError, OverflowError, TypeError):
        return None
    if is_date(plain):
        return moment.date().isoformat()
    return moment.isoformat(timespec="seconds") + ("Z" if plain.endswith("Z") else tail)


def timezone(tzid: str, vtimezone: str = "") -> dt.tzinfo | None:
    """Return the zone called `tzid`: a known one, else the one `vtimezone` describes."""
    name = tzid
    # Evolution and libical prefix the known name: /freeassociation.sourceforge.net/Europe/Vienna.
    if tzid.startswith("/"):
        name = "/".join(tzid.split("/")[-2:])
    return _known(name) or (_described(vtimezone) if vtimezone else None)


@functools.lru_cache(maxsize=1024)
def _known(name: str) -> dt.tzinfo | None:
    if not _KNOWN_ZONE.match(name):
        return None
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None


@functools.lru_cache(maxsize=256)
def _described(vtimezone: str) -> dt.tzinfo | None:
    """Return the zone of a VTIMEZONE text, by icalendar; None for what it cannot use."""
    rules = _RULE.findall(vtimezone)
    if len(vtimezone) > _ZONE_TEXT_MAX or len(rules) > _ZONE_RULES_MAX:
        return None
    if not all(_ZONE_RULE.match(rule) and "FREQ=YEARLY" in rule.upper() for rule in rules):
        return None
    try:
        zone = Timezone.from_ical(vtimezone.replace("\n", "\r\n") + "\r\n")
        if not isinstance(zone, Timezone):
            return None
        tz: dt.tzinfo = zone.to_tz(lookup_tzid=False)
        # A zone that cannot answer now would raise later, far from here.
        tz.utcoffset(dt.datetime(2026, 7, 1))  # noqa: DTZ001 - asks for the wall time's offset
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
        return None
    return tz


def _shifted(local: str, offset: str) -> str | None:
    """Return local time with an offset as an instant."""
    hours, minutes = int(offset[1:3]), int(offset[4:6])
    shift = dt.timedelta(hours=hours, minutes=minutes) * (-1 if offset[0] == "+" else 1)
    try:
        return (_naive(local) + shift).isoformat(timespec="seconds") + "Z"
    except OverflowError:
        return None


def _naive(local: str) -> dt.datetime:
    """Return a wall time; second 60 counts as 59."""
    text = local.removesuffix("Z").replace(":60", ":59")
    return dt.datetime.fromisoformat(text).replace(tzinfo=None)


def _utc(moment: dt.datetime) -> int:
    return int(moment.replace(tzinfo=dt.UTC).timestamp())


def _is_moment(parts: tuple[str | None, ...]) -> bool:
    """Tell whether year, month, day and, unless None, hour, minute, second exist."""
    year, month, day, hour, minute, second = parts
    if hour is not None and not (
        hour < "24" and (minute or "") < "60" and int(second or 0) <= _LEAP_SECOND
    ):
        return False
    if "00" < (day or "") <= "28":
        return (year or "") > "0000" and "00" < (month or "") <= "12"
    try:
        dt.date(int(year or 0), int(month or 0), int(day or 0))
    except ValueError:
        return False
    return True
