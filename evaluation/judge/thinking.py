"""The think part of a reply: what a model says to itself before it answers, in the marks of its chat template."""

import re

from curate.read.reasoning import TAGS

PAIRS = (
    rf"<(?:{TAGS})>(?P<said>.*?)(?:</(?:{TAGS})>|(?P<open>\Z))",
    r"\[THINK\](?P<said>.*?)(?:\[/THINK\]|(?P<open>\Z))",
    r"◁think▷(?P<said>.*?)(?:◁/think▷|(?P<open>\Z))",
    r"<\|START_THINKING\|>(?P<said>.*?)(?:<\|END_THINKING\|>|(?P<open>\Z))",
    r"<\|begin_of_thought\|>(?P<said>.*?)(?:<\|end_of_thought\|>|(?P<open>\Z))",
    r"<\|channel>thought(?P<said>.*?)(?:<channel\|>|(?P<open>\Z))",
    r"<\|channel\|>(?:analysis|commentary)\b(?P<said>.*?)(?:(?=<\|channel\|>final\b)|(?P<open>\Z))",
    r"\A(?:assistant)?analysis(?=\S)(?P<said>.*?)assistant(?=final)",
)
"""DeepSeek-R1, Qwen, Seed-OSS and MiniMax; Magistral; Kimi; Command A; OpenThinker; Gemma; gpt-oss, and its text where
the special tokens were left out."""
OPENED = tuple(re.compile(pair, re.DOTALL | re.IGNORECASE) for pair in PAIRS)
CLOSED = re.compile(rf"\A(?P<said>(?!\s*(?:[{{\[]|```)).*?)(?:</(?:{TAGS})>|\[/THINK\]|◁/think▷)", re.DOTALL | re.I)
"""Only the end: where the chat template writes the beginning, it is no part of the reply."""
FINAL = re.compile(
    r"\A\s*(?:<\|start\|>assistant\s*)?(?:<\|channel\|>final\b[^<]*(?:<\|constrain\|>\w+)?<\|message\|>|final(?=\s*[{\[]))"
    r"(.*?)(?:<\|(?:return|end)\|>\s*)?\Z",
    re.DOTALL,
)
"""gpt-oss's answer."""
LONGEST = 1 << 20
"""Characters of a reply that is not JSON alone in which anything is looked for; what is longer is no answer."""
MOST = 256
"""Think parts of one reply that are set aside."""


def set_aside(output: str) -> tuple[str | None, bool]:
    """The answer of a reply without its think parts, and whether it has any that says something.

    A think part stands before the first bracket or quote of the answer: what looks like one in the text of a JSON value
    is that value's. The answer is None where a think part does not end.
    """
    thought = False
    if len(output) > LONGEST:
        return output, thought
    for _ in range(MOST):
        before = re.match(r'[^{"\[]*\[?', output)
        found = [match for each in OPENED if (match := each.search(output)) and match.start() <= before.end()]  # type: ignore[union-attr]
        part = min(found, key=lambda match: match.start(), default=None) or CLOSED.match(output)
        if part is None:
            break
        thought |= bool(re.sub(r"<\|[^|]*\|>", "", part["said"]).strip())
        if part.groupdict().get("open") is not None:
            return None, thought
        output = output[: part.start()] + output[part.end() :]
    final = FINAL.match(output)
    return (output if final is None else final[1]), thought
