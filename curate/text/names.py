"""Names of people and places, found by a model: Presidio's analyser over a folder of spaCy or transformers.

An extra (`pip install "assay-curation[pii]"`), and far slower than everything else that is found in text: the model
reads every text that has a letter. Nothing is downloaded: the recipe names a local folder, and its content is part of
what the stage's cached outcome depends on.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, PrivateAttr, SerializerFunctionWrapHandler, model_serializer

from curate.errors import AssayError
from curate.hashing import file_digest, files_digest
from curate.stage import ANYWHERE, BESIDE, Settings

NameKind = Literal["person", "place"]
ENTITIES: dict[str, NameKind] = {"PERSON": "person", "LOCATION": "place"}
"""What Presidio calls them, whatever the model does (spaCy: PERSON, GPE, LOC, FAC)."""
LABELS = {"PER": "PERSON", "PERSON": "PERSON", "PS": "PERSON"} | dict.fromkeys(
    ("LOC", "LOCATION", "LC", "GPE", "FAC"), "LOCATION"
)
"""What token classifiers call them: CoNLL, OntoNotes, Korean ones."""


class Name(NamedTuple):
    """A name in a text: its kind, and its span in characters."""

    kind: NameKind
    begin: int
    end: int


class Names(Settings):
    """Which model finds names."""

    model: Annotated[str, BESIDE, ANYWHERE] = Field(
        description="Folder of a spaCy pipeline, or of a transformers token classifier."
    )
    language: str = Field("en", description="The model's language (ISO 639-1).")
    threshold: float = Field(0.5, ge=0, le=1, description="Lowest score of a name (spaCy's are all 0.85).")
    _folder: Path | None = PrivateAttr(None)

    @property
    def folder(self) -> Path:
        """Where the model lies for whoever looks for names."""
        return self._folder or Path(self.model)

    def placed(self, folder: Path) -> "Names":
        """The same model, in another folder."""
        copy = self.model_copy()
        copy._folder = folder
        return copy

    @model_serializer(mode="wrap")
    def _with_content(self, settings: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The settings and the model's hash, not where it lies: another model in the same folder is another stage."""
        folder = self.folder
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
        found = _analyser(str(self.folder), self.language)(text)
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
        from presidio_analyzer.chunkers import TokenizerBasedTextChunker
        from presidio_analyzer.nlp_engine import NoOpNlpEngine, SpacyNlpEngine
        from presidio_analyzer.predefined_recognizers import HuggingFaceNerRecognizer, SpacyRecognizer
    except ImportError:
        raise AssayError(
            "pii.names needs Presidio, which is not installed.", remedy='pip install "assay-curation[pii]"'
        ) from None
    failures: list[Exception] = []
    options = {"supported_language": language, "supported_entities": [*ENTITIES]}
    try:
        if is_spacy:
            engine = SpacyNlpEngine(models=[{"lang_code": language, "model_name": model}])
            recogniser = SpacyRecognizer(**options)
        else:
            engine = NoOpNlpEngine(models=[{"lang_code": language, "model_name": "none"}])
            # Chunks as long as the model takes, in its own tokens: it leaves out what is beyond, and says nothing.
            recogniser = HuggingFaceNerRecognizer(
                model_name=model, label_mapping=LABELS, text_chunker=TokenizerBasedTextChunker(), **options
            )
            recogniser.ner_pipeline = _noting(failures, recogniser.ner_pipeline)
        engine.load()
    except ImportError as error:
        raise AssayError(f"pii.names.model: {folder}: {error}", remedy="Install what it names.") from None
    except Exception as error:  # of its own, or of the libraries by which it reads its files
        raise AssayError(
            f"pii.names.model: {folder}: not a model that opens: {error}",
            remedy="Name the folder of a spaCy pipeline, or of a transformers token classifier with its tokenizer.",
        ) from None
    registry = RecognizerRegistry(recognizers=[recogniser], supported_languages=[language])
    analyser = AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=[language])

    def analyse(text: str) -> list[tuple[str, int, int, float]]:
        found = analyser.analyze(text, language=language, entities=[*ENTITIES])
        if failures:
            raise AssayError(
                f"pii.names.model: {folder} gave up on a text: {failures[0]}",
                remedy="Mend the model; its tokenizer_config.json must say `model_max_length`.",
            )
        # A classifier's labels that are none of ours come too, whatever was asked for.
        return [(each.entity_type, each.start, each.end, each.score) for each in found if each.entity_type in ENTITIES]

    return analyse


def _noting(failures: list[Exception], pipeline: Callable[[str], Any]) -> Callable[[str], Any]:
    """The pipeline, but its errors are kept: Presidio logs them, and goes on as though nothing had been found."""

    def noted(text: str) -> Any:
        try:
            return pipeline(text)
        except Exception as error:
            failures.append(error)
            raise

    return noted
