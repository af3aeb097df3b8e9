"""Western: whether bytes beyond ASCII make sense as windows-1252, by far the most common encoding that is not UTF-8.

Detectors take short texts of Western languages for those of old Macs or of DOS, whose bytes stand for other letters:
`can\\x92t` is `can’t` there, `caní t` on a Mac, `canÆt` under DOS. What windows-1252 makes sense of is taken for that.
"""

import re

ALPHABETS = (
    "àâæçèéêëîïôœùûüÿ",  # French
    "äöüßé",  # German
    "áéíïñóúüç",  # Spanish, Galician
    "áàâãçéêíóôõú",  # Portuguese
    "àáèéìíîòóùú",  # Italian
    "åäæöøéèüàôê",  # Danish, Norwegian, Swedish, Finnish
    "áðéíóúýþæö",  # Icelandic
    "áàâäéèêëíïîóòôöúùüçñ",  # Dutch, Catalan, Irish, Welsh, and what they borrow
)
"""Letters beyond ASCII of one text."""
BORROWED = "áàâãäåæçéèêëíîïñóôöõøúûüœß"
"""Those of names and loan words in a text that has few of them."""
FEW, MANY = 0.03, 0.4
"""Shares of letters beyond ASCII: of a text that only borrows them, and of one that no Western language would be."""
LONGEST_RUN = 3
"""Letters beyond ASCII side by side."""
ODD = 0.01
"""Share of the characters beyond ASCII that may be out of place."""
WITHIN = "’‘´·\u00ad\u00a0–—"
"""What may stand between two letters that is none itself."""
_HIGH = re.compile(r"[^\x00-\x7f]")
_MISPLACED = re.compile(rf"(?<=[^\W\d_])(?![{WITHIN}])[^\x00-\x7f\w](?=[^\W\d_])|(?<=[a-zß-öø-ÿœšž])[À-ÖØ-ÞŒŠŽŸ]")
"""A sign within a word, or a capital behind a small letter."""
_RUN = re.compile(rf"[À-ÖØ-öø-ÿŒœŠšŽžŸ]{{{LONGEST_RUN + 1}}}")


def is_western(data: bytes) -> bool:
    """Whether text is windows-1252 by its letters: few beyond ASCII, all of one alphabet, none out of place."""
    if not is_in_place(data):
        return False
    text = data.decode("cp1252")
    letters = [char.lower() for char in _HIGH.findall(text) if char.isalpha()]
    plain = sum(char.isascii() and char.isalpha() for char in text)
    share = len(letters) / max(1, len(letters) + plain)
    known = (*ALPHABETS, BORROWED) if share <= FEW else ALPHABETS if share <= MANY else ()
    return any(sum(letter not in alphabet for letter in letters) <= ODD * len(letters) for alphabet in known)


def is_in_place(data: bytes) -> bool:
    """Whether the characters that bytes are in windows-1252 stand where such characters may."""
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        return False
    return len(_MISPLACED.findall(text)) <= ODD * len(_HIGH.findall(text)) and _RUN.search(text) is None
