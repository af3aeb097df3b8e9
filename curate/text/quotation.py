"""Quotations in Latin letters: an error, a sentence to be translated, in a text of another script."""

import re

from curate.text.prose import SCRIPTS

NO_SPACES = "Hangul", "Kana", "Han", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan"
"""Scripts in which few letters are a word."""


def _letters(names: "tuple[str, ...] | list[str]") -> str:
    return re.sub(
        r"\\x\{([0-9A-F]+)\}", lambda code: re.escape(chr(int(code[1], 16))), "".join(SCRIPTS[n] for n in names)
    )


DENSE = _letters(NO_SPACES)
ALPHABETS = _letters([name for name in SCRIPTS if name not in NO_SPACES])
WORD = re.compile(rf"(?P<dense>[{DENSE}]+)|(?P<other>[{ALPHABETS}]+)|[^\W\d_]+")
COLON = re.compile(r"[:：](?=\s|[^\x00-\x7f])|：")
HIRAGANA = re.compile(r"[\u3041-\u309f]")
"""What joins words of any script in Japanese."""
FEWEST, WEIGHT = 3, 2
"""Letters of an alphabet that make a word for sure, and joints that make a sentence; letters that one of a dense script
is worth."""


def around_quotation(text: str) -> str | None:
    """What a text says without what it quotes in Latin letters; None where it does not quote for sure.

    It does where what stands before its first colon is mostly in another script, where it begins and ends in that,
    where it begins so and has no fewer words of it, or where its words are joined by Japanese ones. A sentence in Latin
    letters with a word of another script does not.
    """
    words = list(WORD.finditer(text))
    foreign = [word for word in words if word.lastgroup]
    if not any(len(word[0]) >= (FEWEST if word["other"] else 2) for word in foreign) or len(foreign) == len(words):
        return None
    colon = COLON.search(text)
    begins, ends = words[0].lastgroup is not None, words[-1].lastgroup is not None
    asks = colon is not None and _is_foreign([word for word in words if word.end() <= colon.start()])
    joins = ends and sum(HIRAGANA.search(word[0]) is not None for word in foreign) >= FEWEST
    if asks or joins or (begins and (ends or 2 * len(foreign) >= len(words))):
        return re.sub(r"[^\W\d_]+", lambda run: _spaced(run[0]), text)
    return None


def _is_foreign(words: list[re.Match[str]]) -> bool:
    """Whether words are mostly in another script."""
    foreign = sum(len(word[0]) * (WEIGHT if word["dense"] else 1) for word in words if word.lastgroup)
    return foreign > sum(len(word[0]) for word in words if not word.lastgroup) and foreign > 1


def _spaced(run: str) -> str:
    """A run of letters without those of Latin script."""
    return "".join(word[0] if word.lastgroup else " " for word in WORD.finditer(run))
