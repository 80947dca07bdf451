"""What a Markdown page points to: its links, its pictures with their alternative texts, the anchors of its headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LINK = re.compile(r"(?P<picture>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^)\s]+)\)")
_TAG = re.compile(r"<(?P<tag>img|a|iframe|source)\b(?P<rest>[^>]*)>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"(src|href|alt)=\"([^\"]*)\"", re.IGNORECASE)
_FENCE = re.compile(r"^```.*?^```[ \t]*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]+`")
_INTERVAL = re.compile(r"\[(-?[\d.]+), (-?[\d.]+)\]")
_REMOTE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)


@dataclass(frozen=True)
class Link:
    """A link or a picture. `text` is a picture's alternative text; `remote`: it leads out of the checkout."""

    target: str
    text: str
    picture: bool

    @property
    def remote(self) -> bool:
        """Whether it leads to another host, or is mail."""
        return _REMOTE.match(self.target) is not None

    @property
    def file(self) -> str:
        """The file's part of the target; empty for an anchor of the same page."""
        return self.target.partition("#")[0]

    @property
    def anchor(self) -> str:
        """The heading's part of the target."""
        return self.target.partition("#")[2]


def prose(text: str) -> str:
    """The text without code, in which brackets are no links and # is no heading."""
    return _CODE.sub("``", _FENCE.sub("", text))


def links(text: str) -> Iterator[Link]:
    """Every link and picture of a page, as Markdown or as HTML; pictures within links count too."""
    text = prose(text)
    for match in _LINK.finditer(text):
        yield Link(match["target"], match["text"], match["picture"] == "!")
        if "](" in match["text"]:
            yield from links(match["text"])
    for match in _TAG.finditer(text):
        given = {name.lower(): value for name, value in _ATTRIBUTE.findall(match["rest"])}
        picture = match["tag"].lower() == "img"
        for name in ("src", "href"):
            if name in given:
                yield Link(given[name], given.get("alt", ""), picture)


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings: lower case, no punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+\s+(.*?)\s*$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(text: str, folder: Path) -> list[str]:
    """The targets of a page in `folder` that are no file of the checkout, or no heading of it."""
    wrong = []
    for link in links(text):
        if link.remote:
            continue
        page = folder / link.file if link.file else None
        if page is not None and not page.exists():
            wrong.append(link.target)
        elif link.anchor and (page is None or page.suffix == ".md"):
            known = anchors(page.read_text(encoding="utf-8") if page else text)
            if link.anchor not in known:
                wrong.append(link.target)
    return wrong


def unnamed_pictures(text: str, least: int = 3) -> list[str]:
    """Pictures whose alternative text has fewer than `least` words: a reader who cannot see them is told nothing."""
    return [link.target for link in links(text) if link.picture and len(link.text.split()) < least]


def whole_intervals(text: str) -> str:
    """'[.642, .674]' with a space at which no line breaks."""
    return _INTERVAL.sub("[\\1,\u00a0\\2]", text)
