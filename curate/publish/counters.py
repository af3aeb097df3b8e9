"""Counters of reading, grounding, rendering and fitting, in words."""

from curate.stage import UNREAD_KEY

COUNTED = {
    "duplicate_key": "with a key given twice, of which the last value counts",
    "empty_files": "(files of no bytes)",
    "encoding_guessed": "whose encoding is a guess",
    "reasoning_not_ended": "with reasoning that is begun and not ended",
    "null_arguments": "with arguments of calls that are null, which are left out",
    "weighted": "with a weight other than 1, which is not used",
    "weighted_messages": "with a weight of a message other than 1, which is not used",
}
"""What reading counts of rows beside their shapes, and what it is called."""
RENDERED = {
    "reasoning": "with reasoning before an answer",
    "reasoning_not_written": "(thoughts that are not written)",
    "untrained_turns": "(answers that stay in their conversation, not trained)",
}
"""What rendering counts, and what it is called."""

ANSWERED = {
    "null": "with a value that the prompt does not hold, which went from the answer",
    "flag": "with a value that the prompt does not hold, which is listed in ungrounded.parquet",
    "windows": "(documents that became several, of whole paragraphs)",
    "windows_empty": "(parts of documents that say nothing of the answer)",
    "in_no_window": "(documents of whose answer a value is in none of their parts)",
}
"""What the stage `ground` counts, and `fit` of documents, and what it is called."""


def in_words(counter: str) -> str:
    """What a counter of these counts; nothing of others."""
    if counter.startswith(UNREAD_KEY):
        return f"with `{counter.removeprefix(UNREAD_KEY)}` in messages, which is not read"
    return (COUNTED | RENDERED | ANSWERED).get(counter, "")
