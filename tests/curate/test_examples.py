"""Examples of what stages change: excerpts that show the change, the same whatever the shards."""

from hypothesis import given, settings
from hypothesis import strategies as st

from curate.examples import EXCERPT, NEAR, example_of, excerpt, first_examples

TEXT = st.text("ab \n\u200b", max_size=400)


@given(TEXT, TEXT, st.text("ab \n\u200b", min_size=1, max_size=9).map(lambda text: text * 6000), st.booleans())
@settings(max_examples=25)
def test_an_example_of_what_is_near_is_that_of_the_whole(before: str, after: str, far: str, first: bool) -> None:
    whole = [far + text if first else text + far for text in (before, after)]
    near = example_of("1", *whole)
    assert max(map(len, near.values())) <= EXCERPT + 2 * NEAR
    assert excerpt(near) == excerpt({"id": "1", "before": whole[0], "after": whole[1]})


@given(TEXT, TEXT)
def test_an_example_shows_what_changed(before: str, after: str) -> None:
    example = excerpt(example_of("1", before, after))
    assert all(len(example[side]) <= EXCERPT for side in ("before", "after"))
    assert example["before"] in before
    assert example["after"] in after
    assert (example["before"] == example["after"]) == (before == after)


def test_an_example_is_cut_between_words() -> None:
    words = "jane.doe@example.org " * 40
    example = excerpt(example_of("1", words + "teh end " + words, words + "the end " + words))
    assert "teh end" in example["before"]
    assert "the end" in example["after"]
    assert set(example["before"].split()) == {"jane.doe@example.org", "teh", "end"}


@given(st.lists(st.integers(0, 9), max_size=30), st.data())
def test_the_examples_kept_do_not_depend_on_the_shards(numbers: list[int], data: st.DataObject) -> None:
    examples = [{"id": str(number), "before": "a", "after": "b"} for number in numbers]
    cut = data.draw(st.integers(0, len(examples)))
    shards = first_examples(examples[cut:]) + first_examples(examples[:cut])
    assert first_examples(shards) == first_examples(examples)
    assert [example["id"] for example in first_examples(examples)] == sorted({str(number) for number in numbers})[:3]
