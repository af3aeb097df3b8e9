"""Entities by their places: as the usual tools write them, and only where they are what they say."""

from typing import Any

import pytest

from curate.read.raw_row import Unread
from curate.read.standoff import are_spans, entities
from tests.curate.read.made import Written

TEXT = "Ada Lovelace met Acme Inc."
TOLD = [
    {"label": "PER", "text": "Ada Lovelace", "begin": 0, "end": 12},
    {"label": "ORG", "text": "Acme Inc.", "begin": 17, "end": 26},
]


@pytest.mark.parametrize(
    "spans",
    [
        [[17, 26, "ORG"], [0, 12, "PER"]],  # doccano
        [
            {"id": 1, "label": "PER", "start_offset": 0, "end_offset": 12},
            {"label": "ORG", "start_offset": 17, "end_offset": 26},
        ],
        {"entities": [[0, 12, "PER"], [17, 26, "ORG"]]},  # spaCy
        [
            {"start": 0, "end": 12, "label": "PER"},
            {"start": 17, "end": 26, "label": "ORG", "token_start": 3},
        ],  # Prodigy
        [  # Label Studio
            {"value": {"start": 0, "end": 12, "text": "Ada Lovelace", "labels": ["PER"]}, "type": "labels"},
            {"value": {"start": 17, "end": 26, "labels": ["ORG"]}, "type": "labels"},
            {"type": "relation", "from_id": "a", "to_id": "b"},
        ],
        [
            {"entity_type": "PER", "start_position": 0, "end_position": 12, "entity_value": "Ada Lovelace"},
            {"entity_type": "ORG", "start_position": 17, "end_position": 26},
        ],
    ],
)
def test_spans_of_the_usual_tools(spans: Any) -> None:
    assert entities(spans, TEXT) == TOLD
    assert are_spans([(spans, TEXT), ([], "x")])


@pytest.mark.parametrize(
    ("spans", "said"),
    [
        ([[0, 99, "PER"]], "0 to 99 is no place in a text of 26 characters"),
        ([[5, 5, "PER"]], "5 to 5 is no place"),
        ([{"start": 1, "end": 4, "label": "PER", "text": "Ada"}], "from 1 to 4 stands 'da ', not 'Ada'"),
    ],
)
def test_places_that_are_none_are_refused(spans: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        entities(spans, TEXT)
    assert not are_spans([(spans, TEXT)])


def test_annotations_of_brat(written: Written) -> None:
    marked = "T1\tPER 0 12\tAda Lovelace\nT2\tORG 17 21;22 26\tAcme Inc.\n"
    annotations = marked + "R1\tMet Arg1:T1 Arg2:T2\nA1\tOld T1\n#1\tNote T1\tx\n"
    [row] = written("a.ann", annotations)
    assert isinstance(row, dict)
    assert [{"id": each, **told} for each, told in zip(("T1", "T2"), TOLD, strict=True)] == [
        {"text": TEXT[each["begin"] : each["end"]]} | each for each in row["entities"]
    ]
    assert row["relations"] == [{"id": "R1", "label": "Met", "from": "T1", "to": "T2"}]
    assert entities(row["entities"], TEXT) == TOLD
    [broken] = written("b.ann", "T1\tPER 0 12\tAda Lovelace\nT2 nothing\n")
    assert isinstance(broken, Unread)
    assert (broken.line, broken.message) == (2, "no annotation of brat: 'T2 nothing'")
