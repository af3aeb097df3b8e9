"""Mail: headers, the plain part and what is attached; folders of mails."""

import mailbox
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.read.documents import mail
from curate.read.documents.stated import Stated
from curate.read.raw_row import Unread
from tests.curate.read.made import rows_of


def mail_of(text: str, page: str = "", **headers: str) -> EmailMessage:
    message = EmailMessage()
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content(text)
    if page:
        message.add_alternative(page, subtype="html")
    return message


def read(message: EmailMessage | bytes) -> dict[str, Any]:
    data = message if isinstance(message, bytes) else message.as_bytes()
    [row] = mail.eml(data, "a.eml", Stated())
    assert isinstance(row, dict)
    return row


def test_a_mail_is_a_row() -> None:
    message = mail_of(
        "Dear Ada,\nthe fee is due – now.\n",
        "<p>Not this.</p>",
        Subject="Rechnung für März",
        From="Bob <b@x.test>",
        To="Ada <a@x.test>",
        Date="Mon, 02 Mar 2026 10:00:00 +0100",
        Message_ID="<1@x.test>",
    )
    message.add_attachment(b"%PDF-1.4", maintype="application", subtype="pdf", filename="bill.pdf")
    assert read(message) == {
        "text": "Dear Ada,\nthe fee is due – now.",
        "name": "a.eml",
        "subject": "Rechnung für März",
        "from": "Bob <b@x.test>",
        "to": "Ada <a@x.test>",
        "cc": None,
        "date": "2026-03-02T10:00:00+01:00",
        "message_id": "<1@x.test>",
        "in_reply_to": None,
        "attachments": [{"name": "bill.pdf", "type": "application/pdf", "bytes": 8}],
    }


def test_a_mail_that_is_a_page_says_what_the_page_says() -> None:
    message = EmailMessage()
    message["Subject"] = "x"
    message.set_content("<html><body><p>Pay <b>now</b>.</p></body></html>", subtype="html")
    assert read(message)["text"] == "Pay now."


def test_broken_mails_are_read_as_far_as_they_go() -> None:
    row = read(
        b"Subject: =?nonsense?Q?x?=\nDate: some day\nFrom: \xff\xfe\nContent-Type: text/plain; charset=klingon\n\nx\xe9"
    )
    assert (row["date"], row["text"][0]) == ("some day", "x")
    [nothing] = mail.eml(b"no header at all", "a.eml", Stated())
    assert isinstance(nothing, Unread)


def test_a_mail_of_too_much_text_is_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "LONGEST_ROW", 1000)
    (found,) = mail.eml(b"Subject: all of it\r\n\r\n" + b"word " * 300, "long.eml", Stated())
    assert isinstance(found, Unread)


def test_a_folder_of_mails(tmp_path: Path) -> None:
    """As the standard library wrote it, whose own reader is the oracle."""
    folder = mailbox.mbox(tmp_path / "Inbox.mbox")
    for number in range(5):
        folder.add(mail_of(f"Mail {number}\n\nFrom here on it is text.\n", Subject=f"S{number}", From="a@x.test"))
    folder.close()
    rows = rows_of(tmp_path / "Inbox.mbox")
    assert [(row["subject"], row["number"]) for row in rows if isinstance(row, dict)] == [
        (f"S{number}", number + 1) for number in range(5)
    ]
    own = [message.get_payload() for message in mailbox.mbox(tmp_path / "Inbox.mbox")]
    assert [row["text"] for row in rows if isinstance(row, dict)] == [
        str(text).replace(">From", "From").strip() for text in own
    ]
    (tmp_path / "Inbox.mbox").rename(tmp_path / "Inbox")  # which has no suffix, as mail programs keep it
    assert rows_of(tmp_path / "Inbox") == [row | {"name": "Inbox"} for row in rows if isinstance(row, dict)]


@settings(max_examples=50, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=200).map(str.strip), st.text("abc é", min_size=1)
)
def test_what_is_written_is_read(text: str, subject: str) -> None:
    row = read(mail_of(text, Subject=subject).as_bytes(policy=default))
    assert row["text"] == "\n".join(text.splitlines()).strip()
    assert row["subject"] == " ".join(subject.split())
