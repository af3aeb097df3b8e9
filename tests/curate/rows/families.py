"""Small tokenizers of the kinds that model families have, and chat templates after their conventions."""

import json
from pathlib import Path

import trl
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from curate.rows.chat_template import SpecialTokens

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
WORDS = [
    'Is it so? Answer with yes or no. {"answer": "yes", "no": 1} ### Human: hello there ### Assistant: [INST] what '
    "is this [/INST] <<SYS>> be kind <</SYS>> the quick brown fox jumps over user assistant model again\n\nand so on"
] * 9
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
"""How Llama 3, Qwen and tekken cut texts, as tiktoken's cl100k does."""


def sentencepiece(special: list[str], legacy: bool = False, unigram: bool = False) -> Tokenizer:
    """A tokenizer as SentencePiece makes them, as Llama 2, Mistral and Gemma have; it begins a text with <s> by itself.

    `legacy` ones put a space before each stretch between special tokens, others before the text only.
    """
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    cut = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer = Tokenizer(
        models.Unigram() if unigram else models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.pre_tokenizer = cut
    if unigram:
        trainer = trainers.UnigramTrainer(vocab_size=400, special_tokens=tokens, unk_token="<unk>", show_progress=False)
    else:
        trainer = trainers.BpeTrainer(vocab_size=450, special_tokens=tokens, show_progress=False)
    tokenizer.train_from_iterator(WORDS, trainer)
    known = json.loads(tokenizer.to_str())
    known["added_tokens"] = [each for each in known["added_tokens"] if not each["content"].startswith("<0x")]
    known["model"]["byte_fallback"] = True
    tokenizer = Tokenizer.from_str(json.dumps(known))
    if legacy:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        tokenizer.pre_tokenizer = None
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def byte_level(special: list[str], pattern: str | None = None, form: str | None = None) -> Tokenizer:
    """A tokenizer over bytes, that cuts by GPT-2's pattern or by another."""
    tokenizer = Tokenizer(models.BPE())
    if form is not None:
        tokenizer.normalizer = getattr(normalizers, form)()
    own = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if pattern is not None:
        split = pre_tokenizers.Split(Regex(pattern), "isolated")
        own = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.pre_tokenizer = own
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(WORDS, trainer)
    tokenizer.add_special_tokens(special)
    return tokenizer


def tokens_of(tokenizer: Tokenizer, bos: str, eos: str, stops: list[str] | None = None) -> SpecialTokens:
    """What `load_tokenizer` would say of a model with these."""
    named = {name: text for name, text in (("bos_token", bos), ("eos_token", eos)) if text}
    ids = tuple(tokenizer.token_to_id(each) for each in stops or [eos])
    return SpecialTokens(bos, eos, tokenizer.encode("a").ids[:1] == [tokenizer.token_to_id(bos)], named, ids)


def published(name: str) -> str:
    """A template as its model was published with it."""
    if name in SOURCES:
        return SOURCES[name]
    return (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")


_ALTERNATE = (
    "{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{- raise_exception('roles must alternate') }}"
    "{%- endif %}"
)


def _inst(user: str, answer: str) -> str:
    return (
        "{{- bos_token }}{%- for message in messages %}" + _ALTERNATE + "{%- if message['role'] == 'user' %}"
        "{{- " + user + " }}{%- else %}{{- " + answer + " }}{%- endif %}{%- endfor %}"
    )


SOURCES = {
    "mistral_v1": _inst("'[INST] ' + message['content'] + ' [/INST]'", "message['content'] + eos_token"),
    "mistral_v3": _inst("'[INST] ' + message['content'] + '[/INST]'", "' ' + message['content'] + eos_token"),
    "mistral_tekken": _inst("'[INST]' + message['content'] + '[/INST]'", "message['content'] + eos_token"),
    "phi4": (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '<|im_sep|>' + message['content'] + "
        "'<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"
    ),
    "smollm2": (
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\nBe helpful.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + "
        "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "smollm3": (
        "{%- if enable_thinking is not defined %}{%- set enable_thinking = true %}{%- endif %}"
        '{{- "<|im_start|>system\nToday Date: " + strftime_now("%d %B %Y") + "\nReasoning Mode: " }}'
        '{{- ("/think" if enable_thinking else "/no_think") + "<|im_end|>\n" }}'
        "{%- for message in messages %}{%- set content = message.content if message.content is string else '' %}"
        '{%- if message.role == "user" %}{{ "<|im_start|>user\n" + content + "<|im_end|>\n" }}'
        '{%- elif message.role == "assistant" %}{% generation %}'
        '{{ "<|im_start|>assistant\n" + ("" if enable_thinking else "<think>\n\n</think>\n") }}'
        '{{- content.lstrip("\n") + "<|im_end|>\n" }}{% endgeneration %}'
        '{%- elif message.role == "tool" %}{{ "<|im_start|>user\n" + content + "<|im_end|>\n" }}{%- endif %}'
        "{%- endfor %}{%- if add_generation_prompt %}"
        '{{- "<|im_start|>assistant\n" + ("" if enable_thinking else "<think>\n\n</think>\n") }}{%- endif %}'
    ),
    "deepseek_v3": (
        "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
        "{{ '<｜User｜>' + message['content'] }}{% elif message['role'] == 'assistant' %}"
        "{{ '<｜Assistant｜>' + message['content'] + '<｜end▁of▁sentence｜>' }}{% else %}{{ message['content'] }}"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}"
    ),
}
"""Templates that no installed package carries, written after the published ones' conventions."""
