"""Telephone numbers in text: written as such, or called so by a word beside them."""

import re
from collections.abc import Iterator

_RUN = re.compile(r"[0-9+(](?:[ ().+/-]{0,3}[0-9]){5,}+")
_PHONE = re.compile(
    r"""(?<![\w.+/=#-])(?<![0-9][ .-])(?:
        \+(?!(?:19|20)[0-9]{2}-)[1-9][0-9]{0,2}[ .-]?(?:\([0-9]{1,4}\)[ .-]?)?[0-9]{1,4}(?:[ .-]?[0-9]{2,4}){1,4}
                                                                                        # +41 (0)85 806 98 67
      | 00[1-9][0-9]{0,2}([ .-])[0-9]{2,4}(?:\1[0-9]{2,4}){1,3}                         # 001-253-366-9781
      | (?:1[ .-])?\((?:0[0-9]{1,4}|[1-9][0-9]{1,2})\)[ ]?(?!(?:19|20)[0-9]{2}-)[0-9]{3,4}[ .-][0-9]{3,4}
                                                                                        # (212) 555-0100
      | (?:1[ .-])?[0-9]{3}([.-])[0-9]{3}\2[0-9]{4}                                     # 212-555-0100
      | (?![0-9]{3}-[0-9]{2}-)0[1-9][0-9]{0,3}([ .-])[0-9]{2,4}(?:\3[0-9]{2,4}){1,3}    # 0496 46 46 70; no SSN
      | 0[1-9][0-9]{0,3}[ /-][0-9]{6,8}                                                 # 06-24312407
      | 01[016789][0-9]{7,8}                                                            # 01012345678
    )(?:[ ]?(?:x|ext\.?[ ]?)[0-9]{1,5})?(?!\w|[ .-][0-9]|[ ]?=[ ]?-?[0-9])                  # nor a difference: = -443
    """,
    re.VERBOSE | re.ASCII,
)
_NEXT = re.compile(r"(?<=[0-9]{3}[ .-][0-9]{4})[ ]+[0-9]{1,2}(?:[.][0-9]{1,2})?$")
"""What stands behind a whole number of North America: a page's or a section's."""
_EXTENSION = re.compile(r"[ ]?(?:x|ext\.?[ ]?)[0-9]{1,5}(?![0-9A-Za-z])")
_CALLED_PHONE = re.compile(
    r"(?:\b(?:tel(?! aviv)|telephone|telefono|teléfono|téléphone|telefon|phone|handy|mobile?|móvil|cell|cellphone"
    r"|call(?:ing)?|contact|fax|facsimile|telefax|dial|text|sms|whatsapp|hotline|desk:|office:|reach|answering|messages?)(?<=[\w:])(?!\w)"
    r"[^0-9+({\n]{0,20}\n?[ ]{0,8}|(?:전화|연락처|휴대폰|핸드폰|팩스|电话|電話|手机|手機|携帯|传真)[^0-9+(\n]{0,12})\Z",
    re.IGNORECASE,
)
_MARK = r"(?:[ ]?(?:nos?|nrs?|num|numbers?|núm|n[°º]|№|id|code)\b)"
_OTHER_NUMBER = re.compile(
    rf"(?:\b(?:cases?|docket|dkt|civil(?: action)?|criminal|index|cause|matter|appeal|patent|pat|serial|imei|ein|tin"
    rf"|vin|vat|policy|account|acct|tracking|invoice|bates|sku|isin|aktenzeichen|geschäftszeichen|rechnung|expediente|factura"
    rf"|dossier|facture|pourvoi|fattura|processo|zaak|sygn|дело|счет|счёт)\b{_MARK}?[.:]?[ ]{{0,2}}[#(]?"
    rf"|\b(?:application|appl|petition|complaint|claim|file|record|order|purchase|receipt|booking|reservation|confirmation"
    rf"|shipment|ref|reference|reg|registration|trademark|ticket|permit|licen[cs]e|certificate|batch|lot|part|model|item"
    rf"|report|release|project|contract|agreement|member|customer|student|employee|product|bestell\w*|kunden\w*|vorgangs?"
    rf"|pedido|asunto|commande|affaire|ordine|заказ)\b(?:{_MARK}[.:]?|[ ]?[#:])[ ]{{0,2}}#?"
    r"|\b(?:[ps]/n|(?-i:Order|Ticket|Reference|Booking|Claim|Permit|Part|Item))[ ]{1,2}"
    r"|\b(?:compute|calculate|evaluate|simplify|subtract)[ ]{1,2}"
    r"|(?:案号|编号|單號|订单|訂單|单号|串号|序列号|账号|帐号|卡号|注文番号|受付番号|사건번호|사건|주문번호|등록번호)[^0-9+(\n]{0,4})\Z",
    re.IGNORECASE,
)
"""What calls a number something else: a case, an order, a patent, a device, a sum. Without a mark some do with a
capital alone: `to order 800-555-0100` is a call."""
_NUMBERED = re.compile(r"(?:\b(?:no|nos|nr)\.|№|\bn[°º])[ ]{0,2}\Z", re.IGNORECASE)
_CALLED_AFTER = re.compile(
    r"[ -]{0,2}\(?(?:office|fax|mobile|cell|phone|home|work|tel)\b[ ]?(?:$|[)\\,;\n])", re.IGNORECASE
)
_BOOK = re.compile(
    r"(?:isbn|issn|ismn|doi|ean|upc|gtin|pmid|oclc|lccn|asin)(?:-?1[03])?\b[^0-9\n]{0,8}\Z", re.IGNORECASE
)
_DATE = re.compile(
    r"(?:19|20)[0-9]{2}[ ]?[./ -][ ]?(?:[0-9]{1,2}\b|(?:19|20)[0-9]{2}\b)"
    r"|[0-9]{1,2}[ ]?[./ -][ ]?[0-9]{1,2}[ ]?[./ -][ ]?(?:19|20)[0-9]{2}\b|(?:19|20)[0-9]{6}\b"
)


_GLUED = re.compile(r"[\w.$€£¥=#&%/]")
"""What stands right before a run that is part of something longer ..."""
_GOES_ON = re.compile(r"[\w%€]|[.,][0-9]")
"""... and right behind one."""

_STEMS = (
    *("tel", "phone", "handy", "mobil", "cell", "call", "contact", "fax", "facsimile", "dial", "text", "sms"),
    *("whatsapp", "hotline", "desk:", "office:", "reach", "answering", "messag"),
)
_BOOK_STEMS = "isbn", "issn", "ismn", "doi", "ean", "upc", "gtin", "pmid", "oclc", "lccn", "asin"
"""One of these stands, in small letters, in whatever text of ASCII _CALLED_PHONE or _BOOK finds something in. To look
for them all takes a tenth of the time: in code and tables most runs of digits are called nothing."""


_CALLED_BY = ("전화", "연락처", "휴대폰", "핸드폰", "팩스", "电话", "電話", "手机", "手機", "携帯", "传真")
_BEHIND = ("office", "fax", "mobile", "cell", "phone", "home", "work", "tel")


def _in_any_case(words: tuple[str, ...]) -> str:
    """RE2: one of these, as Python takes capitals for small letters."""
    return f"(?i:{'|'.join(words)})".replace("i", "[iİı]").replace("(?[iİı]", "(?i")


LOOKS_TOLD = "|".join(
    [
        r"\+[1-9](?:[ .()-]{0,3}[0-9]){3}|00[1-9][0-9]{0,2}[ .-][0-9]{2,4}|01[016789][0-9]{7}",
        r"\([0-9]{1,5}\)[ ]?[0-9]{3,4}[ .-][0-9]{3,4}|[0-9]{3}[.-][0-9]{3}[.-][0-9]{4}",
        r"0[1-9][0-9]{0,3}(?:[ .-][0-9]{2,4}[ .-][0-9]{2,4}|[ /-][0-9]{6})",
        rf"{_in_any_case((*_STEMS, 'móvil'))}[^0-9+({{]*[0-9+(]|(?:{'|'.join(_CALLED_BY)})[^0-9+(]*[0-9+(]",
        rf"[0-9][ -]{{0,2}}\(?{_in_any_case(_BEHIND)}",
    ]
)
"""RE2, wider than the finder: a number written as telephone numbers are, or a word that calls one so, in any text that
is read as it stands (not from within JSON)."""


def _may_be(stems: tuple[str, ...], before: str) -> bool:
    return any(map(before.lower().__contains__, stems)) or not before.isascii()


def phones(text: str) -> Iterator[tuple[int, int]]:
    """Numbers written as telephone numbers are, and any run of digits that a word beside it calls one."""
    for run in _RUN.finditer(text):
        begin, end = run.span()
        before = text[max(0, begin - 48) : begin]
        if _DATE.match(text, begin, end) or (_may_be(_BOOK_STEMS, before[-16:]) and _BOOK.search(before)):
            continue
        called = _CALLED_PHONE.search(before) if _may_be(_STEMS, before) else None
        if _is_called_else(before, called):
            continue
        written = [match.span() for match in _PHONE.finditer(text, begin, end + 9) if _is_phone(match[0])]
        if written:
            yield from written
        elif not _GLUED.match(before[-1:]) and not _GOES_ON.match(text[end : end + 2]):
            number = _NEXT.sub("", run[0])
            end = begin + len(number)
            if number.startswith("(") and number.count("(") > number.count(")"):
                number, begin = number[1:], begin + 1
            called_after = _CALLED_AFTER.match(text, end, end + 24) is not None
            least = 6 if called_after else 7
            if (called or called_after) and not _DATE.match(number) and least <= sum(map(str.isdigit, number)) <= 15:
                extension = _EXTENSION.match(text, end)
                yield begin, extension.end() if extension else end


def _is_called_else(before: str, called: re.Match[str] | None) -> bool:
    """Whether what stands before a number calls it something else, rather than a telephone number."""
    end = before.rstrip("#(.: ")[-1:]  # of the word, in ASCII, if there is one
    if before.isascii() and not (end.isalnum() or end == "_"):
        return False
    other = _OTHER_NUMBER.search(before)
    if other and not (called and called.start() > other.start()):
        return True
    return not called and _NUMBERED.search(before) is not None


def _is_phone(text: str) -> bool:
    """Whether `text` has as many digits as its country's numbers have, or, without a country, 9 to 11 after a trunk
    prefix and 7 to 15 else (E.164)."""
    number: str = re.split("x|ext", text)[0]
    if number.startswith("+"):
        import phonenumbers

        try:
            return phonenumbers.is_possible_number(phonenumbers.parse(number))
        except phonenumbers.NumberParseException:
            return False
    digits = sum(map(str.isdigit, number))
    return 9 <= digits <= 11 if re.match("0[1-9]", text) else 7 <= digits <= 15
