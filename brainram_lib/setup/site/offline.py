"""Whether a built site stands on its own: nothing that a page loads may come from another host."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

# What a browser fetches by itself. Links that a reader may follow are no resource.
_LOADS = {
    "script": ("src",),
    "img": ("src", "srcset"),
    "iframe": ("src",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
    "audio": ("src",),
    "embed": ("src",),
    "object": ("data",),
    "image": ("href", "xlink:href"),
    "use": ("href", "xlink:href"),
    "input": ("src",),
}
_KINDS = {"stylesheet", "icon", "preload", "prefetch", "modulepreload", "manifest", "dns-prefetch", "preconnect"}
_REMOTE = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
_STYLE = re.compile(r"(?:url\(\s*['\"]?|@import\s+['\"])(\s*(?:https?:)?//[^'\")\s]+)", re.IGNORECASE)


class _Resources(HTMLParser):
    """Collects what a page loads, and pictures without an alternative text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.remote: list[str] = []
        self.unnamed: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        names = ("href",) if tag == "link" and set(given.get("rel", "").split()) & _KINDS else _LOADS.get(tag, ())
        self.remote += [given[name] for name in names if _REMOTE.match(given.get(name, ""))]
        self.remote += _STYLE.findall(given.get("style", ""))
        if tag == "img" and not given.get("alt", "").strip():
            self.unnamed.append(given.get("src", "")[:80])
        if "srcdoc" in given:
            self.feed_inner(given["srcdoc"])
        self._in_style = tag == "style"

    def feed_inner(self, text: str) -> None:
        """A page within the page."""
        inner = _Resources()
        inner.feed(text)
        self.remote += inner.remote

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.remote += _STYLE.findall(data)


def resources(text: str) -> tuple[list[str], list[str]]:
    """Of an HTML page: what it loads from other hosts, and the pictures without an alternative text."""
    reader = _Resources()
    reader.feed(text)
    return reader.remote, reader.unnamed


def faults(site: Path) -> Iterator[str]:
    """A sentence for each resource from another host and each picture without a name, in all pages and styles."""
    for path in sorted(site.rglob("*")):
        name = path.relative_to(site)
        if path.suffix == ".html":
            remote, unnamed = resources(path.read_text(encoding="utf-8"))
            yield from (f"{name} loads '{one.strip()}' from another host." for one in remote)
            yield from (f"{name}: the picture '{one}' has no alternative text." for one in unnamed)
        elif path.suffix == ".css":
            found = _STYLE.findall(path.read_text(encoding="utf-8"))
            yield from (f"{name} loads '{one.strip()}' from another host." for one in found)
