#!/usr/bin/env python3
# The runner came with the traces and is kept as it is, so that its figures can be compared.
# fmt: off
# ruff: noqa
# mypy: ignore-errors
"""Replays the .http files of one folder (or all) against a CalDAV server and checks the '# expect' lines.

replay.py --url http://127.0.0.1:5232/ --user alice --password secret [--col /alice/tasks/] [folder ...]

Without --col a VTODO collection is made with MKCALENDAR below the calendar home. Prints one line a request and a total.
"""

import argparse, base64, datetime, http.client, os, re, sys, urllib.parse, uuid
import xml.etree.ElementTree as ET

HERE = os.path.dirname(os.path.abspath(__file__))
NS = {
    "D": "DAV:",
    "C": "urn:ietf:params:xml:ns:caldav",
    "CS": "http://calendarserver.org/ns/",
    "A": "http://apple.com/ns/ical/",
}

ap = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
ap.add_argument("--url", required=True)
ap.add_argument("--user", required=True)
ap.add_argument("--password", required=True)
ap.add_argument("--col", default="")
ap.add_argument("-v", action="store_true", help="print answers of failed requests")
ap.add_argument("folder", nargs="*")
A = ap.parse_args()
U = urllib.parse.urlsplit(A.url)


def tag(name):
    prefix, local = name.split(":", 1)
    return "{%s}%s" % (NS[prefix], local)


def send(method, path, headers, body):
    cls = http.client.HTTPSConnection if U.scheme == "https" else http.client.HTTPConnection
    c = cls(U.hostname, U.port, timeout=60)
    c.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for k, v in headers:
        if k.lower() not in ("content-length", "accept-encoding"):
            c.putheader(k, v)
    if body or method not in ("OPTIONS", "GET", "HEAD", "DELETE"):
        c.putheader("Content-Length", str(len(body)))
    c.endheaders(body or None)
    r = c.getresponse()
    return r.status, r.headers, r.read()


def ok_props(root):
    """(href, element) of every property returned with a 2xx status."""
    for resp in root.iter(tag("D:response")):
        href = resp.findtext(tag("D:href")) or ""
        for ps in resp.iter(tag("D:propstat")):
            if re.search(r" 2\d\d", ps.findtext(tag("D:status")) or " 200"):
                for prop in ps.iter(tag("D:prop")):
                    for e in prop:
                        yield href, e


def lookup(kind, rest, headers, root):
    """Value named by a save line, or None."""
    a = rest.split()
    if kind == "header":
        return headers.get(a[0])
    if root is None:
        return None
    if kind == "text":
        return next((e.text for e in root.iter(tag(a[0])) if e.text), None)
    for href, e in ok_props(root):
        if kind == "href" and e.tag == tag(a[0]):
            return e.findtext(".//" + tag("D:href"))
        if kind == "member" and urllib.parse.unquote(href).endswith(a[0]) and e.tag == tag(a[1]):
            return e.text
    return None


def unfold(text):
    return re.sub(r"\r?\n[ \t]", "", text)


def after(rule, sent, path, headers):
    """exact: the stored object has the content lines of the body sent, in order. kept REGEX: it still has such a line."""
    st, _, b = send("GET", path, [h for h in headers if h[0] in ("Host", "Authorization")], b"")
    want, got = (
        unfold(x.replace("\r\n", "\n")).strip() for x in (sent, b.decode("utf-8", "replace"))
    )
    if rule == "exact":
        return st == 200 and want.split("\n") == got.split("\n")
    return st == 200 and bool(re.search(rule.split(" ", 1)[1], got, re.M))


def check(rule, status, headers, text, root):
    kind, _, rest = rule.partition(" ")
    if kind == "status":
        return str(status) in rest.split()
    if kind == "header":
        name, pattern = rest.split(" ", 1)
        return bool(re.search(pattern, ", ".join(headers.get_all(name) or [])))
    if kind == "body":
        return bool(re.search(rest, unfold(text)))
    if kind == "prop":
        return root is not None and any(e.tag == tag(rest) for _, e in ok_props(root))
    return lookup(kind, rest, headers, root) is not None  # text, href, member


def fill(s, v):
    return re.sub(r"\{\{([^}]+)\}\}", lambda m: v.get(m.group(1), m.group(0)), s)


def main():
    now = datetime.datetime.now(datetime.timezone.utc)
    day = lambda n: (now + datetime.timedelta(days=n)).strftime("%Y%m%dT%H%M%SZ")
    quoted = urllib.parse.quote(A.user, safe="")
    base = {
        "origin": f"{U.scheme}://{U.netloc}",
        "root": U.path or "/",
        "user": A.user,
        "user_quoted": quoted,
        "auth": base64.b64encode(f"{A.user}:{A.password}".encode()).decode(),
        "now-35d": day(-35),
        "now+35d": day(35),
    }
    auth = [("Authorization", "Basic " + base["auth"]), ("Content-Type", "text/xml; charset=utf-8")]
    find = (
        '<propfind xmlns="DAV:" xmlns:C="%s"><prop><current-user-principal/><C:calendar-home-set/></prop></propfind>'
        % NS["C"]
    )
    for name in ("current-user-principal", "calendar-home-set"):
        at = (
            base["root"]
            if name == "current-user-principal"
            else base.get("principal", base["root"])
        )
        st, h, b = send("PROPFIND", at, [("Host", U.netloc), ("Depth", "0")] + auth, find.encode())
        root = ET.fromstring(b) if st == 207 else None
        found = lookup("href", ("D:" if "user" in name else "C:") + name, h, root)
        base["principal" if "user" in name else "home"] = found or base["root"]
    total = good = 0
    for client in A.folder or sorted(
        d for d in os.listdir(HERE) if os.path.isdir(os.path.join(HERE, d))
    ):
        v = dict(base, uid=f"trace-{uuid.uuid4().hex[:8]}", uid_upper=str(uuid.uuid4()).upper())
        v["col"] = A.col or f"{v['home']}{v['uid']}/"
        v.update(mac=v["col"], klist=v["col"], token="", etag='"none"')
        if not A.col:
            mk = (
                '<C:mkcalendar xmlns:C="%s" xmlns:D="DAV:"><D:set><D:prop><D:displayname>traces</D:displayname><C:supported-calendar-component-set>'
                '<C:comp name="VTODO"/></C:supported-calendar-component-set></D:prop></D:set></C:mkcalendar>'
                % NS["C"]
            )
            send("MKCALENDAR", v["col"], [("Host", U.netloc)] + auth, mk.encode())
        plain = (
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//replay//EN\r\nBEGIN:VTODO\r\nUID:%s-undated\r\nDTSTAMP:20260101T000000Z\r\n"
            "SUMMARY:no dates\r\nEND:VTODO\r\nEND:VCALENDAR\r\n" % v["uid"]
        )
        send(
            "PUT",
            f"{v['col']}{v['uid']}-undated.ics",
            [("Host", U.netloc), auth[0], ("Content-Type", "text/calendar")],
            plain.encode(),
        )
        for name in sorted(os.listdir(os.path.join(HERE, client))):
            head, _, rest = (
                open(os.path.join(HERE, client, name), encoding="utf-8").read().partition("\n\n")
            )
            notes = [x[2:] for x in head.splitlines()]
            request, _, body = fill(rest, v).partition("\n\n")
            lines = request.strip().splitlines()
            method, path, _ = lines[0].split(" ", 2)
            headers = [("Host", U.netloc)] + [tuple(x.split(": ", 1)) for x in lines[1:]]
            data = body.rstrip("\n") + "\n" if body.strip() else ""
            if data.startswith("BEGIN:VCALENDAR"):
                data = data.replace("\n", "\r\n")
            st, h, b = send(method, path, headers, data.encode())
            text = b.decode("utf-8", "replace")
            try:
                root = ET.fromstring(b) if text.lstrip().startswith("<") else None
            except ET.ParseError:
                root = None
            bad = []
            for note in notes:
                word, _, rest = note.partition(" ")
                if word == "expect":
                    total += 1
                    passed = (
                        after(rest, data, path, headers)
                        if rest.split()[0] in ("exact", "kept")
                        else check(fill(rest, v), st, h, text, root)
                    )
                    good += passed
                    bad += [] if passed else [rest]
                elif word == "set":
                    key, _, value = rest.partition(" = ")
                    v[key] = fill(value, v)
                elif word == "save":
                    key, _, what = rest.partition(" = ")
                    kind, _, arg = what.partition(" ")
                    got = lookup(kind, fill(arg, v), h, root)
                    if (
                        not got and kind == "header" and st in (200, 201, 204)
                    ):  # no ETag after PUT: clients fetch again
                        got = send(
                            "GET",
                            path,
                            [x for x in headers if x[0] in ("Host", "Authorization")],
                            b"",
                        )[1].get(arg)
                    v[key] = got or v.get(key, "")
            print(
                f"{'ok  ' if not bad else 'FAIL'} {client}/{name} {method} {st}"
                + ("  -- " + "; ".join(bad) if bad else "")
            )
            if bad and A.v:
                print(text[:1500])
    print(f"FIGURE traces {good}/{total}")
    return 0 if good == total else 1


sys.exit(main())
