"""Examples: what a rule did to a row, for people to look at."""

from collections.abc import Iterable
from os.path import commonprefix

Example = dict[str, str]
"""What a rule did to a row, for people to see: {"id", "before", "after"}, excerpts around the first change. A stage
gives them with what is near; a manifest's are cut once personal data has been replaced."""
EXAMPLES = 3
"""How many examples of each rule are kept."""
AROUND = 50
"""Characters of an example before and after what changed."""
EXCERPT = 300
"""Characters of an example, at most."""
NEAR = 4096
"""Characters that are kept around an example until personal data in it has been replaced: half an address is none that
could be found. A private RSA key of 4096 bits has 3,272."""


def example_of(id_: str, before: str, after: str) -> Example:
    """The example of a change: both texts around the first place where they differ, with NEAR characters around."""
    return _around(id_, before, after, NEAR, EXCERPT + 2 * NEAR)


def excerpt(example: Example) -> Example:
    """An example as people see it, cut between words."""
    return _around(example["id"], example["before"], example["after"], AROUND, EXCERPT)


def _around(id_: str, before: str, after: str, around: int, longest: int) -> Example:
    same = _same(before, after)
    tail = _same(before[same:][::-1], after[same:][::-1])
    begin = max(0, same - around)
    begin = before.find(" ", begin, same) + 1 or begin if begin else 0

    def part(text: str) -> str:
        end = min(len(text) - tail + around, begin + longest)
        cut = text.rfind(" ", max(begin, len(text) - tail), end) if end < len(text) else end
        return text[begin : cut if cut > begin else end]

    return {"id": id_, "before": part(before), "after": part(after)}


def _same(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    return len(commonprefix([one, other]))  # noqa: RUF071  of characters, not of paths


def first_examples(examples: Iterable[Example]) -> list[Example]:
    """The few examples of the smallest ids: the same ones, however the rows were cut into shards."""
    by_id = {
        example["id"]: example for example in sorted(examples, key=lambda each: sorted(each.items()), reverse=True)
    }
    return [by_id[id_] for id_ in sorted(by_id)[:EXAMPLES]]
