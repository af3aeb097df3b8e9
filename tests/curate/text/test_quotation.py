"""Texts that quote Latin letters, and sentences in Latin letters that quote others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.text.quotation import around_quotation


@pytest.mark.parametrize(
    ("text", "around"),
    [
        ("Docker 容器启动失败 error: port already in use", "容器启动失败 :"),
        ("解释：the quick brown fox", "解释："),
        ("报错 ModuleNotFoundError: No module named requests 怎么解决", "报错 : 怎么解决"),
        ("エラー: connection refused を直して", "エラー: を直して"),
        ("오류: permission denied 해결 방법", "오류: 해결 방법"),
        ("Ошибка: cannot open file. Как исправить?", "Ошибка: . Как исправить?"),
        ("Τι σημαίνει το error not found;", "Τι σημαίνει το ;"),
        ("ما معنى hello world", "ما معنى"),
        ("React で navigation を使う example を書いて", "で を使う を書いて"),
    ],
)
def test_what_stands_around_a_quotation(text: str, around: str) -> None:
    found = around_quotation(text)
    assert found is not None
    assert found.split() == around.split()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "What does 容器 mean?",
        "What does 画蛇添足 mean in English?",
        "Translate 今天天气很好 into English.",
        "Translate into English: 今天天气很好",
        "Is it 你好",
        "What is 机器学习算法 in English: a machine learning algorithm?",
        "Доброе утро means good morning in Russian.",
        "Привет is how you greet a friend",
        "Hello, Мир! is my first program.",
        "Comment dit-on bonjour en russe : привет ?",
        "α, β: the angles of the triangle",
        "μm: a thousandth of a millimetre",
        "π: the ratio of a circle",
        "Δx",
        "It opens at 10:30, 上海 time.",
        "只有中文。",
        "Only English: nothing else.",
    ],
)
def test_what_quotes_nothing_in_latin_letters_for_sure(text: str) -> None:
    assert around_quotation(text) is None


@given(
    st.lists(
        st.sampled_from(["the", "cat", "容器", "启动失败", "ошибка", "を", "の", ":", "：", "é", "1", "β"]), max_size=9
    )
)
def test_nothing_but_latin_letters_is_taken_away(words: list[str]) -> None:
    text = " ".join(words)
    found = around_quotation(text)
    if found is not None:
        assert found.split() == [word for word in words if word not in ("the", "cat", "é")]
