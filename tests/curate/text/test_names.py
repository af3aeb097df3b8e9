"""Names found by a model: tiny ones of spaCy and of transformers, made here, where Presidio is installed."""

from pathlib import Path

import pytest

from curate.errors import AssayError
from curate.rows.pii import Pii
from curate.text.names import Name, Names
from tests.records import record, table_of


def test_a_folder_without_a_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(AssayError, match=r"pii\.names\.model: .* is no folder of a spaCy pipeline"):
        Names(model=str(tmp_path)).find("Jane")


def test_another_model_in_the_folder_is_another_stage(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    before = Names(model=str(tmp_path)).model_dump()
    (tmp_path / "config.json").write_text("[]")
    assert Names(model=str(tmp_path)).model_dump() != before


def test_where_the_model_lies_is_not_told(tmp_path: Path) -> None:
    for place in ("here", "there"):
        (tmp_path / place / "model").mkdir(parents=True)
        (tmp_path / place / "model/config.json").write_text("{}")
    here, there = (Names(model=str(tmp_path / place / "model")).model_dump() for place in ("here", "there"))
    assert here == there
    assert str(tmp_path) not in str(here)


def test_names_become_placeholders(tmp_path: Path) -> None:
    pytest.importorskip("presidio_analyzer", reason="the extra `pii` is not installed")
    import spacy

    pipeline = spacy.blank("en")
    rules = pipeline.add_pipe("entity_ruler")
    rules.add_patterns([{"label": "PERSON", "pattern": "Jane Doe"}, {"label": "GPE", "pattern": "Oslo"}])
    pipeline.to_disk(tmp_path / "model")
    names = Names(model=str(tmp_path / "model"))
    assert names.find("Jane Doe of Oslo") == [Name("person", 0, 8), Name("place", 12, 16)]
    row = record("Jane Doe (jane@x.org) of Oslo", ("assistant", '{"who": "Jane Doe"}'))
    outcome = Pii(replace=["email", "person", "place"], names=names).run(table_of([row]))
    assert [turn["content"] for turn in outcome.kept.to_pylist()[0]["turns"]] == [
        "[PERSON_1] ([EMAIL_1]) of [PLACE_1]",
        '{"who": "[PERSON_1]"}',
    ]


WORDS = {"jane": "B-PER", "doe": "I-PER", "oslo": "B-GPE", "acme": "B-ORG"}


def classifier(folder: Path) -> None:
    """A token classifier of no layer, which knows four words by their embeddings alone."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.BertPreTokenizer()
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "model_max_length": 32}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    labels = ["O", *WORDS.values()]
    sizes = {"vocab_size": len(words), "hidden_size": 8, "num_hidden_layers": 0, "max_position_embeddings": 32}
    model = BertForTokenClassification(BertConfig(num_attention_heads=1, id2label=dict(enumerate(labels)), **sizes))
    with torch.no_grad():
        for weights in model.parameters():
            weights.zero_()
        model.bert.embeddings.LayerNorm.weight.fill_(1)
        model.bert.embeddings.word_embeddings.weight[:, : len(labels)] = torch.eye(len(words))[:, 1:]
        model.classifier.weight[:, : len(labels)] = 9 * torch.eye(len(labels))
    model.save_pretrained(folder)


def test_names_by_a_token_classifier(tmp_path: Path) -> None:
    pytest.importorskip("presidio_analyzer", reason="the extra `pii` is not installed")
    pytest.importorskip("transformers", reason="the extra `train` is not installed")
    classifier(tmp_path / "model")
    names = Names(model=str(tmp_path / "model"))
    assert names.find("Jane Doe of Acme, Oslo") == [Name("person", 0, 8), Name("place", 18, 22)]
    assert names.find("x " * 300 + "Jane Doe") == [Name("person", 600, 608)], "many times what the model takes"
    outcome = Pii(replace=["person", "place"], names=names).run(table_of([record("Doe of Oslo met Jane in Oslo")]))
    assert outcome.kept["turns"][0][0]["content"].as_py() == "[PERSON_1] of [PLACE_1] met [PERSON_2] in [PLACE_1]"


def test_a_classifier_that_fails_is_an_error(tmp_path: Path) -> None:
    """Presidio would go on as though the text held no name."""
    pytest.importorskip("presidio_analyzer", reason="the extra `pii` is not installed")
    pytest.importorskip("transformers", reason="the extra `train` is not installed")
    folder = tmp_path / "model"
    classifier(folder)
    told = (folder / "tokenizer_config.json").read_text()
    (folder / "tokenizer_config.json").write_text(told.replace('"model_max_length": 32', '"model_max_length": 512'))
    with pytest.raises(AssayError, match="gave up on a text"):
        Names(model=str(folder)).find("x " * 300 + "Jane Doe")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.json").write_text("{}")
    with pytest.raises(AssayError, match="not a model that opens"):
        Names(model=str(tmp_path / "other")).find("Jane Doe")
