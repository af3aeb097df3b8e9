"""Loops: answers that end in copies of one text that nobody asked for.

Asked for is repetition by a prompt that says so, that quotes the text, or that says how many copies there are to be.
"""

import re

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.text.kernel import kernel
from curate.text.words import Words, split_words, utf8

COPIES = 4
"""Copies of one text, up to the answer's end, that make a loop ..."""
LOOP_SHARE, LOOP_WORDS = 0.5, 40
"""... if they are so much of the answer, and so many words."""
ASKS_TO_REPEAT = (
    r"(?i:\brepeat|\b(?:over and over|again and again|times|copies|duplicat\w+|lyrics|song|poem|verse|chorus|refrain"
    r"|chant|mantra|litany|rhyme|lines? of|rows?|columns?|matri(?:x|ces)|grid|tables?|ascii|zero(?:e?s)?|padding"
    r"|pattern|filler|dummy|placeholder|sequence|loop|echo|yes\b.{0,20}command|stutter|echolalia|concatenat\w*|multipl\w+"
    r"|identical|hundred|thousand|dozen|fill (?:a|the|up)|draw|checkerboard|chess ?board|tabs?|tablature|drums?|beats?"
    r"|rhythm|bars? of)\b"
    r"|range\(|\bfor ?\(|\bwhile\b|\* ?[0-9]+|\b[0-9]+ ?[x×]\b"
    r"|wiederhol|\b[0-9]+[ -]?mal\b|(?:zehn|zwölf|[zß]ig|hundert|tausend)[ -]?mal\b|\bmal\b|strophe|gedicht|\blied\b"
    r"|répèt|répét|\bfois\b|poème|chanson|repit|repet"
    r"|repítelo|\bveces\b|poema|canción|canção|\bvezes\b|ripet|\bvolte\b|poesia|canzone|herhaal|\bkeer\b|powtórz|\brazy\b"
    r"|krát\b|\bgånger\b|\bgange\b|\bganger\b|\bkertaa\b|\bkez\b|\bkere\b|\bdefa\b|\bkali\b|\blần\b|\bde ori\b)"
    r"|повтор|(?:^|\PL)раз(?:а|ів|и)?(?:\PL|$)|стих|песн|重复|重複|[0-9一二三四五六七八九十百两幾几]\s?[次遍回]"
    r"|诗|歌词|繰り返|반복|번 (?:말|써|적|쓰)|كرر|مرات|दोहरा|बार"
)
"""A prompt that asks for the same over and over, or for what has refrains and equal rows by its nature."""
QUOTED = re.compile(
    r"“([^”\n]+)”|„([^“”\n]+)[“”]|\"([^\"\n]+)\"|«([^»\n]+)»|「([^」\n]+)」|『([^』\n]+)』|`([^`\n]+)`"
    r"|(?<!\w)['‘](.+?)['’](?!\w)|[:：][ \t\n]*(?P<behind>[^\n]+)"
)
"""What a prompt may ask to be said: what stands in quotation marks, or behind a colon up to the line's end."""
COUNT = re.compile(
    r"(?<![0-9A-Za-z_.,:/第-])[0-9]{1,4}(?= ?-?[^\W\d_])(?! ?[年月日时時点點分秒条條款元号號岁歲万萬块块年월일])"
)
"""A number before what it counts, which is no date, sum or article."""
LEAST_COUNT = 4
"""Numbers below are as many as the copies of anything."""
MOST_COPIES = 8
"""Copies in a line, say, of those that are counted."""


def loops(prompts: pa.Array, answers: pa.Array, words: Words) -> npt.NDArray[np.bool_]:
    """Which answers end in a loop that their prompts do not ask for.

    Args:
        words: those of the answers.
    """
    found = np.zeros((len(answers), 2), np.int64)
    data, bounds = utf8(answers)
    _tails(data, bounds, words.offsets, words.hashes, words.begins, words.ends, found)
    rows = np.flatnonzero(found[:, 0])
    loop = np.zeros(len(answers), np.bool_)
    if not len(rows):
        return loop
    asked = prompts.take(pa.array(rows))
    told = pc.match_substring_regex(asked, ASKS_TO_REPEAT).to_pylist()
    for row, prompt, told_so in zip(rows.tolist(), asked.to_pylist(), told, strict=True):
        period, length = found[row].tolist()
        end = words.offsets[row + 1]
        piece = words.hashes[end - period : end].tolist()
        loop[row] = not (told_so or _quotes(prompt, piece) or _counts(prompt, length, period))
    return loop


def _quotes(prompt: str, piece: list[int]) -> bool:
    """Whether a prompt quotes the piece that is repeated, or half of it, or it is half of what is quoted.

    Two words before a colon must ask for what stands behind it; where the word before a quotation is repeated with it,
    the prompt is, and not what it quotes.
    """
    for match in QUOTED.finditer(prompt):
        quoted = next(filter(None, match.groups()))
        words = split_words(pa.array([prompt[: match.start()], quoted]))
        before, said = (part.tolist() for part in np.split(words.hashes, [words.offsets[1]]))
        if (match["behind"] and len(before) < 2) or not said or 2 * len(said) < len(piece):
            continue
        repeated = piece * (len(said) // len(piece) + 2)
        if _is_part(said, repeated):
            return not before or not _is_part([before[-1], *said], repeated)
        if 2 * len(piece) >= len(said) and _is_part(piece, said):
            return True
    return False


def _is_part(part: list[int], whole: list[int]) -> bool:
    return any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))


def _counts(prompt: str, length: int, period: int) -> bool:
    """Whether a prompt says how many words there are to be, or copies, up to MOST_COPIES for each that it counts; the
    first copy may be another text."""
    copies = length // period
    for match in COUNT.finditer(prompt):
        if (count := int(match.group())) >= LEAST_COUNT:
            each, over = divmod(copies + 1, count)
            if count == length or (each <= MOST_COPIES and over <= 1 and each):
                return True
    return False


@kernel
def _marks_an_item(data, begin, end, first, last):  # type: ignore[no-untyped-def]
    """Whether the number from `first` to `last` is a list item's: `1.`, `1)`, `(1)`, `1、` at the begin of a line."""
    at = first - 1
    if at >= begin and data[at] == 40:  # (
        at -= 1
    while at >= begin and (data[at] == 32 or data[at] == 9):
        at -= 1
    if at >= begin and data[at] != 10 and data[at] != 13:
        return False
    if last + 2 < end and data[last] == 0xE3 and data[last + 1] == 0x80 and data[last + 2] == 0x81:  # 、
        return True
    closed = last < end and (data[last] == 46 or data[last] == 41)  # . )
    return closed and not (last + 1 < end and 48 <= data[last + 1] <= 57)


@kernel
def _tails(data, bounds, offsets, words, begins, ends, found):  # type: ignore[no-untyped-def]
    """For each text that ends in a loop, how many words the piece has and how many all of the loop, else 0 and 0: its
    longest end that is COPIES or more of one piece, the numbers of a list's items aside, and that piece no number.

    By the failure function of Knuth, Morris and Pratt (1977) over the words from the last to the first: the shortest
    period of every end, in linear time.
    """
    most = np.int64(0)
    for text in range(len(found)):
        most = max(most, offsets[text + 1] - offsets[text])
    said, numbers, border = np.empty(most, np.uint64), np.empty(most, np.bool_), np.empty(most + 1, np.int64)
    for text in range(len(found)):
        begin, count = offsets[text], offsets[text + 1] - offsets[text]
        if count < LOOP_WORDS:
            continue
        for at in range(count):
            word = begin + count - 1 - at
            first, last = bounds[text] + begins[word], bounds[text] + ends[word]
            byte = first
            while byte < last and 48 <= data[byte] <= 57:
                byte += 1
            number = byte == last
            numbers[at] = number
            said[at] = words[word]
            if number and _marks_an_item(data, bounds[text], bounds[text + 1], first, last):
                said[at] = 0
        border[0] = -1
        longest, period = 0, 1
        back = -1
        for at in range(count):
            while back >= 0 and said[at] != said[back]:
                back = border[back]
            back += 1
            border[at + 1] = back
            if at + 1 >= COPIES * (at + 1 - back):
                longest, period = at + 1, at + 1 - back
        if longest >= max(LOOP_WORDS, LOOP_SHARE * count):
            for at in range(period):
                if not numbers[at]:
                    found[text, 0], found[text, 1] = period, longest
