"""Presidio's analyser with its rules and no model.

python with_presidio.py SENTENCES NOTICES
"""

import json
import sys
import time

import pyarrow.parquet as pq
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
from presidio_analyzer.nlp_engine import NoOpNlpEngine

ENTITIES = ["EMAIL_ADDRESS", "PHONE_NUMBER", "IP_ADDRESS", "CREDIT_CARD", "IBAN_CODE", "US_SSN"]
sentences, notices = (pq.read_table(path)["text"].to_pylist() for path in sys.argv[1:])
engine = NoOpNlpEngine(models=[{"lang_code": "en", "model_name": "none"}])
engine.load()
registry = RecognizerRegistry(supported_languages=["en"])
registry.load_predefined_recognizers(languages=["en"])
registry.remove_recognizer("SpacyRecognizer")
analyser = AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"])


def spans(text: str) -> list[tuple[str, int, int]]:
    return [(each.entity_type, each.start, each.end) for each in analyser.analyze(text, "en", entities=ENTITIES)]


found = [spans(text) for text in sentences]
begin = time.process_time()
for text in notices:
    spans(text)
print(json.dumps({"seconds": time.process_time() - begin, "spans": found}))
