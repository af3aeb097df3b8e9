"""What of JSON Schema the libraries for constrained decoding hold to, by the official test suite.

Each schema of the suite for Draft 2020-12 is made a grammar, and its valid and invalid instances, as `json.dumps`
writes them, are put to it. Grammars fix the order of keys, so an instance is accepted if it is in any order of its
keys. A schema is

    exact     every valid instance is accepted and every invalid one rejected
    narrow    some valid instance is rejected and no invalid one accepted: less can be said than is allowed
    wide      some invalid instance is accepted without a word: what is generated may break the schema
    refused   an error says that no grammar can be made

    pip install llguidance xgrammar outlines-core
    python -m benchmarks.constraint_features JSON-Schema-Test-Suite.tar.gz
"""

import argparse
import json
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, permutations, product
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

from benchmarks.measure import show

Verdict = Literal["exact", "narrow", "wide", "refused"]
Accepts = Callable[[str], bool]
SUITE = "tests/draft2020-12/"
ANNOTATION = {"format", "content", "default", "vocabulary", "infinite-loop-detection", "unknownKeyword"}
"""Files of the suite that assert that something is not checked, or that a library does not run for ever."""
ORDERS = 120
"""Orders of keys of one instance that are tried."""


def by_llguidance() -> Callable[[Any], Accepts]:
    """Strings are tokens of one byte each; the last token ends the text."""
    from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

    class Bytes:
        eos_token_id, bos_token_id, special_token_ids = 256, None, (256,)
        tokens = (*(bytes([each]) for each in range(256)), b"<end>")

        def __call__(self, text: bytes) -> list[int]:
            return list(text)

    tokenizer = LLTokenizer(TokenizerWrapper(Bytes()))
    form = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}

    def compile_schema(schema: Any) -> Accepts:
        whole = {"allOf": [schema]} if isinstance(schema, bool) else schema
        grammar = LLMatcher.grammar_from_json_schema(whole, defaults=form)
        start = LLMatcher(tokenizer, grammar, log_level=0)
        if start.is_error():
            raise ValueError(start.get_error())

        def accepts(instance: str) -> bool:
            matcher, tokens = start.deep_copy(), list(instance.encode())
            return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()

        return accepts

    return compile_schema


def by_xgrammar() -> Callable[[Any], Accepts]:
    import xgrammar

    compiler = xgrammar.GrammarCompiler(xgrammar.TokenizerInfo([*map(chr, range(128)), "<end>"], stop_token_ids=[128]))

    def compile_schema(schema: Any) -> Accepts:
        compiled = compiler.compile_json_schema(json.dumps(schema), any_whitespace=False, strict_mode=False)

        def accepts(instance: str) -> bool:
            matcher = xgrammar.GrammarMatcher(compiled, terminate_without_stop_token=True)
            return matcher.accept_string(instance) and matcher.is_completed()

        return accepts

    return compile_schema


def by_outlines() -> Callable[[Any], Accepts]:
    """Its regular expression of the schema, read by Python's engine; its own differs in nothing that is used here."""
    from outlines_core.json_schema import build_regex_from_schema

    def compile_schema(schema: Any) -> Accepts:
        pattern = re.compile(build_regex_from_schema(json.dumps(schema)))
        return lambda instance: pattern.fullmatch(instance) is not None

    return compile_schema


LIBRARIES = {"llguidance": by_llguidance, "xgrammar": by_xgrammar, "outlines-core": by_outlines}


def orders(value: Any) -> Iterator[Any]:
    """A value with the keys of its objects in every order."""
    if isinstance(value, dict):
        for keys in permutations(value):
            for values in product(*(list(islice(orders(value[key]), ORDERS)) for key in keys)):
                yield dict(zip(keys, values, strict=True))
    elif isinstance(value, list):
        yield from map(list, product(*(list(islice(orders(each), ORDERS)) for each in value)))
    else:
        yield value


def verdict(compile_schema: Callable[[Any], Accepts], schema: Any, tests: Sequence[dict[str, Any]]) -> Verdict:
    """What a library makes of a schema."""
    try:
        accepts = compile_schema(schema)
    except Exception:  # each library has its own, and some have several
        return "refused"
    found: Verdict = "exact"
    for test in tests:
        texts = (json.dumps(each, ensure_ascii=False) for each in islice(orders(test["data"]), ORDERS))
        accepted = any(map(accepts, texts))
        if accepted and not test["valid"]:
            return "wide"
        if not accepted and test["valid"]:
            found = "narrow"
    return found


def suite(archive: Path) -> dict[str, list[dict[str, Any]]]:
    """The cases of the suite by keyword; those of a string's format as `format: NAME`."""
    found: dict[str, list[dict[str, Any]]] = {}
    with tarfile.open(archive) as tar:
        for entry in tar:
            name = PurePosixPath(entry.name)
            if not (entry.name.startswith(SUITE) and name.suffix == ".json") or name.stem in ANNOTATION:
                continue
            if "optional" in name.parts and "format" not in name.parts:
                continue
            keyword = f"format: {name.stem}" if "format" in name.parts else name.stem
            file = tar.extractfile(entry)
            assert file is not None, entry.name
            found[keyword] = json.load(file)
    return dict(sorted(found.items()))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.constraint_features", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("suite", type=Path, help="the official test suite's archive")
    cases = suite(parser.parse_args(arguments).suite)
    schemas = sum(map(len, cases.values()))
    found: dict[str, dict[str, Counter[str]]] = {}
    for name, library in LIBRARIES.items():
        compile_schema = library()
        found[name] = {
            keyword: Counter(verdict(compile_schema, case["schema"], case["tests"]) for case in of_keyword)
            for keyword, of_keyword in cases.items()
        }
    total = {name: sum(of_keyword.values(), Counter[str]()) for name, of_keyword in found.items()}
    verdicts = get_args(Verdict)
    by_keyword = [
        [keyword, *("/".join(str(found[name][keyword][each]) for each in verdicts) for name in LIBRARIES)]
        for keyword in cases
    ]
    show(f"{schemas} schemas by keyword: {'/'.join(verdicts)}", ["", *LIBRARIES], by_keyword)
    show("All", ["", *verdicts], [[name, *(counts[each] for each in verdicts)] for name, counts in total.items()])
    print(json.dumps({"name": "constraint_features", "input": {"schemas": schemas}, "verdicts": total}))


if __name__ == "__main__":
    main()
