"""URLs: none is told with what gives access to what it names, whether or not a library would open it."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from curate.errors import AssayError
from curate.urls import masked, without_secrets

SECRET = "hunter2"
URLS = {
    f"http://user:{SECRET}@host/x?key={SECRET}#{SECRET}": "http://host/x",
    f"HTTPS://USER:{SECRET}@HOST/x": "HTTPS://HOST/x",
    f"simplecache::http://user:{SECRET}@host/x": "simplecache::http://host/x",
    f"zip://a.csv::http://user:{SECRET}/w@host/a.zip": "zip://a.csv::http://host/a.zip",
    f"zip://*.csv::filecache::s3://KEY:{SECRET}@bucket/a.zip": "zip://*.csv::filecache::s3://bucket/a.zip",
    f"s3://KEY:{SECRET}@bucket": "s3://bucket",
    f"s3://KEY:12/{SECRET}@bucket/a": "s3://bucket/a",
    f"https://{SECRET}@host/x": "https://host/x",
    f"http://user:p@{SECRET}@host/x": "http://host/x",
    f"http://user:p#{SECRET}@host/x": "http://host/x",
    f"http://user:p?{SECRET}@host/x": "http://host/x",
    f"http://user:p%2F{SECRET}@host/x": "http://host/x",
    f"http://user:p {SECRET}@host/x": "http://host/x",
    f"http://user:p'{SECRET}@host/x": "http://host/x",
    f"http://user:p::{SECRET}@host/x": "http://host/x",
    f"http://user:p://{SECRET}@host/x": "http://host/x",
    f"http://user:{SECRET}@[::1]:80/x": "http://[::1]:80/x",
    f"http://user:{SECRET}": "http://...",
    f"http://host/x?from=http://user:{SECRET}@other/y": "http://host/x",
    f"abfs://box:{SECRET}@account.dfs.core.windows.net/x": "abfs://account.dfs.core.windows.net/x",
}
HARMLESS = [
    "rows.jsonl",
    "user:pass@host",
    "http://[::1]:8000/x",
    "http://127.0.0.1:8000/a@1/x",
    "https://unpkg.com/p@1.0/x",
    "hf://datasets/me/mine@main/x",
    "abfs://box@account.dfs.core.windows.net/x",
    "s3://bucket/a::b",
    "zip://a.csv::simplecache::http://host/a.zip",
]


@pytest.mark.parametrize("url", URLS)
def test_a_url_is_told_without_its_secrets(url: str) -> None:
    assert without_secrets(url) == URLS[url]
    words = f"ClientError: '{url}' and http://a:{SECRET}@b/c, not found: {url}"
    assert SECRET not in masked(words)
    assert masked(words).startswith("ClientError: '")
    assert SECRET not in str(AssayError(words, remedy=words))


@pytest.mark.parametrize("url", HARMLESS)
def test_what_holds_no_secret_is_told_as_it_is(url: str) -> None:
    assert without_secrets(url) == url
    assert masked(f"at {url}: no") == f"at {url}: no"


SCHEMES = st.sampled_from(["http", "s3", "zip://x::https", "simplecache::gs"])
HOSTS = st.sampled_from(["h", "h.a:8", "[::1]"])


@given(SCHEMES, *[st.text("ab1/@#?%:' \"&=+.", max_size=6)] * 2, HOSTS)
def test_no_password_is_told_whatever_is_in_it(scheme: str, before: str, after: str, host: str) -> None:
    assume("://" not in after)  # `http://user::SECRET://` is a chain of two URLs
    assert "SECRET" not in without_secrets(f"{scheme}://user:{before}SECRET{after}@{host}/rows.jsonl")


@given(SCHEMES, *[st.text("ab1/@#?%:&=+.;", max_size=6) | st.text("ab1/#?%:' \"", max_size=6)] * 2, HOSTS)
def test_nor_is_it_among_words(scheme: str, before: str, after: str, host: str) -> None:
    """Where a password has an @ and a space or a quote, nothing tells where its URL ends."""
    assume("://" not in after)
    assume("@" not in before + after or not {*" '\""} & {*before + after})
    url = f"{scheme}://user:{before}SECRET{after}@{host}/rows.jsonl"
    assert "SECRET" not in masked(f"cannot open {url}: no")
    assert "SECRET" not in masked(f"'{url}' and {url}")


@given(st.text("ab:/@?#[] '\n.", max_size=40))
def test_any_text_is_told(text: str) -> None:
    assert without_secrets(without_secrets(text)) == without_secrets(text)
    assert "://" in text or masked(text) == text
