"""JSON whose depth, time and memory are bounded before it is parsed."""

import json
import re
from typing import Any

import numpy as np

#: how deep values may be inside of each other
_MAX_DEPTH = 100
#: bytes that a list, a table and each entry of a table but its first take, if nothing is in it
_LIST, _TABLE, _ENTRY = 80, 240, 230
#: bytes that all of them may take: some, and so many times those of the text
_MAX_BYTES, _MAX_TIMES = 40_000_000, 16
#: a text in quotes, or what is left of one; it never goes back, so that it takes linear time
_QUOTED = re.compile(r'"(?:[^"\\]++|\\.)*+\\?(?:"|\Z)', re.DOTALL)
_NOT_BRACKETS = re.compile(r"[^\[\]{}]++")


class Damage(Exception):
    """What is wrong with a file."""


def check(text: str) -> None:
    """Raise unless a text is one that can be parsed in little time and memory.

    Raises
    ------
    Damage
    """
    bare = _QUOTED.sub("", text)
    lists, tables, entries = map(bare.count, "[{:")
    size = _LIST * lists + _TABLE * tables + _ENTRY * max(0, entries - tables)
    if size > _MAX_BYTES + _MAX_TIMES * len(text):
        raise Damage("its JSON has too many parts")
    brackets = np.frombuffer(_NOT_BRACKETS.sub("", bare).encode(), dtype=np.uint8)
    opens = (brackets == ord("[")) | (brackets == ord("{"))
    depth = np.cumsum(np.where(opens, 1, -1).astype(np.int8), dtype=np.int32)
    if depth.max(initial=0) > _MAX_DEPTH:
        raise Damage("its JSON is nested too deep")


def parse(text: str) -> Any:
    """The value of a JSON text in which no name occurs twice and all characters are whole.

    Raises
    ------
    Damage
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise Damage("a name occurs twice")
        return found

    check(text)
    try:
        found = json.loads(text, object_pairs_hook=unique)
        if "\\u" in text:  # a half of a character could not be written again
            json.dumps(found, ensure_ascii=False).encode()
    except ValueError:
        raise Damage("its JSON is damaged") from None
    return found
