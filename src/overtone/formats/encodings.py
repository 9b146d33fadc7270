"""Which encoding a text file is in: its byte order mark, UTF-8, or what its bytes look like.

General detectors take a Korean header of a few syllables for Chinese; a table holds little text beside its numbers, so
the rules here ask for characters that are common in one encoding only.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from overtone.errors import InputError

PART = 2**20
SAMPLE = 2**16
"""Bytes of lines beyond ASCII that a decision is made by."""
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
LANGUAGES = {
    "cp949": "Korean",
    "cp932": "Japanese",
    "euc_jp": "Japanese",
    "gb18030": "Chinese",
    "big5": "Chinese",
    "latin-1": "Western European",
}
HANGUL, KANA, HAN = r"[\uac00-\ud7a3]", r"[\u3041-\u30ff]", r"[\u4e00-\u9fff]"
MOSTLY = 0.9


def find_encoding(path: Path, where: str) -> str:
    """What decodes the whole file, which is looked through once (again for each encoding but UTF-8 that is tried).

    Raises:
        InputError: for an empty file, or one with zero bytes, which is no text.
    """
    with path.open("rb") as file:
        start = file.read(3)
    marked = next((name for mark, name in MARKS.items() if start.startswith(mark)), None)
    for encoding in chain([marked or "utf-8"], _by_content(path), ["latin-1"]):
        try:
            filled = False
            for text in _parts(path, encoding):
                if "\0" in text:
                    raise InputError(f"{where}: this is no text file (it holds zero bytes); save it as CSV in UTF-8")
                filled = filled or not text.isspace()
        except UnicodeError:
            continue
        if not filled:
            raise InputError(f"{where}: the file is empty ({path.stat().st_size} bytes)")
        return encoding
    raise AssertionError("every byte is a character of Latin-1")


def _parts(path: Path, encoding: str) -> Iterator[str]:
    with path.open(encoding=encoding, newline="") as file:
        while text := file.read(PART):
            yield text


def _by_content(path: Path) -> Iterator[str]:
    """East Asian encodings that the lines beyond ASCII may well be in, the likeliest first."""
    lines, size = [], 0
    with path.open("rb") as file:
        for line in file:
            if not line.isascii():
                lines.append(line)
                size += len(line)
                if size > SAMPLE:
                    break
    sample = b"".join(lines)
    if _share(sample, "cp949", HANGUL, common="euc_kr") >= MOSTLY:
        yield "cp949"
    for encoding in ("cp932", "euc_jp"):
        # Single bytes from A1 on are half-width kana in Shift-JIS, and letters with accents in Western text.
        if _share(sample, encoding, f"{KANA}|{HAN}") >= MOSTLY and (
            encoding == "cp932" or _share(sample, "euc_jp", KANA)
        ):
            yield encoding
    shares = {
        "gb18030": _share(sample, "gb18030", HAN, common="gb2312", least_run=2),
        "big5": _share(sample, "big5", HAN, common="big5", least_run=2),
    }
    yield from sorted((name for name, share in shares.items() if share >= MOSTLY), key=lambda name: -shares[name])


def _share(sample: bytes, encoding: str, letters: str, common: str | None = None, least_run: int = 1) -> float:
    """The share of characters beyond ASCII which are such letters; 0 where the sample cannot be decoded.

    Args:
        sample: lines.
        encoding: tried.
        letters: a regular expression.
        common: an encoding of the most used letters; others count as none.
        least_run: mean number of characters that follow each other. One such "letter" between Latin ones is an accent.
    """
    try:
        text = sample.decode(encoding)
    except UnicodeError:
        return 0.0
    beyond = [sign for sign in text if sign > "\x7f" and not 0x3000 <= ord(sign) < 0x3040]
    runs = len(re.findall(r"[^\x00-\x7f]+", text))
    if not beyond or len(beyond) < least_run * runs:
        return 0.0
    wanted = re.findall(letters, text)
    if common is not None:
        wanted = [sign for sign in wanted if _encodable(sign, common)]
    return len(wanted) / len(beyond)


def _encodable(sign: str, encoding: str) -> bool:
    """Whether an encoding has a letter, and in its first half where it sorts letters by use."""
    try:
        code = sign.encode(encoding)
    except UnicodeError:
        return False
    if encoding == "euc_kr":  # rarer syllables are composed there
        return len(code) == 2
    return code[0] <= (0xD7 if encoding == "gb2312" else 0xC6)
