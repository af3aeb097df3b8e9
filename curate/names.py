"""Names of people and places, found by a model: Presidio's analyser over a folder of spaCy or transformers.

An extra (`pip install "assay-curation[pii]"`), and far slower than everything else that is found in text: the model
reads every text that has a letter. Nothing is downloaded: the recipe names a local folder, and its content is part of
what the stage's cached outcome depends on.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from curate.errors import AssayError
from curate.hashing import file_digest, files_digest
from curate.stage import Settings

NameKind = Literal["person", "place"]
ENTITIES: dict[str, NameKind] = {"PERSON": "person", "LOCATION": "place"}
"""What Presidio calls them, whatever the model does (spaCy: PERSON, GPE, LOC, FAC; CoNLL: PER, LOC)."""


class Name(NamedTuple):
    """A name in a text: its kind, and its span in characters."""

    kind: NameKind
    begin: int
    end: int


class Names(Settings):
    """Which model finds names."""

    model: str = Field(description="Folder of a spaCy pipeline, or of a transformers token classifier.")
    language: str = Field("en", description="The model's language (ISO 639-1).")
    threshold: float = Field(0.5, ge=0, le=1, description="Lowest score of a name (spaCy's are all 0.85).")

    @model_serializer(mode="wrap")
    def _with_content(self, settings: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The settings and the model's hash, not where it lies: another model in the same folder is another stage."""
        folder = Path(self.model)
        files = ((str(path.relative_to(folder)), path) for path in folder.rglob("*") if path.is_file())
        return {
            **settings(self),
            "model": folder.name,
            "content": files_digest((name, file_digest(path)) for name, path in files),
        }

    def find(self, text: str) -> list[Name]:
        """Names in a text, in its order.

        Raises:
            AssayError: there is no model, it is of neither library, or the extra is not installed.
        """
        found = _analyser(self.model, self.language)(text)
        names = {Name(ENTITIES[kind], begin, end) for kind, begin, end, score in found if score >= self.threshold}
        return sorted(names, key=lambda name: (name.begin, -name.end, name.kind))


@cache
def _analyser(model: str, language: str) -> Callable[[str], list[tuple[str, int, int, float]]]:
    """A function that gives a text's entities as (Presidio's name for it, begin, end, score)."""
    folder = Path(model)
    is_spacy = (folder / "meta.json").is_file() and (folder / "config.cfg").is_file()
    if not is_spacy and not (folder / "config.json").is_file():
        raise AssayError(
            f"pii.names.model: {folder} is no folder of a spaCy pipeline (meta.json, config.cfg) nor of a transformers "
            "token classifier (config.json).",
            remedy="Name the folder that holds one of these files; a model is never downloaded.",
        )
    try:
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
        from presidio_analyzer.nlp_engine import NoOpNlpEngine, SpacyNlpEngine
        from presidio_analyzer.predefined_recognizers import HuggingFaceNerRecognizer, SpacyRecognizer
    except ImportError:
        raise AssayError(
            "pii.names needs Presidio, which is not installed.", remedy='pip install "assay-curation[pii]"'
        ) from None
    registry = RecognizerRegistry(recognizers=[], supported_languages=[language])
    if is_spacy:
        engine = SpacyNlpEngine(models=[{"lang_code": language, "model_name": model}])
        registry.add_recognizer(SpacyRecognizer(supported_language=language, supported_entities=[*ENTITIES]))
    else:
        engine = NoOpNlpEngine(models=[{"lang_code": language, "model_name": "none"}])
        registry.add_recognizer(
            HuggingFaceNerRecognizer(model_name=model, supported_language=language, supported_entities=[*ENTITIES])
        )
    engine.load()
    analyser = AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=[language])

    def analyse(text: str) -> list[tuple[str, int, int, float]]:
        found = analyser.analyze(text, language=language, entities=[*ENTITIES])
        return [(each.entity_type, each.start, each.end, each.score) for each in found]

    return analyse
