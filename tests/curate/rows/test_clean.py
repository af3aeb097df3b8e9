"""Cleaning: golden cases, ftfy as the oracle, and that cleaning twice changes no more than once."""

import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import ftfy
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.recipe import Recipe
from curate.record import SCHEMA, map_contents
from curate.rows.clean import ESCAPES, Clean, _marker, mend_mojibake
from tests.records import RECORDS, layouts, record, table_of, turn

ROOT = Path(__file__).resolve().parents[3]


def cleaned(*texts: str, **settings: Any) -> list[str]:
    table = Clean(**settings).run(table_of([record(text) for text in texts])).kept
    return [row["turns"][0]["content"] for row in table.to_pylist()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text, as it is", "plain text, as it is"),
        ("", ""),
        ("one\r\ntwo\rthree\u2028four\u2029five\x0bsix\x0cseven", "one\ntwo\nthree\nfour\nfive\x0bsix\x0cseven"),
        ("a\x00b\x01c\x1b[31md\x7fe", "abcde"),
        ("soft\u00adhyphen, hidden \U000e0041\U000e0042 tags", "softhyphen, hidden  tags"),
        ("\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e007f", "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e007f"),
        ("<s> The answer.</s>", "The answer."),
        ("The answer.<|im_end|>\n<|endoftext|>", "The answer."),
        ("<s>struck</s> out, List<String>, <noinput>", "<s>struck</s> out, List<String>, <noinput>"),
        ("all <s>struck</s>", "all <s>struck</s>"),
        ("ChatML writes `<|im_start|>` and Llama `[INST]`", "ChatML writes `<|im_start|>` and Llama `[INST]`"),
        ("C1 controls were Windows\x92 quotes\x85", "C1 controls were Windows’ quotes…"),
        ("tab\tstays", "tab\tstays"),
        ("zero\u200bwidth\u2060\ufeff", "zerowidth"),
        ("\ufeffat the beginning", "at the beginning"),
        ("می\u200cخواهم 👩\u200d💻 क\u094d\u200dष", "می\u200cخواهم 👩\u200d💻 क\u094d\u200dष"),
        ("bidi \u202eoverride\u202c \u2066isolate\u2069", "bidi override isolate"),
        ("left-to-right\u200e mark", "left-to-right\u200e mark"),
        ("cafe\u0301 \u1100\u1161 \u212b", "café 가 Å"),
        ("ﬁne ½ Ⅳ ｆｕｌｌ", "ﬁne ½ Ⅳ ｆｕｌｌ"),
        ("  indent\n    more  \n\t\ntail \t\u00a0\n", "  indent\n    more  \n\t\ntail \t\u00a0\n"),
        ("The token of its end is </s>", "The token of its end is </s>"),
        ("<s> begins a text of Llama", "<s> begins a text of Llama"),
        ("The answer.\n</s>\n", "The answer."),
        ("The answer. </s>", "The answer."),
        ("schÃ¶n is UTF-8 taken for Latin-1", "schÃ¶n is UTF-8 taken for Latin-1"),
        ("no-break\u00a0space", "no-break\u00a0space"),
        ("schÃ¶n â€“ naÃ¯ve\nfaÃ§ade", "schön – naïve\nfaçade"),
        ("The Mona Lisa doesnÃƒÂ¢Ã¢â€šÂ¬Ã¢â€žÂ¢t have eyebrows.", "The Mona Lisa doesn’t have eyebrows."),
        ("L’ÂGE D’OR — “HÔTEL” Ä Ö Ü", "L’ÂGE D’OR — “HÔTEL” Ä Ö Ü"),
        ("<b>&amp; “quotes”</b>", "<b>&amp; “quotes”</b>"),
    ],
)
def test_golden(text: str, expected: str) -> None:
    assert cleaned(text) == [expected]


def test_settings() -> None:
    assert cleaned("ﬁne ½ ｆｕｌｌ", unicode="NFKC") == ["fine 1⁄2 full"]
    assert cleaned("schÃ¶n", mojibake=False) == ["schÃ¶n"]
    tidy = cleaned("  indent\n    more  \n\t\ntail \t\u00a0\n", "a\n\n\f\n\nb\n \n \n \nc", whitespace="tidy")
    assert tidy == ["indent\n    more\n\ntail", "a\n\nb\n\nc"]
    assert cleaned("next\x85line, C1\x92 control", mojibake=False) == ["next\nline, C1 control"]


def test_counters_are_of_rows() -> None:
    rows = [
        record("schÃ¶n", ("assistant", "schÃ¶n")),
        record("a\r\nb\x00"),
        record("cafe\u0301 "),
        record("clean"),
        record(),
    ]
    for table in layouts(rows):
        outcome = Clean(whitespace="tidy").run(table)
        assert outcome.counters == {
            "mojibake": 1,
            "template": 0,
            "controls": 1,
            "unicode": 1,
            "whitespace": 1,
            "copied": 0,
        }
        assert (outcome.kept.num_rows, outcome.rejected.num_rows) == (5, 0)


@pytest.mark.parametrize(
    ("text", "marker"),
    [
        ("Hello.<|im_end|>\n<|im_start|>user\nAnd now?", "<|im_end|>"),
        ("[INST] Do it. [/INST] Done.", "[INST]"),
        ("Done.\n### Human: more", "### Human:"),
        ("### Human: Do it.### Assistant: Done.", "### Human:"),
        ("Below is a task.\n\n### Instruction:\nDo it.\n\n### Response:", "### Instruction:"),
        ("one </s><s> two", "</s><s>"),
    ],
)
def test_a_turn_that_holds_turns_is_quarantined(text: str, marker: str) -> None:
    rows = [record("fine"), record("A question", ("assistant", text)), record("fine too")]
    for table in layouts(rows):
        outcome = Clean().run(table)
        assert outcome.kept.num_rows == 2
        row = outcome.rejected.to_pylist()[0]
        assert (row["stage"], row["reason"]) == ("clean", "template_markers")
        assert json.loads(row["evidence"]) == {"turn": 1, "marker": marker}
        assert Clean(template_markers="keep").run(table).kept.num_rows == 3


def test_examples_show_each_rule() -> None:
    rows = [record("schÃ¶n", id="b"), record("tail \nof a line", id="a"), record("clean", id="c")]
    examples = Clean(whitespace="tidy").run(table_of(rows)).examples
    assert examples["mojibake"] == [{"id": "b", "before": "schÃ¶n", "after": "schön"}]
    assert examples["whitespace"] == [{"id": "a", "before": "tail \nof a line", "after": "tail\nof a line"}]
    assert examples["controls"] == []


# Pieces of what goes wrong, so that they meet: mojibake, what hides it, and what is taken away.
MESSY = st.text(
    st.sampled_from("âÃ€™©ÂÅï¿½\x85\x9d\x81“”œ\u00a0 \t\n\r\u200b\ufeff\u2028\u202eaé\u0301ﬁ\u3000क़\u094d…\ufffd\0")
    | st.characters(exclude_categories=["Cs"]),
    max_size=16,
)


@given(st.lists(MESSY, max_size=8), st.sampled_from(["NFC", "NFKC"]))
def test_cleaning_twice_is_cleaning_once(texts: list[str], form: str) -> None:
    kept = cleaned(*texts, unicode=form)
    assert cleaned(*kept, unicode=form) == kept
    once = cleaned(*texts, unicode=form, whitespace="tidy")
    assert cleaned(*once, unicode=form, whitespace="tidy") == once
    for text in once:
        assert text == unicodedata.normalize(form, text).strip()
        assert not any(unicodedata.category(char) == "Cc" and char not in "\t\n" for char in text)
        assert "\n\n\n" not in text


@given(st.lists(MESSY, max_size=8))
def test_mojibake_is_what_ftfy_makes_of_every_line(texts: list[str]) -> None:
    assert mend_mojibake(pa.array(texts, pa.string())).to_pylist() == [every_line(text) for text in texts]


def every_line(text: str) -> str:
    """ftfy asked about each line of a text, whether it looks broken or not."""
    return "\n".join(ftfy.fix_encoding(line) for line in text.split("\n"))


@given(RECORDS)
def test_rows_are_conserved_whatever_their_layout(rows: list[dict[str, Any]]) -> None:
    outcomes = [Clean().run(table) for table in layouts(rows)]
    for outcome in outcomes:
        assert outcome.kept.schema == SCHEMA
        assert outcome.kept.equals(outcomes[0].kept)
        assert outcome.counters == outcomes[0].counters
        assert outcome.rejected.num_rows == 0
    turns = outcomes[0].kept["turns"].to_pylist()
    assert [[turn["role"] for turn in said] for said in turns] == [[t["role"] for t in row["turns"]] for row in rows]
    contents = [turn["content"] for row in rows for turn in row["turns"]]
    assert [turn["content"] for said in turns for turn in said] == cleaned(*contents)
    backwards = Clean().run(table_of(rows[::-1])).kept
    assert backwards.to_pylist() == outcomes[0].kept.to_pylist()[::-1]


def ftfy_cases(shared_data: Path, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((shared_data / f"messy_ftfy/tests/test-cases/{name}.json").read_text())
    return found


def test_ftfys_cases_that_must_not_change(shared_data: Path) -> None:
    texts = [case["original"] for case in ftfy_cases(shared_data, "negative")]
    assert len(texts) == 31
    mended = mend_mojibake(pa.array(texts)).to_pylist()
    changed = {text: now for text, now in zip(texts, mended, strict=True) if text != now}
    # "Mostly negative", as its label says: its C1 control alone is mended.
    controls = "C'est vrai que nous n'en avons pas encore beaucoup parlé\x85 Tu sais, ça fait de nombreuses années"
    assert changed == {controls: controls.replace("\x85", "…")}


def test_ftfys_cases_are_mended_as_ftfy_mends_them(shared_data: Path) -> None:
    names = ["in-the-wild", "known-failures", "language-names", "negative", "synthetic"]
    cases = [case for name in names for case in ftfy_cases(shared_data, name)]
    texts = [case["original"] for case in cases]
    assert len(texts) == 161
    mended = mend_mojibake(pa.array(texts)).to_pylist()
    assert mended == [every_line(text) for text in texts]
    passing = [(text, case) for text, case in zip(mended, cases, strict=True) if case["expect"] == "pass"]
    right = sum(text == case.get("fixed-encoding", case["fixed"]) for text, case in passing)
    assert right == len(passing)


def test_the_pick_misses_nothing_in_the_licence_notices(licence_data: Path) -> None:
    """Asking ftfy about every line of every notice mends no more than asking it about the lines picked out."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((licence_data / "rules").glob("*.RULE"))]
    assert len(texts) > 30_000
    lines = {line for text in texts for line in text.split("\n") if not line.isascii()}
    assert len(lines) > 1_000
    mends = {line: fixed for line in lines if (fixed := ftfy.fix_encoding(line)) != line}
    assert mends
    expected = ["\n".join(mends.get(line, line) for line in text.split("\n")) for text in texts]
    assert mend_mojibake(pa.array(texts)).to_pylist() == expected


def test_ftfy_leaves_ascii_alone(licence_data: Path) -> None:
    """What the test above takes for granted, on a sample: ftfy has nothing to mend in ASCII."""
    paths = sorted((licence_data / "rules").glob("*.RULE"))[::100]
    lines = {line for path in paths for line in path.read_text(encoding="utf-8").split("\n") if line.isascii()}
    assert len(lines) > 1_000
    assert all(ftfy.fix_encoding(line) == line for line in lines)


def test_naughty_strings_are_cleaned_once_and_lose_no_letter(shared_data: Path) -> None:
    texts = json.loads((shared_data / "messy_blns/blns.json").read_text())
    assert len(texts) == 515
    once = cleaned(*texts, mojibake=False)
    assert cleaned(*once, mojibake=False) == once
    for before, after in zip(texts, once, strict=True):
        letters = [char for char in unicodedata.normalize("NFC", re.sub(ESCAPES, "", before)) if char.isalnum()]
        assert [char for char in after if char.isalnum()] == letters


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_naughty_strings_lose_no_letter_by_any_shipped_recipe(shared_data: Path, path: Path) -> None:
    texts = json.loads((shared_data / "messy_blns/blns.json").read_text())
    clean = Recipe.load(path).clean
    outcome = clean.run(table_of([record(text, id=str(number)) for number, text in enumerate(texts)]))
    assert (outcome.kept.num_rows, outcome.rejected.num_rows) == (515, 0)
    for before, row in zip(texts, outcome.kept.to_pylist(), strict=True):
        letters = [char for char in every_line(re.sub(ESCAPES, "", before)) if char.isalnum()]
        after = [char for char in row["turns"][0]["content"] if char.isalnum()]
        assert after == [char for char in unicodedata.normalize(clean.unicode, "".join(letters)) if char.isalnum()]


def test_what_is_thought_is_cleaned_as_what_is_said() -> None:
    row = record("q", turn("assistant", "a", "JosÃ© \u200bthinks"), reasoning="Ana\x07", target="{}")
    outcome = Clean().run(table_of([record("plain"), row]))
    [_, kept] = outcome.kept.to_pylist()
    assert (kept["turns"][1]["reasoning"], kept["reasoning"]) == ("José thinks", "Ana")
    assert outcome.counters["mojibake"] == outcome.counters["controls"] == 1


def test_contents_are_all_that_changes() -> None:
    rows = [record(" x ", ("assistant", "y\r\n"), target='{"a": " "}', group=" g ", meta={"k": " v "})]
    table = table_of(rows)
    kept = Clean(whitespace="tidy").run(table).kept
    assert kept.equals(map_contents(table, pc.utf8_trim_whitespace))


@pytest.mark.parametrize(
    ("text", "target", "expected"),
    [
        ("I am JosÃ© Ruiz.", '{"name": "JosÃ© Ruiz",  "n": 1}', '{"name": "José Ruiz",  "n": 1}'),
        ("I am JosÃ©. \n", '{"JosÃ©": ["Jos\\u00c3\\u00a9", "Ana"]}', '{"JosÃ©": ["José", "Ana"]}'),
        ('The\u200b "Co\u00adrp" and JosÃ©', '["\\"Co\u00adrp\\"", "JosÃ©"]', '["\\"Corp\\"", "José"]'),
        ("I am JosÃ©", '{"name": "JosÃ© Ruiz"}', None),
        ("I am José ", '{"name": "JosÃ©"}', None),
        ("clean \u200b", '{"gap": " \u200b", "all": "clean", "lone": "\\ud800", "end": "\u200b"}', None),
        ("JosÃ©", 'JosÃ©, not JSON: "', None),
        ("JosÃ©", None, None),
    ],
)
def test_a_copy_in_the_target_stays_one(text: str, target: str | None, expected: str | None) -> None:
    for table in layouts([record("another ", target='"another "'), record(text, target=target, id="x")]):
        outcome = Clean(whitespace="tidy").run(table)
        assert outcome.kept["target"].to_pylist() == ['"another"', expected or target]
        assert outcome.counters["copied"] == 1 + bool(expected)
        assert Clean(whitespace="tidy").run(outcome.kept).kept.equals(outcome.kept)


def test_a_run_of_backticks_is_looked_at_once() -> None:
    assert _marker("`" * 300_000 + " <|im_end|> " + "a" * 300_000) == "<|im_end|>"
    assert _marker("``a ` <|im_end|>`` and `<|im_end|>`") is None
