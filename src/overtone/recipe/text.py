"""YAML of bounded size: a few hundred characters can stand for gigabytes."""

from __future__ import annotations

from typing import Any

import yaml

LONGEST = 200_000
"""Characters of a recipe; the longest that is shipped has 4,000."""

DEEPEST = 32
"""Levels of lists and mappings."""

MOST = 20_000
"""Values, counted as often as aliases repeat them."""

DIGITS = 100
"""Characters of a number."""


class TooMuch(yaml.YAMLError):
    """Valid YAML that no recipe needs."""


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice instead of silently keeping the last, and what is too deep."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise TooMuch(f"lists and mappings are more than {DEEPEST} deep")
        node = super().compose_node(parent, index)  # type: ignore[no-untyped-call]
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # `<<: *other` may stand several times
                continue
            key = self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
            if isinstance(key, (list, dict, set)):
                continue  # refused by the base class, with its own message
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


# Besides its own errors, PyYAML lets Python's escape from impossible dates, numbers and tags.
YAML_ERRORS = (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, RecursionError)


def parse(text: str) -> Any:
    """What YAML says, if that is of a size that a recipe may have.

    Raises:
        One of ``YAML_ERRORS``; :class:`TooMuch` with the number where it is too large, or a mapping holds itself.
    """
    if len(text) > LONGEST:
        raise TooMuch(f"it has more than {LONGEST} characters")
    loader = _Loader(text)
    try:
        node = loader.get_single_node()  # type: ignore[no-untyped-call]
        if node is None:
            return None
        count = _size(node, {})
        if count > MOST:
            raise TooMuch(f"it holds {_about(count)} values, as its aliases repeat them; a recipe has at most {MOST}")
        return loader.construct_document(node)  # type: ignore[no-untyped-call]
    finally:
        loader.dispose()  # type: ignore[no-untyped-call]


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Values that a node stands for, itself included; aliases are the same node again, and counted again."""
    if isinstance(node, yaml.ScalarNode):
        if node.tag.endswith((":int", ":float")) and len(node.value) > DIGITS:
            raise TooMuch(f"a number of {len(node.value)} characters")
        if any("\ud800" <= sign <= "\udfff" for sign in node.value):
            raise TooMuch(f"{node.value[:60]!r} holds half a character (it is not UTF-8)")
        return 1
    if id(node) not in known:
        known[id(node)] = 0  # under way
        pairs = node.value if isinstance(node, yaml.MappingNode) else [[child] for child in node.value]
        known[id(node)] = 1 + sum(_size(child, known) for pair in pairs for child in pair)
    elif not known[id(node)]:
        raise TooMuch("a list or mapping holds itself")
    return known[id(node)]


def _about(count: int) -> str:
    return str(count) if count < 10**9 else f"{float(min(count, 10**300)):.0e}"
