"""Edits of known kinds and strengths that make of a text a copy of it, or another text that looks like it.

Whether the two are duplicates is a matter of how the second was made, and of nothing that was measured on them.
"""

import random
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

Pair = tuple[str, str]
Edit = Callable[[str, random.Random], Pair | None]
"""Two texts made of one; None where the edit finds nothing in it to change."""

WORD = re.compile(r"\S+\s*")
TWO = re.compile(r".{1,2}", re.DOTALL)
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
"""Thai, Lao, Burmese, Khmer, kana, Han."""
NAME = re.compile(r"\b[A-Z][a-z]{2,}(?: [A-Z][a-z]{2,})+\b")
VERB = re.compile(r"\b(shall|will|must|may|can|is|are|was|were|should|would|could)\b(?! not)")
FACT = re.compile(r"(?<=[a-z$€£,=<>*+] )\d+|(?<=[(\[=$€£\u3040-\u9fff])\d+")
"""A number within a sentence or an expression; not that of a section, before it."""
SENTENCE = re.compile(r"[^\n.!?。！？।។]*(?:[.!?。！？।។]+[\"”’)」』]*\s*|\n+|$)")


@dataclass(frozen=True)
class Kind:
    """One kind of edit at one strength."""

    name: str
    duplicate: bool
    why: str
    """Why a reader would say so."""
    edit: Edit
    but: frozenset[str] = frozenset()
    """Sources that it is not for."""


def spaced(text: str) -> bool:
    """Whether words are written with spaces between them."""
    return len(UNSPACED.findall(text)) < len(text) / 4


def words(text: str) -> list[str]:
    """Words, each with the blanks after it; two characters each where there are no spaces."""
    return (WORD if spaced(text) else TWO).findall(text)


def _copy(change: Callable[[str, random.Random], str]) -> Edit:
    """An edit of the second text alone."""

    def edit(text: str, draw: random.Random) -> Pair | None:
        changed = change(text, draw)
        return (text, changed) if changed != text else None

    return edit


def _some(draw: random.Random, of: int, share: float) -> list[int]:
    """Places of that share, one at least, in order."""
    return sorted(draw.sample(range(of), k=min(of, max(1, round(of * share)))))


# --- the same words


def recased(text: str, draw: random.Random) -> str:
    return draw.choice([str.upper, str.lower, str.title])(text)


def _by_two(indent: re.Match[str]) -> str:
    return " " * (len(indent[0].expandtabs(4)) // 2)


def respaced(text: str, draw: random.Random) -> str:
    """Wrapped at another width, with doubled and no-break spaces; of code, indented by two and with other line ends."""
    if re.search(r"(?m)^(?:    |\t)\S", text) or is_code(text):
        lines = [re.sub(r"^(?: {4}|\t)+", _by_two, line) for line in text.split("\n")]
        return "\r\n".join(line + " " * draw.choice([0, 0, 2]) for line in lines).replace("\r\n\r\n", "\r\n\r\n\r\n")
    if not spaced(text):
        return re.sub(r"([，。；,;])", lambda mark: mark[1] + draw.choice(["", "", "\n", " ", "\u3000"]), text)
    width, lines, line = draw.randint(30, 110), [], ""
    for word in text.split():
        if len(line) + len(word) > width:
            lines.append(line)
            line = ""
        line += word + draw.choice([" ", " ", " ", "  ", "\u00a0"])
    return "\n".join([*lines, line])


def repunctuated(text: str, draw: random.Random) -> str:
    """Other quotation marks and dashes, commas and full stops left out, other bullets."""
    wide = str.maketrans("，。；：？！（）“”、", ',.;:?!()"",')
    marks = {"'": "’", '"': "”", " - ": " — ", "- ": "* ", "...": "…"}
    if not spaced(text):
        return text.translate(wide)
    for mark, other in marks.items():
        text = text.replace(mark, other)
    return re.sub(r"[,;](?=\s)|\.(?=\s*\n|\s*$)", lambda mark: draw.choice(["", "", mark[0]]), text)


def renormalised(text: str, draw: random.Random) -> str:
    """Accents as characters of their own (NFD); where there are none, ligatures, soft hyphens and zero-width spaces, as
    texts out of a PDF have."""
    apart = unicodedata.normalize("NFD", text)
    if len(apart) - len(text) > len(text) / 100:
        return apart
    for letters, one in (("ffi", "ﬃ"), ("fi", "ﬁ"), ("fl", "ﬂ")):
        text = text.replace(letters, one)
    places = draw.sample(range(1, len(text)), k=max(1, len(text) // 60))
    return "".join(draw.choice("\u00ad\u200b") * (place in places) + char for place, char in enumerate(text))


def widened(text: str, _draw: random.Random) -> str:
    """Letters, digits and signs of ASCII in full width, as East Asian texts have them."""
    return "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text)


# --- the same text, damaged or altered

CONFUSED = {
    "m": "rn",
    "l": "1",
    "I": "l",
    "e": "c",
    "o": "0",
    "O": "0",
    "h": "b",
    "n": "u",
    "u": "n",
    "S": "5",
    "B": "8",
}
"""What optical recognition takes for what."""


def misread(text: str, draw: random.Random, of_thousand: int) -> str:
    """So many errors in a thousand characters: confused, lost, doubled, swapped or wrong ones, words torn or run
    together."""
    chars = list(text)
    for place in _some(draw, len(chars) - 1, of_thousand / 1000):
        char, kind = chars[place], draw.randrange(6)
        if kind < 2:
            chars[place] = CONFUSED.get(char) or draw.choice(text)
        elif kind == 2:
            chars[place] = ""
        elif kind == 3:
            chars[place] = char + char
        elif kind == 4:
            chars[place], chars[place + 1] = chars[place + 1], char
        else:
            chars[place] = char + " " if not char.isspace() else ""
    return "".join(chars)


def replaced(text: str, draw: random.Random, share: float) -> str:
    """Words give way to other words of the text, as a rewriter without a dictionary does."""
    pieces = words(text)
    for place in _some(draw, len(pieces), share):
        pieces[place] = draw.choice([piece for piece in pieces if piece != pieces[place]] or pieces)
    return "".join(pieces)


def inserted(text: str, draw: random.Random, share: float) -> str:
    pieces = words(text)
    for place in reversed(_some(draw, len(pieces), share)):
        pieces.insert(place, draw.choice(pieces))
    return "".join(pieces)


def deleted(text: str, draw: random.Random, share: float) -> str:
    pieces = words(text)
    for place in reversed(_some(draw, len(pieces), share)):
        del pieces[place]
    return "".join(pieces)


def cut(text: str, _draw: random.Random, share: float) -> str:
    pieces = words(text)
    return "".join(pieces[: max(1, round(len(pieces) * share))]).rstrip()


def rotated(text: str, draw: random.Random) -> str:
    """The last sentences first."""
    parts = [part for part in SENTENCE.findall(text) if part]
    at = draw.randrange(len(parts))
    return "".join(part if part[-1].isspace() else part + " " for part in parts[at:] + parts[:at])


def shuffled(text: str, draw: random.Random) -> str:
    parts = [part if part[-1].isspace() else part + " " for part in SENTENCE.findall(text) if part]
    draw.shuffle(parts)
    return "".join(parts)


# --- the same text on another page

PAPERS = ["The Daily Courier", "Evening Standard-Examiner", "Harbour Times", "Valley Sentinel", "Morning Chronicle"]
PLACES = ["LONDON", "CHICAGO", "NAIROBI", "ROTTERDAM", "MELBOURNE", "OSLO"]
PEOPLE = ["A. Whitcombe", "Maria Delgado", "J. P. Okafor", "Ines Lindqvist", "Tom Barrow"]
MONTHS = ["Jan.", "Feb.", "March", "April", "June", "Aug.", "Oct.", "Dec."]
MENUS = [
    "Home | News | Business | Sport | Opinion | Archive | Sign in | Register",
    "Skip to main content. Menu. Search. Subscribe for 1 a week. My account",
    "Front page > Documents > Library > Document view. Print. Share. Save for later",
    "About us   Contact   Help   Terms   Privacy   Accessibility   Language: English",
]
FEET = [
    "Share this article on Facebook, Twitter or by e-mail. Comments are closed. All rights reserved. This material may "
    "not be published, broadcast, rewritten or redistributed without permission.",
    "We use cookies to give you the best experience. By continuing to browse you agree to our use of cookies. Read "
    "more in our privacy policy. Back to top.",
    "Related stories: Ten things to know this morning. What we learned from the week. Readers' letters. Sign up for "
    "our newsletter and never miss a story. Download our app.",
    "This copy is for your personal, non-commercial use only. To order presentation-ready copies for distribution to "
    "colleagues, clients or customers, visit our website or call the number above.",
]
HOLDERS = ["Acme Widgets, Inc.", "the Quux Project Authors", "Jane Q. Developer", "Northwind Research Ltd."]
FILE_HEADS = [
    "# Copyright (c) {year} {holder}\n# Use of this source code is governed by a BSD-style license that can be found\n"
    "# in the LICENSE file of this repository. This file is part of a mirror; changes made here will be lost.\n\n",
    "# -*- coding: utf-8 -*-\n# {holder}, {year}. All rights reserved.\n# Licensed under the Apache License, Version\n"
    "# 2.0: you may not use this file except in compliance with it. Distributed without warranties.\n\n",
]


def bylined(text: str, draw: random.Random) -> str:
    """A line of place, date, paper and author before it."""
    if is_code(text):
        return draw.choice(FILE_HEADS).format(year=draw.randint(1998, 2024), holder=draw.choice(HOLDERS)) + text
    date = f"{draw.choice(MONTHS)} {draw.randint(1, 28)}, {draw.randint(1990, 2024)}"
    return f"{draw.choice(PLACES)}, {date} ({draw.choice(PAPERS)}) By {draw.choice(PEOPLE)} -- {text}"


def furnished(text: str, draw: random.Random) -> str:
    """A menu and a line before it, a foot after it: 40 to 60 words."""
    return f"{draw.choice(MENUS)}\n\n{bylined(text, draw)}\n\n{draw.choice(FEET)}"


def furnished_both(text: str, draw: random.Random) -> Pair | None:
    one, other = draw.sample(range(len(MENUS)), 2)
    pages = [f"{MENUS[at]}\n\n{bylined(text, draw)}\n\n{FEET[at]}" for at in (one, other)]
    return pages[0], pages[1]


def republished(text: str, draw: random.Random) -> str:
    """Read off paper (two errors in a thousand characters), wrapped anew, shortened, on a page of another site."""
    return furnished(respaced(misread(cut(text, draw, 0.95), draw, 2), draw), draw)


def is_code(text: str) -> bool:
    return len(re.findall(r"(?m)^\s*(?:def |class |return\b|import |from \w+ import|if .*:$|self\.|@)", text)) > 1


# --- another text that looks like it


def renumbered(text: str, draw: random.Random) -> str:
    """Every number another one of as many digits: dates, amounts, versions; two at least."""
    if len(FACT.findall(text)) < 2:
        return text
    others: dict[str, str] = {}

    def other(found: re.Match[str]) -> str:
        low = 10 ** (len(found[0]) - 1) if len(found[0]) > 1 else 1
        while found[0] not in others or others[found[0]] == found[0]:
            others[found[0]] = str(draw.randint(low, max(9, low * 10 - 1)))
        return others[found[0]]

    return FACT.sub(other, text)


GIVEN = ["Adele", "Bruno", "Carmen", "Dmitri", "Elspeth", "Farid", "Greta", "Hugo", "Imogen", "Jarek"]
SECOND = ["Abernathy", "Brightwater", "Castellan", "Dunmore", "Everhart", "Fairbanks", "Greystone", "Holloway"]


def renamed(text: str, draw: random.Random) -> str:
    """Every name of several words (a party, a place, a person) another one, the same one throughout."""
    others: dict[str, str] = {}
    return NAME.sub(lambda name: others.setdefault(name[0], f"{draw.choice(GIVEN)} {draw.choice(SECOND)}"), text)


def negated(text: str, draw: random.Random) -> str:
    """One verb denied."""
    found = list(VERB.finditer(text))
    if not found:
        return text
    end = draw.choice(found).end()
    return text[:end] + " not" + text[end:]


FORM_WORDS = 100


def on_one_form(form: str, own: Sequence[str], share: float) -> Pair | None:
    """Two texts that begin with the same words: that share of 100."""
    shared, room = words(form)[: round(FORM_WORDS * share)], FORM_WORDS - round(FORM_WORDS * share)
    if len(shared) < round(FORM_WORDS * share) or any(len(words(text)) < room for text in own):
        return None
    one, other = ("".join(shared) + "\n\n" + "".join(words(text)[:room]) for text in own)
    return one, other


CODE = frozenset(["code"])
NOT_CHINESE = frozenset(["Chinese"])
ELSEWHERE = frozenset(["contracts", "instructions", "notices", "code", "chat", "pages"])
STRENGTHS = (0.01, 0.03, 0.08, 0.2)


def kinds() -> list[Kind]:
    """All kinds of edits; those that put two texts on one form are made by `labelled`."""
    same = "the same words in the same order"
    made = [
        Kind("exact copy", True, "the same characters", lambda text, draw: (text, text)),
        Kind("case", True, f"{same}; only capitals differ", _copy(recased), CODE | NOT_CHINESE),
        Kind("white space", True, f"{same}; only blanks and line ends differ", _copy(respaced)),
        Kind("punctuation", True, f"{same}; only marks between them differ", _copy(repunctuated), CODE),
        Kind("Unicode form", True, "nothing differs that a reader can see", _copy(renormalised), CODE),
        Kind("width", True, "the same letters and digits in full width", _copy(widened), ELSEWHERE | {"languages"}),
    ]
    for errors in (2, 10, 40):
        why = "the same text with misread letters"
        made.append(
            Kind(f"typos, {errors} per 1,000 characters", True, why, _copy(partial(misread, of_thousand=errors)), CODE)
        )
    for done, edit in (("replaced", replaced), ("inserted", inserted), ("deleted", deleted)):
        for share in STRENGTHS:
            why = "a reader of both sees one text, altered: all else stands in its order"
            made.append(Kind(f"words {done}, {share:.0%}", True, why, _copy(partial(edit, share=share))))
    for share in (0.95, 0.85, 0.7):
        why = "all that the shorter one says is the longer one's beginning"
        made.append(Kind(f"cut to {share:.0%}", True, why, _copy(partial(cut, share=share))))
    moved = "the same sentences or lines, in another order"
    made += [
        Kind("last sentences first", True, moved, _copy(rotated), CODE),
        Kind("sentences shuffled", True, moved, _copy(shuffled), CODE),
        Kind(
            "line added before",
            True,
            "the same text with a line of place, date and author, or a file's head",
            _copy(bylined),
        ),
        Kind("page around", True, "the same text on a page with menu and foot", _copy(furnished), CODE),
        Kind("two pages around", True, "the same text on the pages of two sites", furnished_both, CODE),
        Kind(
            "republished",
            True,
            "the same text, shortened by a twentieth, misread here and there, on a page",
            _copy(republished),
            CODE,
        ),
        Kind(
            "numbers changed",
            False,
            "dates, amounts and versions are others: what is true of one is false of the other",
            _copy(renumbered),
        ),
        Kind("names changed", False, "it is about others", _copy(renamed), CODE | NOT_CHINESE | {"languages", "pages"}),
        Kind("denied", False, "one says what the other denies", _copy(negated), CODE | NOT_CHINESE | {"languages"}),
    ]
    return made
