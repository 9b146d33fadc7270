"""Markup that escapes by default: whatever is not marked as finished markup is text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import TypeAlias

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class Html(str):
    """Finished markup. Every other string is text, and is escaped where it meets markup."""

    __slots__ = ()


Content: TypeAlias = str | int | float | Iterable["Content"] | None
Attribute: TypeAlias = str | int | float | bool | None


def escape(text: object) -> str:
    """Text for markup and for attributes; control characters, which no browser can show, become U+FFFD."""
    return html.escape(_CONTROL.sub("\ufffd", str(text)))


def join(*content: Content) -> Html:
    """Content one after the other: markup as it is, text escaped, None left out."""
    parts: list[str] = []
    for item in content:
        if item is None:
            continue
        if isinstance(item, Html):
            parts.append(item)
        elif isinstance(item, (str, int, float)):
            parts.append(escape(item))
        else:
            parts.extend(join(inner) for inner in item)
    return Html("".join(parts))


def tag(name: str, /, *content: Content, **attributes: Attribute) -> Html:
    """An element: ``tag("td", 3, class_="number")``.

    Args:
        name: of the element.
        content: text (escaped), markup, or lists of both.
        attributes: ``class_`` for class, ``aria_label`` for aria-label; None and False are left out, True stands alone.
    """
    pairs = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        pairs.append(f" {key}" if value is True else f' {key}="{escape(value)}"')
    opening = f"<{name}{''.join(pairs)}>"
    if name in ("br", "meta", "col", "img"):
        return Html(opening)
    return Html(f"{opening}{join(*content)}</{name}>")


def section(identity: str, title: str, *content: Content) -> Html:
    """A part of the page with its heading."""
    heading = tag("h2", title, id=f"{identity}-title")
    return tag("section", heading, *content, id=identity, aria_labelledby=f"{identity}-title")


def scroll(content: Content, label: str) -> Html:
    """A box that scrolls by itself where its content is wider than the page; reachable by keyboard."""
    return tag("div", content, class_="scroll", role="region", aria_label=label, tabindex=0)


def details(summary: Content, *content: Content, open_: bool = False) -> Html:
    """Content behind a line that opens it."""
    return tag("details", tag("summary", summary), *content, open=open_)


def note(*content: Content) -> Html:
    """A paragraph of small print."""
    return tag("p", *content, class_="note")


def plural(count: int, word: str, many: str | None = None) -> str:
    """``1 fold``, ``3 folds``; thousands are separated by a thin space."""
    return f"{count:,}".replace(",", "\u202f") + " " + (word if count == 1 else many or f"{word}s")
