"""Personal data: what stands in its place, and that the vectorised pick misses nothing."""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.record import SCHEMA
from curate.rows.pii import JSON_OF, Pii
from curate.text.personal_data import Kind, find
from tests.curate.text.test_personal_data import FOUND, KINDS, found
from tests.records import layouts, record, table_of, turn


def protected(*rows: dict[str, Any], **settings: Any) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = Pii(**settings).run(table_of(rows)).kept.to_pylist(maps_as_pydicts="strict")
    return kept


def test_what_is_thought_is_protected_with_what_is_said() -> None:
    talk = record("I am a@x.org", turn("assistant", "Hello", "b@x.org wrote, not a@x.org"))
    asked = record("I am a@x.org", target='{"to": "a@x.org"}', reasoning="it is a@x.org")
    kept = protected(talk, asked)
    assert kept[0]["turns"] == [
        turn("user", "I am [EMAIL_1]"),
        turn("assistant", "Hello", "[EMAIL_2] wrote, not [EMAIL_1]"),
    ]
    assert (kept[1]["reasoning"], kept[1]["target"]) == ("it is [EMAIL_1]", '{"to": "[EMAIL_1]"}')


def test_the_same_value_is_the_same_placeholder_in_a_row() -> None:
    row = record(
        "From a@x.org to b@x.org, cc a@x.org; 10.1.2.3",
        ("assistant", "Mail b@x.org or c@x.org from 10.1.2.3 or 10.1.2.4, call (212) 555-0100."),
        target=json.dumps({"to": ["b@x.org", "D@x.org"], "n": 2125550100, "a@x.org": None}),
        meta={"author": "c@x.org", "file": "x"},
    )
    [kept] = protected(row)
    assert kept["turns"] == [
        turn("user", "From [EMAIL_1] to [EMAIL_2], cc [EMAIL_1]; [IP_1]"),
        turn("assistant", "Mail [EMAIL_2] or [EMAIL_3] from [IP_1] or [IP_2], call [PHONE_1]."),
    ]
    assert kept["target"] == '{"to": ["[EMAIL_2]", "[EMAIL_4]"], "n": 2125550100, "a@x.org": null}'
    assert kept["meta"] == {"author": "[EMAIL_3]", "file": "x"}
    assert protected(record("d@x.org"))[0]["turns"][0]["content"] == "[EMAIL_1]"


def test_a_target_stays_json_and_is_otherwise_as_it_was() -> None:
    targets = {
        r'{"a": "x\nme@x.org\\n"}': {"a": "x\n[EMAIL_1]\\n"},
        r'{"a": "me\u0040x.org", "b": 1.50}': {"a": "[EMAIL_1]", "b": 1.5},
        r'{"a": "tel\n\n467 3395"}': {"a": "tel\n\n467 3395"},
        r'["\"me@x.org\"", "06\/24312407"]': ['"[EMAIL_1]"', "[PHONE_1]"],
        r'{"phone": "467 3395", "other": "467 3396", "card": 4012888888881881, "n": 4012888888881882}': {
            "phone": "[PHONE_1]",
            "other": "467 3396",
            "card": "[CREDIT_CARD_1]",
            "n": 4012888888881882,
        },
        '"me@x.org"': "[EMAIL_1]",
        '{"a":1,  "b":"none"}': {"a": 1, "b": "none"},
    }
    for target, expected in targets.items():
        [kept] = protected(record("q", target=target))
        assert json.loads(kept["target"]) == expected
    [kept] = protected(record("me@x.org", target='{"a":1,  "b":"é\\n"}'))
    assert kept["target"] == '{"a":1,  "b":"é\\n"}'


@pytest.mark.parametrize("column", ["group", "label"])
def test_a_group_or_label_of_personal_data_still_groups(column: str) -> None:
    rows = [record("q", **{column: name}) for name in ("me@x.org", "me@x.org", "you@x.org", "conversation 7", None)]
    groups = [row[column] for row in protected(*rows)]
    assert groups[0] == groups[1] == xxhash.xxh3_128_hexdigest(b"me@x.org")
    assert len(set(groups)) == 4
    assert groups[3:] == ["conversation 7", None]


def test_kinds_are_the_recipes() -> None:
    text = "me@x.org 10.1.2.3 (212) 555-0100"
    assert protected(record(text), replace=["ip"])[0]["turns"][0]["content"] == "me@x.org [IP_1] (212) 555-0100"
    assert protected(record(text), replace=[])[0]["turns"][0]["content"] == text


def test_counters_and_layouts() -> None:
    rows = [
        record("me@x.org you@x.org", ("assistant", "a")),
        record("nothing", "at all"),
        record("x", target='{"a": "me@x.org"}', meta={"k": "10.1.2.3"}),
        record(),
        record("call (212) 555-0100", meta={"a": "b", "c": "me@x.org"}),
    ]
    for table in layouts(rows):
        outcome = Pii().run(table)
        assert {kind: rows for kind, rows in outcome.counters.items() if rows} == {"email": 3, "phone": 1, "ip": 1}
        assert outcome.kept.schema == SCHEMA
        assert outcome.rejected.num_rows == 0
        assert outcome.kept.to_pylist(maps_as_pydicts="strict") == [protected(row)[0] for row in rows]
    assert Pii().run(table_of([])).kept.num_rows == 0


@st.composite
def near_hits(draw: st.DrawFn) -> str:
    """What is found above, or nearly: a few characters changed, dropped or added, in upper or lower case."""
    text = draw(st.sampled_from([text for text, _, _ in FOUND]))
    for _ in range(draw(st.integers(0, 3))):
        begin = draw(st.integers(0, len(text)))
        text = (
            text[:begin]
            + draw(st.sampled_from([*' .-/()x:+@0159\n\té٣\\"\u0130K', ""]))
            + text[begin:][draw(st.integers(0, 1)) :]
        )
    return draw(st.sampled_from([text, text.upper(), text.lower()]))


@given(near_hits(), st.sampled_from(["turn", "target", "escaped target", "key", "group", "label", "meta"]))
@settings(max_examples=100)
def test_the_pick_never_misses_a_row(text: str, place: str) -> None:
    row = {
        "turn": record("q", ("assistant", text)),
        "target": record("q", target=json.dumps(["x", text], ensure_ascii=False)),
        "escaped target": record("q", target="".join(['"', *(f"\\u{ord(char):04x}" for char in text), '"'])),
        "key": record("q", target=json.dumps({text: 1})),
        "group": record("q", group=text),
        "label": record("q", label=text),
        "meta": record("q", meta={"a": "b", "c": text}),
    }[place]
    for kind in KINDS:
        if any(True for _ in find(text, [kind])):
            for table in layouts([record("q"), row, record("q")]):
                outcome = Pii(replace=[kind]).run(table)
                assert outcome.counters[kind] == 1 or place in ("group", "label", "key")
                assert outcome.counters["in_keys"] == (place == "key")


@given(st.lists(st.tuples(near_hits(), near_hits(), st.booleans()), max_size=4))
def test_nothing_is_found_twice_and_json_stays_json(rows: list[tuple[str, str, bool]]) -> None:
    before = [record(text, target=json.dumps({"a": other}, ensure_ascii=escaped)) for text, other, escaped in rows]
    for row, (text, other, _) in zip(protected(*before), rows, strict=True):
        said, given = row["turns"][0]["content"], json.loads(row["target"])["a"]
        assert (said == text) == (not found(text))
        if given == other:  # what is found in it stands in the turn, where it is none
            assert all(kind == "phone" and value in said for kind, value in found(other))
        else:  # or it is, as a whole, what is found in the turn
            assert found(other) or given in said


def test_the_pick_misses_nothing_in_the_licence_notices(licence_data: Path) -> None:
    texts = [path.read_text(encoding="utf-8") for path in sorted((licence_data / "rules").glob("*.RULE"))]
    assert len(texts) > 30_000
    picked = {position for position, _ in Pii()._suspects(pa.array(texts), JSON_OF["turns"])}
    passed_over = [text for number, text in enumerate(texts) if number not in picked]
    assert 0 < len(picked) < len(texts) / 10
    assert [text for text in random.Random(0).sample(passed_over, 1_000) if found(text)] == []


GITHUB, SLACK, STRIPE = "gh" + "p_", "xo" + "xb-", "sk" + "_live_"


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("key AKIAIOSFODNN7EXAMPLE.", "secret", "AKIAIOSFODNN7EXAMPLE"),
        (f"{GITHUB}16C7e42F292c6912E7710c838347Ae178B4a", "secret", f"{GITHUB}16C7e42F292c6912E7710c838347Ae178B4a"),
        (f"({SLACK}2912-4829-aB3dE6fG9h)", "secret", f"{SLACK}2912-4829-aB3dE6fG9h"),
        (f"{STRIPE}4eC39HqLyjWDarjtT1zdp7dc", "secret", f"{STRIPE}4eC39HqLyjWDarjtT1zdp7dc"),
        ("AIza" + "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q", "secret", "AIza" + "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q"),
        ("sk-" + "proj-a1B2c3D4e5F6g7H8i9J0k1L2", "secret", "sk-" + "proj-a1B2c3D4e5F6g7H8i9J0k1L2"),
        ('api_key = "8f14e45fceea167a5a36dedd4bea2543"', "secret", "8f14e45fceea167a5a36dedd4bea2543"),
        (
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.dozjgNryP4J3jVmNHl0w5N",
            "secret",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.dozjgNryP4J3jVmNHl0w5N",
        ),
        ("postgres://joe:s3cr3t@db.host.org/x", "credentials", "joe:s3cr3t"),
        ("card 4012 8888 8888 1881 12/26", "credit_card", "4012 8888 8888 1881"),
        ("378282246310005", "credit_card", "378282246310005"),
        ("pay GB82 WEST 1234 5698 7654 32 from here", "iban", "GB82 WEST 1234 5698 7654 32"),
        ("gb82west12345698765432", "iban", "gb82west12345698765432"),
        ("SSN 536-90-4399", "ssn", "536-90-4399"),
        ("Social Security: 536904399", "ssn", "536904399"),
        ("번호 850101-1234566입니다", "rrn", "850101-1234566"),
        ("born since: 201005-3123456", "rrn", "201005-3123456"),
        ("주민등록번호: 8501011234567", "rrn", "8501011234567"),
        ("메일은joe@example.com으로", "email", "joe@example.com"),
        ("joe\u200b@exam\u00adple.com", "email", "joe\u200b@exam\u00adple.com"),
        ("ｊｏｅ＠example.com", "email", "ｊｏｅ＠example.com"),
        ("müller@bücher.example", "email", "müller@bücher.example"),
        ("joe@xn--bcher-kva.example", "email", "joe@xn--bcher-kva.example"),
        ("전화 ０１０－１２３４－５６７８", "phone", "０１０－１２３４－５６７８"),
        ("هاتف +٩٧١ ٥٠ ١٢٣ ٤٥٦٧", "phone", "+٩٧١ ٥٠ ١٢٣ ٤٥٦٧"),
        ("connect to host 5.6.7.8 now", "ip", "5.6.7.8"),
    ],
)
def test_numbers_secrets_and_scripts(text: str, kind: Kind, value: str) -> None:
    assert found(text) == [(kind, value)]
    assert Pii().run(table_of([record(text)])).counters[kind] == 1


def test_one_value_however_written() -> None:
    row = record("JOE@x.org or joe@X.org", "call 212-555-0100 or (212) 555-0100", meta={"phone": "212.555.0100"})
    [kept] = protected(row)
    assert [turn["content"] for turn in kept["turns"]] == ["[EMAIL_1] or [EMAIL_1]", "call [PHONE_1] or [PHONE_1]"]
    assert kept["meta"] == {"phone": "[PHONE_1]"}


def test_placeholders_of_an_earlier_run_keep_their_numbers() -> None:
    row = record("[EMAIL_1] wrote to a@x.org", ("assistant", "[EMAIL_3]"))
    [kept] = protected(row)
    assert kept["turns"][0]["content"] == "[EMAIL_1] wrote to [EMAIL_4]"
    assert protected(kept) == [kept]


def test_a_turn_of_json_stays_json() -> None:
    [kept] = protected(record("q", ("assistant", '{"card": 4012888888881881, "x": "a\\nme@x.org", "n": 1.50}')))
    assert kept["turns"][1]["content"] == '{"card": "[CREDIT_CARD_1]", "x": "a\\n[EMAIL_1]", "n": 1.50}'


def test_meta_of_dates_and_versions_stays() -> None:
    meta = {
        "date": "2004-01-02",
        "day": "05-06-2004",
        "time": "2004-01-02 03:04:05",
        "stamp": "20040102030405",
        "version": "1.2.3.4",
        "build": "10.0.19041.1",
        "isbn": "978-0-306-40615-7",
        "commit": "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12",
        "score": "0.7311231231",
        "licence": "GPL-2.0-or-later",
    }
    assert protected(record("q", meta=meta))[0]["meta"] == meta


def test_quarantine_tells_the_shape_and_never_the_value() -> None:
    rows = [
        record("q", ("assistant", "SSN 536-90-4399 and joe@x.org")),
        record("joe@x.org"),
        record("q", target=json.dumps({"key": "AKIAIOSFODNN7EXAMPLE", "536-90-4399": 1})),
    ]
    kinds = [kind for kind in KINDS if kind not in ("ssn", "secret")]
    outcome = Pii(replace=kinds, quarantine=["ssn", "secret"]).run(table_of(rows))
    assert [row["turns"][0]["content"] for row in outcome.kept.to_pylist()] == ["[EMAIL_1]"]
    rejected = outcome.rejected.to_pylist()
    assert [row["reason"] for row in rejected] == ["personal_data"] * 2
    assert json.loads(rejected[0]["evidence"]) == {
        "kinds": {"ssn": 1},
        "kind": "ssn",
        "column": "turns",
        "shape": "000-00-0000",
    }
    assert json.loads(rejected[1]["evidence"])["kinds"] == {"secret": 1, "ssn": 1}
    assert not any("4399" in row["evidence"] or "AKIA" in row["evidence"] for row in rejected)
    assert rejected[0]["turns"][1]["content"] == "SSN 536-90-4399 and joe@x.org"
    assert Pii(quarantine=["ssn"], replace=["email"]).rewriting().run(table_of(rows)).rejected.num_rows == 0


def test_settings_that_contradict_each_other() -> None:
    with pytest.raises(ValueError, match="email is both replaced and quarantined"):
        Pii(quarantine=["email"])
    with pytest.raises(ValueError, match=r"person is found by a model: name its folder as pii\.names\.model"):
        Pii(replace=["person"])


@pytest.mark.parametrize(
    "piece",
    [
        "@",
        "a@",
        "a@b.",
        "1 ",
        "1.",
        "+1",
        "1:",
        "(1)",
        "://a:",
        "-----BEGIN PRIVATE KEY-----",
        "key=",
        "eyJ",
        "GB82 ",
        "sk-",
        "4-",
        '"',
        "{",
        "\u0661",
        "\u200b@",
        "call ",
        "x.x@",
    ],
)
def test_a_hostile_row_takes_linear_time(piece: str) -> None:
    """50 kB of the beginning of something, which time growing with the square of the length would not forgive."""
    text = piece * (50_000 // len(piece))
    assert protected(record(text))[0]["turns"][0]["content"]
