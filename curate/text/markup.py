"""Markup: texts that are HTML from beginning to end, as what their reader sees."""

import re
from collections import Counter
from itertools import accumulate
from textwrap import dedent

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

BLOCKS = (
    "html head body title meta link base style script template main article section aside header footer nav address "
    "div p h1 h2 h3 h4 h5 h6 hgroup hr br ul ol li dl dt dd menu table caption colgroup col thead tbody tfoot tr th td "
    "blockquote pre figure figcaption form fieldset details dialog iframe noscript center"
)
INLINES = (
    "a abbr acronym area audio b bdi bdo big button canvas cite code data datalist del dfn em embed font i img input "
    "ins kbd label legend map mark meter nobr object optgroup option output param picture progress q rp rt ruby s samp "
    "select slot small source span strike strong sub summary sup textarea time track tt u var video wbr"
)
ELEMENTS = frozenset(f"{BLOCKS} {INLINES}".split())
"""The elements of HTML (the Living Standard, 4), and obsolete ones that pages still have (16.2)."""
OPEN = (
    "area base br col embed hr img input link meta param source track wbr "
    "html head body li dt dd p rp rt optgroup option colgroup caption thead tbody tfoot tr td th"
)
"""Elements without an end tag, and those whose end tag may be left out (13.1.2)."""
SHARE = 0.9
"""How many of a page's tags must be HTML's, and how many of those that need an end tag must have one."""

FORMATS = "a b big code em font i nobr s small strike strong tt u"
DEPTH = 16
"""How many formatting elements may be open at once: a parser opens them anew in each block (13.2.4.3), so that a short
text of many would become a huge page."""

PAGE = rf"(?is)^\s*<(?:!doctype\s+html|!--|(?:{BLOCKS.replace(' ', '|')})(?:\s|/?>)).*>\s*$"
"""What a page or a part of one looks like: it begins with a doctype, a comment or a block, and ends with a tag."""
QUOTED = re.compile("```|~~~|`[^`\n]*<")
"""Code of Markdown: a text with it talks about markup."""
CODE = re.compile(r"(?i)(?P<begin><pre\b[^<>]*>)\n?|\n?(?P<end>(?:</code\s*>)?</pre\s*>)|</?code\b[^<>]*>")
FOREIGN = re.compile(r"(?is)<!--.*?(?:-->|\Z)|<(script|style|svg|math|textarea|template)\b.*?(?:</\1\s*>|\Z)")
TAG = re.compile(r"""<(/?)([a-zA-Z][^\s<>/"']*+)(?:[^<>"']|"[^"<]*"|'[^'<]*')*+>""")


def pages_to_text(texts: pa.Array) -> pa.Array:
    """Turn the texts that are HTML as a whole into what their reader sees; all others stay as they are.

    Such a text begins with a doctype, a comment or a block element and ends with a tag, `SHARE` of its tags are HTML's,
    `SHARE` of them closed where they must be, and none of it is between the backticks of Markdown. Blocks become lines,
    lists keep bullets and numbers, the cells of a table are divided by tabs, links and pictures keep their text; code
    is put between backticks, which keeps what it shows of markup. Pages without text stay as they are.
    """
    looks = np.flatnonzero(pc.match_substring_regex(texts, PAGE).to_numpy(zero_copy_only=False))
    mended = {int(row): _text(texts[int(row)].as_py()) for row in looks}
    mended = {row: text for row, text in mended.items() if text}
    if not mended:
        return texts
    mask = np.zeros(len(texts), dtype=bool)
    mask[list(mended)] = True
    return pc.replace_with_mask(texts, pa.array(mask), pa.array(mended.values(), pa.string()))


def _is_page(text: str) -> bool:
    """Whether the tags of a text are HTML's and closed, and none of them is quoted."""
    text = FOREIGN.sub("", text)
    found = [(name.lower(), bool(end)) for end, name in TAG.findall(text)]
    tags = Counter(found)
    known = {name for name, _ in tags} & ELEMENTS
    pairs = [(tags[name, False], tags[name, True]) for name in known.difference(OPEN.split())]
    formats = FORMATS.split()
    return (
        bool(known)
        and not QUOTED.search(text)
        and sum(count for (name, _), count in tags.items() if name in known) >= SHARE * tags.total()
        and sum(map(min, pairs)) >= SHARE * sum(map(max, pairs))
        and max(accumulate(1 - 2 * end for name, end in found if name in formats), default=0) <= DEPTH
    )


def _fenced(page: str) -> str:
    """A page whose code is between the backticks of Markdown, as text of its elements `pre` and `code`."""
    within = False

    def fence(tag: re.Match[str]) -> str:
        nonlocal within
        if tag["begin"] or tag["end"]:
            within = bool(tag["begin"])
            return f"{tag['begin']}```\n" if within else f"\n```{tag['end']}"
        if within:
            return tag[0]
        return f"`{tag[0]}" if tag[0][1] == "/" else f"{tag[0]}`"

    return CODE.sub(fence, page)


def _text(text: str) -> str | None:
    """The text of a page, or None where it is none or says nothing."""
    if not _is_page(text):
        return None
    from resiliparse.extract.html2text import extract_plain_text

    if not extract_plain_text(text, form_fields=True).strip():
        return None
    return dedent(extract_plain_text(_fenced(text), preserve_formatting=True, form_fields=True)).strip()
