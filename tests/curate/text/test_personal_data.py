"""Personal data in a text: what is found as which kind, and what is left alone."""

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.pii import PRESIDIO, score
from curate.text.personal_data import FINDERS, SUSPECT, Kind, find
from curate.text.phone_numbers import (
    _BOOK,
    _CALLED_AFTER,
    _CALLED_PHONE,
    _DATE,
    _EXTENSION,
    _GOES_ON,
    _NEXT,
    _NUMBERED,
    _OTHER_NUMBER,
    _PHONE,
    _RUN,
    LOOKS_TOLD,
    _is_phone,
    phones,
)
from curate.text.plain_text import ODD, plain

KINDS = tuple(FINDERS)


FOUND: list[tuple[str, Kind, str]] = [
    ("mail joe@example.com.", "email", "joe@example.com"),
    ("<Joe.Q+tag_1@sub-domain.example.co.uk>", "email", "Joe.Q+tag_1@sub-domain.example.co.uk"),
    ("mailto:joe@example.museum?subject=x", "email", "joe@example.museum"),
    ("72600.2026@compuserve.com", "email", "72600.2026@compuserve.com"),
    ("用户@例子.公司", "email", "用户@例子.公司"),
    ("at 192.168.0.17,", "ip", "192.168.0.17"),
    ("http://10.1.2.3:8080/x", "ip", "10.1.2.3"),
    ("src:10.1.2.3:8080", "ip", "10.1.2.3"),
    ("10.0.0.1-10.0.0.1", "ip", "10.0.0.1"),
    ("[2001:db8::8a2e:370:7334]", "ip", "2001:db8::8a2e:370:7334"),
    ("from fe80::1 on", "ip", "fe80::1"),
    ("::ffff:192.0.2.128", "ip", "::ffff:192.0.2.128"),
    ("d80:e4b5:79da:6cf6:71f3:51f7:9161:c319.", "ip", "d80:e4b5:79da:6cf6:71f3:51f7:9161:c319"),
    ("+1 (212) 555-0100", "phone", "+1 (212) 555-0100"),
    ("(212) 555-0100", "phone", "(212) 555-0100"),
    ("(579)888-3058.", "phone", "(579)888-3058"),
    ("1-800-548-4725, or", "phone", "1-800-548-4725"),
    ("212.555.0100", "phone", "212.555.0100"),
    ("+442071838750", "phone", "+442071838750"),
    ("+44 20 7183 8750", "phone", "+44 20 7183 8750"),
    ("+41 (0)85 806 98 67", "phone", "+41 (0)85 806 98 67"),
    ("+41-44-5150410", "phone", "+41-44-5150410"),
    ("001-253-366-9781", "phone", "001-253-366-9781"),
    ("463-612-6138x036", "phone", "463-612-6138x036"),
    ("(212) 555-0100 ext. 42", "phone", "(212) 555-0100 ext. 42"),
    ("0496 46 46 70", "phone", "0496 46 46 70"),
    ("01.84.17.61.18", "phone", "01.84.17.61.18"),
    ("06-24312407", "phone", "06-24312407"),
    ("Tel.: 467 3395", "phone", "467 3395"),
    ("please call me at 9498777106!", "phone", "9498777106"),
    ("Phone:\n60-56-85-91", "phone", "60-56-85-91"),
    ("(212-254-5093)", "phone", "212-254-5093"),
]


def found(text: str) -> list[tuple[str, str]]:
    return [(each.kind, text[each.begin : each.end]) for each in find(text, KINDS)]


@pytest.mark.parametrize(("text", "kind", "value"), FOUND)
def test_what_is_found(text: str, kind: Kind, value: str) -> None:
    assert set(found(text)) == {(kind, value)}


@pytest.mark.parametrize(
    "text",
    [
        "version 10.2.3.4, v1.2.3.4, Section 12.3.1.4, § 11.2.3.4",
        "2.0.0.1 and 1.2.3 and 10.0.19041.1 and 256.1.1.1 and 10.2.3.4.5",
        "Chrome/99.0.48.51 package-10.2.3.4.tar.gz",
        "127.0.0.1 and ::1 and :: and 255.255.255.0 and 239.1.2.3",
        "std::vector and ::abc and Feed::add and dead:: and a::b and 12:30:45 and 1:2:3:4:5:6:7",
        "00:1A:2B:3C:4D:5E",
        "1991-2004, 1999-2005, 2001 - 2003, (c) 1998,1999-2004",
        "Copyright (c) Mobile 1999-2004 and call 2004-01-02 and fax 12.03.2004",
        "2004-01-02 01.02.2004 12/31/1999 2004-01-02T03:04:05.678901234",
        "ISBN 978-0-306-40615-7, 978-3-16-148410-0, 0-306-40615-2, ISBN 9780306406157; ISSN 0317-8471",
        "ORCID 0000-0002-1825-0097",
        "SPDX-License-Identifier: GPL-2.0-only WITH GCC-exception-3.1 AND CC-BY-SA-4.0",
        "Boston, MA 02110-1301 USA; Cambridge, MA 02139",
        "lines 1024-2048, page 100-200, 1,000,000 or 1 000 000 or 123 456 789",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 d41d8cd98f00b204e9800998ecf8427e",
        "+++ b/file.c\n@@ -2004,7 +2004,9 @@\n+2004-2010 +2021-03-04",
        "4012 8888 8888 1882 and 4111-1111-1111-111 and 9111111111111111 and 4012888888881881.5",
        "987-65-4321 and 078-05-1120 and 000-12-3456 and 1123-45-6789 and 123-45-67890",
        "DE89 3704 0044 0532 0130 01 and GB00WEST12345698765432 and AB12 3456 7890 1234",
        "850101-1234567 and 851301-1234567 and 8501011234566 and 1700000000000",
        "https://user:password@host.org and https://${USER}:${PASS}@host.org and http://host.org:80/a@b",
        "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx, api_key = YOUR_API_KEY_HERE, token = get_token(user_id_1234567890)",
        "files begin with -----BEGIN RSA PRIVATE KEY----- as PEM says; sk-folding-cube-wrapper-element",
        "git@github.com:user/repo.git ssh://joe@host.org/x 12.3.1.4 Definitions; requires foo==10.20.30.40",
        "3.14159265358979 and 1e10 and 0x7fff5fbff8c0 and 550e8400-e29b-41d4-a716-446655440000",
        "00 01 02 03 04 05 06 07 08 09 0a 0b",
        "user@host, @decorator, a@b, lodash@4.17.21, icon@2x.png, me @ home.org, x@y..com",
        "call it twice 12 or 34 times; the phone has 4 buttons",
        "10.1000/182, arXiv:2101.00001, RFC 2119, 35 U.S.C. 102(b)",
        "",
    ],
)
def test_what_is_left_alone(text: str) -> None:
    assert found(text) == []


def test_presidios_spans(shared_data: Path) -> None:
    """Recall of whole spans and precision by overlap, on synthetic sentences."""
    judged = score(shared_data / "messy_presidio")
    assert set(judged) == set(PRESIDIO.values())
    for kind, counts in judged.items():
        assert counts["hit"] / (counts["hit"] + counts["missed"]) >= 0.95, kind
        assert counts["found"] / (counts["found"] + counts["wrong"]) >= 0.95, kind


def test_a_private_key_goes_whole() -> None:
    begin, end = "-----BEGIN RSA " + "PRIVATE KEY-----", "-----END RSA " + "PRIVATE KEY-----"
    key = "\n".join([begin, "MIIEpAIBAAKCAQEAvVX3" * 3, "q2Zl8s8mZ2b1aKxq6b3T" * 2, end])
    assert found(f"my key:\n{key}\nthanks") == [("secret", key)]
    assert [kind for kind, _ in found(key.removesuffix(end))] == ["secret"]


def test_a_row_of_many_addresses_takes_linear_time() -> None:
    """Compared each with each, they took minutes."""
    text = " ".join(f"user{number}@example.org" for number in range(40_000))
    assert len(find(text, ["email", "phone"])) == 40_000


PATTERNS = (_CALLED_PHONE.pattern + _OTHER_NUMBER.pattern + _BOOK.pattern).replace("\\b", " ").replace("\\w", " ")
WORDS = sorted({*re.findall(r"[^\W\d_]{2,}", PATTERNS)})
"""What calls numbers something."""
BEFORE = st.sampled_from([*WORDS, *" \n.:#(=/_-", "", "no.", "№ ", "call ", "Order ", "isbn-13 ", ", ", "x = "])
NUMBERS = st.sampled_from(
    ["5550100", "(212) 555-0100", "0496 46 46 70", "123456", "2020-01-01", "+442071838750", "12.34.56"]
)
AFTER = st.sampled_from([*" \n.,)x%", "", " (fax)", " ext. 4", " home", "e5"])


def phones_by_all_tests(text: str) -> list[tuple[int, int]]:
    """`phones`, asking everything of every run of digits."""
    found: list[tuple[int, int]] = []
    for run in _RUN.finditer(text):
        begin, end = run.span()
        before = text[max(0, begin - 48) : begin]
        if _DATE.match(text, begin, end) or _BOOK.search(before):
            continue
        other, called = _OTHER_NUMBER.search(before), _CALLED_PHONE.search(before)
        if (other and not (called and called.start() > other.start())) or (_NUMBERED.search(before) and not called):
            continue
        written = [match.span() for match in _PHONE.finditer(text, begin, end + 9) if _is_phone(match[0])]
        found += written
        if not written and not re.search(r"[\w.$€£¥=#&%/]\Z", before) and not _GOES_ON.match(text[end : end + 2]):
            number = _NEXT.sub("", run[0])
            end = begin + len(number)
            if number.startswith("(") and number.count("(") > number.count(")"):
                number, begin = number[1:], begin + 1
            called_after = _CALLED_AFTER.match(text, end, end + 24)
            digits = sum(map(str.isdigit, number))
            if (called or called_after) and not _DATE.match(number) and (6 if called_after else 7) <= digits <= 15:
                extension = _EXTENSION.match(text, end)
                found.append((begin, extension.end() if extension else end))
    return found


@given(st.lists(st.lists(BEFORE, max_size=4).map("".join) | NUMBERS | AFTER, max_size=12).map("".join))
@settings(max_examples=1000)
def test_words_that_are_looked_for_first_leave_out_no_number(text: str) -> None:
    for each in (text, text.upper(), text.replace("i", "İ").replace("s", "ſ")):
        assert list(phones(each)) == phones_by_all_tests(each)
        assert looks_told(each) or not list(phones(each))


@pytest.mark.parametrize("word", WORDS)
def test_every_word_that_calls_a_number_is_looked_for(word: str) -> None:
    for text in (f"{word} 5550100", f"the {word.upper()}: 5550100", f"{word}. #5550100", f"{word} no. 5550100"):
        assert list(phones(text)) == phones_by_all_tests(text)
        assert looks_told(text) or not list(phones(text))


def looks_told(text: str) -> bool:
    return bool(pc.match_substring_regex(pa.scalar(text), LOOKS_TOLD).as_py())


def test_whatever_is_found_is_suspected() -> None:
    """In a text as it stands, and in JSON that holds it behind an escape."""
    for text, kind, _ in FOUND:
        read = plain(text)[0]
        for written in (read, f"a\n{read}", json.dumps(f"a\n{read}", ensure_ascii=False), f"key: {read}"):
            assert pc.match_substring_regex(pa.scalar(written), SUSPECT[kind]).as_py(), written
        assert kind != "phone" or looks_told(read)


@given(st.text(st.characters(max_codepoint=0x7F)))
def test_no_text_of_ascii_is_odd(text: str) -> None:
    """Those are not even looked at."""
    assert not pc.match_substring_regex(pa.array([text]), ODD)[0].as_py()
    assert plain(text) == (text, None)
