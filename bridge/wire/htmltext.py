"""HTML of a mail reduced to text (mail-trust section 4, rules 20 and 21).

Promises: linear time and a bounded result; nothing is fetched, run or rendered; comments,
scripts, styles, images and all attributes but a link's http, https or mailto address are
gone. The library html2text does the layout, but never sees the sender's markup: on 64 KiB
of ``<a <a <a`` the parser below it needs 36 s, on nested lists it returns 67 MB. So a
scanner of our own writes well-formed markup of known tags with a bounded depth first.
"""

from __future__ import annotations

import re
from html import escape, unescape
from typing import Final

import html2text

HTML_MAX: Final = 256 * 1024
"""Characters of HTML that are read; the rest is dropped."""
_DEPTH_MAX: Final = 10
_TAGS_MAX: Final = 10_000

_MARK: Final = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]{0,15}+)(?![A-Za-z0-9])([^<>]{0,4000}+)>")
_DECLARATION: Final = re.compile(r"<[!?][^<>]{0,4000}+>")
_LINK: Final = re.compile(
    r"(?:^|[ \t\r\n])href[ \t]{0,9}=[ \t]{0,9}(?:\"([^\"]{0,1000}+)\"|'([^']{0,1000}+)'|([^ \t\r\n\"']{1,1000}+))",
    re.IGNORECASE,
)
_SAFE_LINK: Final = re.compile(r"(?:https?://|mailto:)[!-~]{1,1000}\Z", re.IGNORECASE)
_DROPPED_WITH_CONTENT: Final = frozenset(
    ("script", "style", "head", "title", "template", "noscript", "svg", "math", "iframe", "object")
)
_NESTED: Final = frozenset(
    (
        "ul", "ol", "li", "blockquote", "b", "strong", "i", "em", "a", "pre", "code",
        "h1", "h2", "h3", "h4", "h5", "h6", "p", "table", "tr", "td", "th",
    )
)  # fmt: skip
_AS_PARAGRAPH: Final = frozenset(("div", "section", "article", "header", "footer", "center"))
_SINGLE: Final = frozenset(("br", "hr"))
# The sender's own "<", ">" and "&" pass the library as private-use characters: as character
# references each would cost an event of its parser.
_HIDDEN: Final = {ord("<"): "\ue000", ord(">"): "\ue001", ord("&"): "\ue002"}
_SHOWN: Final = {0xE000: "<", 0xE001: ">", 0xE002: "&"}
_PRIVATE: Final = dict.fromkeys((0xE000, 0xE001, 0xE002))


def text_of_html(markup: str) -> str:
    """Return `markup` as plain text (Markdown for lists, emphasis and links), uncleaned."""
    reader = html2text.HTML2Text(bodywidth=0)
    reader.ignore_images = True
    reader.ignore_tables = True
    reader.inline_links = True
    reader.escape_snob = False
    safe = _Rewriter(markup[:HTML_MAX].translate(_PRIVATE)).result()
    return reader.handle(safe).translate(_SHOWN).strip()


class _Rewriter:
    """One pass over the markup; every character is looked at a bounded number of times."""

    def __init__(self, markup: str) -> None:
        self.markup = markup
        self.out: list[str] = []
        self.open: list[str] = []
        self.tags = 0

    def result(self) -> str:
        position = 0
        while True:
            bracket = self.markup.find("<", position)
            if bracket < 0:
                self._text(self.markup[position:])
                break
            self._text(self.markup[position:bracket])
            position = self._markup(bracket)
            if position < 0:
                break
        while self.open:
            self.out.append(f"</{self.open.pop()}>")
        return "".join(self.out)

    def _text(self, text: str) -> None:
        if text:
            plain = unescape(text).translate(_PRIVATE)
            self.out.append(plain.translate(_HIDDEN))

    def _markup(self, start: int) -> int:
        """Handle what begins with ``<`` at `start`; return where to go on, -1 for nowhere."""
        if self.markup.startswith("<!--", start):
            end = self.markup.find("-->", start + 4)
            return end + 3 if end >= 0 else -1
        found = _MARK.match(self.markup, start)
        if found is None:
            declaration = _DECLARATION.match(self.markup, start)
            if declaration is not None:
                return declaration.end()
            self.out.append(_HIDDEN[ord("<")])
            return start + 1
        closing, name = bool(found[1]), found[2].lower()
        if name in _DROPPED_WITH_CONTENT and not closing:
            return self._skip(name, found.end())
        self.tags += 1
        if self.tags <= _TAGS_MAX:
            self._tag(name, found[3], closing=closing)
        return found.end()

    def _skip(self, name: str, position: int) -> int:
        end = re.compile(rf"</{name}[^<>]{{0,100}}>", re.IGNORECASE).search(self.markup, position)
        return end.end() if end is not None else -1

    def _tag(self, name: str, attributes: str, *, closing: bool) -> None:
        if name in _AS_PARAGRAPH:
            name = "p"
        if name in _SINGLE:
            self.out.append(f"<{name}>")
        elif name not in _NESTED:
            self.out.append(" ")
        elif closing:
            self._close(name)
        else:
            if name == "p" and "p" in self.open:
                self._close("p")
            if len(self.open) < _DEPTH_MAX:
                self.open.append(name)
                self.out.append(f"<{name}{_link(attributes) if name == 'a' else ''}>")
            elif name in {"p", "li", "tr"}:
                self.out.append("<br>")

    def _close(self, name: str) -> None:
        if name not in self.open:
            return
        while True:
            last = self.open.pop()
            self.out.append(f"</{last}>")
            if last == name:
                return


def _link(attributes: str) -> str:
    found = _LINK.search(attributes)
    if found is None:
        return ""
    target = unescape(found[1] or found[2] or found[3] or "").strip()
    return f' href="{escape(target)}"' if _SAFE_LINK.match(target) else ""
