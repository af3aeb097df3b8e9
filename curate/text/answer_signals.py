"""Answer signals: what goes wrong with instructions and their answers, a column for each.

All are flags but `open_brackets`, a number, and all are of rows in which an answer is said. Patterns are RE2's.
"""

import re

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.record import answer_places, answer_text, prompt_text
from curate.text.fences import open_fences
from curate.text.kernel import kernel
from curate.text.languages import ANCESTOR
from curate.text.loops import loops
from curate.text.spans import tails
from curate.text.words import Words, split_words, utf8

Flags = npt.NDArray[np.bool_]

CODE = r"{}<>=;$|\\_`"
"""Characters of code and tables: a line with one of them is not taken for prose."""
SENTENCE_END = r"[.!?…][\"”’»)]*[ \n]|[。！？｡؟۔।]"
GO_ON = (
    "a an the and or your their its our his my because although which whose "
    "el la los las del una und oder der des dem den ein eine einen weil le les du et dont une "
    "il gli della delle dei degli ed os das dos uma het een и или что чтобы"
)
"""Articles, conjunctions and prepositions that do not end sentences (English, Spanish, German, French, Italian,
Portuguese, Dutch, Russian), but for those that another of these languages may end one with."""
PREPOSITIONS = "of to with from into"
"""English ones that do so in talk (what it is made of): they count in long answers alone."""
LONG = 100
"""Words that make a long answer."""


def _last_line(words: str) -> str:
    """A last line that is prose and ends in one of these words."""
    return rf"(?:^|\n)(?:[^\s{CODE}]+[ ]+){{5,}}(?:(?i:{words.replace(' ', '|')}))$"


BROKEN_OFF = rf"{_last_line(GO_ON)}|(?:^|\n)(?:[^\s{CODE}]+[ ]+){{5,}}[^\s{CODE}]+,$|[。！？][^。！？\n]{{6,}}[，、]$"
"""The last line is prose that ends in a comma or in a word that no sentence ends with."""
FRAGMENT = rf"(?:[,，、]|\s(?i:{GO_ON.replace(' ', '|')}))$"
"""A prompt that ends so asks about a piece of a sentence: its answer may be one too."""
OPEN_END = (
    rf"\pL\pL[.!?…][\"”’)]*[ ]+(?:[^\s.!?…{CODE}]+[ ]+){{2,}}(?:\p{{Ll}}|\p{{Lo}})[\pL\pM’'-]*$"
    rf"|(?:^|\n)(?:[^\s{CODE}]+[ ]+){{5,}}[^\n{CODE}]*(?:\([^()\n{CODE}]*|“[^”\n{CODE}]*|«[^»\n{CODE}]*)"
    r"[ ](?:\p{Ll}|\p{Lo})[\pL\pM’'-]*$"
    r"|[。！？][^。！？\n]{6,}[\p{Han}\p{Hiragana}\p{Katakana}]$"
)
"""After the end of a sentence the last line begins another one, or it opens a bracket or quotation, and ends in a word
without a capital, for a name or a signature may well stand at the end."""
TAIL = 600
"""Characters of an answer's end that are looked at for its last line."""

BEGINNING = 100
"""Characters of a question in which its first word is looked for before all of them are."""
PERSONA = "|".join(
    [
        r"\b[Aa]s an? (?:(?:AI|artificial intelligence)(?: language)?(?: model| assistant| chatbot)?"
        r"|(?:large )?language model),? (?:I|it|my)\b",
        r"\bI(?:'m|’m| am)(?: just| only| merely)? an? (?:AI (?:language )?(?:model|chatbot|assistant)"
        r"|(?:large )?language model)\b",
        r"\bmy (?:knowledge cut-?off|training data|last knowledge update)\b|\b(?:trained|developed) by OpenAI\b",
        r"[Cc]omo (?:un |uma? |una )?(?:modelo de (?:lenguaje|linguagem)|inteligencia artificial|inteligência "
        r"artificial|IA\b)",
        r"[Ee]n tant qu[e'’] ?(?:un |une )?(?:modèle de langage|intelligence artificielle|IA\b|assistant IA)",
        r"[Aa]ls (?:eine? )?(?:KI\b|künstliche Intelligenz|Sprachmodell)|[Ii]n quanto (?:modello di linguaggio|IA\b)",
        r"[Кк]ак (?:языковая модель|искусственный интеллект|ИИ\b|модель ИИ)",
        r"作为(?:一个|一款|一名)?(?:AI|人工智能|语言模型|大型语言模型)|(?:AI|言語モデル)として",
        r"(?:AI|인공지능|언어 모델)(?:로서|으로서)",
    ]
)
"""An assistant that speaks of itself, in ten languages."""
REFUSAL = "|".join(
    [
        r"^(?:(?i:i['’]m|i am|we are|we['’]re) (?:\w+ )?(?i:sorry)|(?i:sorry|unfortunately|apologies|i apologi[sz]e"
        r"|my apologies))\b[^.!?\n]{0,80}\b(?:I|we) (?:\w+ )?(?:cannot|can['’]?t|can not|am unable|am not able|won['’]t"
        r"|don['’]t have|do not have|could not|couldn['’]t)\b",
        r"^I(?: am|['’]m) (?:sorry, )?(?:unable|not able) to (?:assist|help|provide|answer|fulfil|comply|generate"
        r"|create|access|browse|complete|process)",
        r"^I (?:cannot|can['’]?t|can not|won['’]t|will not) (?:assist|help|provide|answer|fulfil|comply|generate|create"
        r"|access|browse|engage|complete|do that|write)",
        r"^(?:Lo siento|Perdón)[^.!?\n]{0,60}no (?:puedo|tengo)",
        r"^(?:Désolé|Je suis désolé)[^.!?\n]{0,60}je ne (?:peux|suis)",
        r"^Es tut mir leid[^.!?\n]{0,60}(?:kann|nicht)|^(?:Desculpe|Sinto muito)[^.!?\n]{0,60}não (?:posso|consigo)",
        r"^(?:Извините|К сожалению|Простите)[^.!?\n]{0,60}(?:не могу|не имею)",
        r"^(?:很?抱歉|对不起)[^。！？\n]{0,40}(?:无法|不能|没有)",
        r"^申し訳[^。！？\n]{0,60}(?:できません|ありません)|^죄송[^.!?\n]{0,60}(?:없습니다|못합니다)",
    ]
)
"""An answer that begins by saying that it will not be one, in nine languages."""

MARKER = r"(?i:<no[ _]?(?:in|out)put>)"
"""What Alpaca's makers wrote where there was nothing to write."""
BLANK = (
    r"(?i:\[(?:insert|enter|add|your|put|fill in)\b[^\[\]\n]{0,80}\]|<(?:insert|enter|add|your|put)[ _][^<>\n]{0,80}>"
    r"|lorem ipsum)|\{\{ ?[A-Za-z_ ]{1,60} ?\}\}|\b(?:TODO|FIXME|TBD)\b"
)
"""A place that somebody was to fill in; `lorem ipsum` is C4's."""
ASKS = r"^[^<\[{A-Za-z0-9]*[0-9A-EG-KM-SU-Za-km-z]"
"""A prompt that has a word before either can stand."""
ONLY_BLANK = rf"^[\s\"'*_]*(?:{MARKER}|(?:{BLANK})|(?i:<blank>|\[blank\]))[\s\"'*_.:]*$"
ABOUT_BLANKS = (
    r"(?i:comment|\btags?\b|marker|label|classif|categor|status|template|jinja|mustache|handlebars|placeholder"
    r"|expression|variable|syntax|dummy|filler|noinput|nooutput|kommentar|commentaire|comentario|注释|标记|占位)"
)
"""A prompt that speaks of them: which tag says that work is unfinished?"""

GENERIC = (
    r"(?i)^\s*you are an? (?:(?:helpful|harmless|honest|friendly|kind|polite|useful|concise|smart|very|and|ai)[\s,]+)*"
    r"(?:assistant|chatbot|language model|ai)\.?\s*$"
)
"""A turn that says who answers, and no task."""
LANGUAGE = (
    r"(?i:translat|traduc|traduz|tradui|tradut|übersetz|vertaal|перевед|перевод|переклад|tłumacz|çevir|terjemah)"
    r"|(?i:\b(?:english|spanish|french|german|italian|portuguese|dutch|russian|polish|ukrainian|turkish|arabic|hindi"
    r"|chinese|mandarin|japanese|korean|thai|vietnamese|indonesian|swedish|danish|norwegian|finnish|greek|hebrew|latin"
    r"|catalan|czech|hungarian|romanian|inglés|español|francés|alemán|italiano|portugués|anglais|espagnol|français"
    r"|allemand|italien|englisch|deutsch|spanisch|französisch|italienisch|inglês|espanhol|francês|alemão|inglese"
    r"|spagnolo|francese|tedesco|català|castellano|languages?|idiomas?|langues?|sprachen?)\b)"
    r"|английск|русск|немецк|французск|испанск|китайск|языке|ترجم|अनुवाद|ภาษา|แปล"
    r"|翻译|翻譯|翻訳|译成|訳して|英语|英文|中文|法语|德语|西班牙语|日语|英語|日本語|フランス語|번역|영어|한국어"
)
"""A prompt that asks for a translation or names a language: its answer may well be in another one."""
SURE_WORDS = 20
"""Words from which an answer's language is taken as told: in shorter ones a name (Albert Einstein) decides it."""


def answer_signals(table: pa.Table, words: Words | None = None) -> dict[str, pa.Array]:
    """The signals of each row, by name: bool or float32 arrays of length `table.num_rows`.

    Args:
        table: records whose last turn is an answer; prompt and answer are held to one language where the language stage
            has told theirs.
        words: those of the answers, where they are known.
    """
    prompts, said = pc.utf8_trim_whitespace(prompt_text(table)), answer_text(table)
    answers = pc.utf8_trim_whitespace(said)

    def matches(texts: pa.Array, pattern: str) -> Flags:
        found: Flags = pc.match_substring_regex(texts, pattern).to_numpy(zero_copy_only=False)
        return found

    def where(rows: Flags, texts: pa.Array, pattern: str) -> Flags:
        """Which of some rows' texts match; where there are none, the pattern is not even compiled."""
        found = rows.copy()
        if rows.any():
            found[rows] = matches(texts.filter(pa.array(rows)), pattern)
        return found

    ends = tails(answers, TAIL)
    prose = matches(answers, SENTENCE_END)
    in_fence = open_fences(answers)
    words = split_words(answers) if words is None else _trimmed(words, said)
    count = np.diff(words.offsets)
    broken_off = where(prose, ends, BROKEN_OFF) | where(prose & (count >= LONG), ends, _last_line(PREPOSITIONS))
    some = matches(answers, f"{MARKER}|{BLANK}|{PERSONA}")  # hardly any: one look for all three
    marker = matches(prompts, MARKER) | where(some, answers, MARKER)
    blank, only_blank = where(some, answers, BLANK), matches(answers, ONLY_BLANK)
    persona = where(some, answers, PERSONA)
    foreign = _other_language(table) & (count >= SURE_WORDS)
    same_words = _same_words(_questions(table), words)
    signals = {
        "echo": same_words & _echoes(table, same_words),
        "same_words": same_words,
        "loop": loops(prompts, answers, words),
        "cut_off": in_fence | (broken_off & ~where(broken_off, prompts, FRAGMENT)),
        "open_end": where(prose & ~in_fence, ends, OPEN_END),
        "open_brackets": _open_brackets(*utf8(answers)),
        "refusal": matches(answers, REFUSAL),
        "persona": persona & ~where(persona, prompts, PERSONA),
        "placeholder": marker | (blank & ~where(blank, prompts, BLANK)),
        "only_placeholder": only_blank & ~where(only_blank, prompts, ABOUT_BLANKS),
        "no_task": _no_task(prompts),
        "other_language": foreign & ~where(foreign, prompts, LANGUAGE),
    }
    return {name: pa.array(values) for name, values in signals.items()}


@kernel
def _open_brackets(data, bounds):  # type: ignore[no-untyped-def]
    """How many more opening brackets than closing ones of a kind stand in each text: of the kind with most of them."""
    most = np.zeros(len(bounds) - 1, np.float32)
    steps = np.zeros((256, 3), np.int64)
    for kind in range(3):
        steps[(40, 91, 123)[kind], kind] = 1
        steps[(41, 93, 125)[kind], kind] = -1
    for row in range(len(most)):
        round_, square, curly = 0, 0, 0
        for at in range(np.uint64(bounds[row]), np.uint64(bounds[row + 1])):
            byte = data[at]
            round_ += steps[byte, 0]
            square += steps[byte, 1]
            curly += steps[byte, 2]
        most[row] = max(0, round_, square, curly)
    return most


def _no_task(prompts: pa.Array) -> Flags:
    """Which prompts have no word but where somebody was to fill something in."""
    none: Flags = ~pc.match_substring_regex(prompts, ASKS).to_numpy(zero_copy_only=False)
    task = pc.replace_substring_regex(prompts.filter(pa.array(none)), f"{MARKER}|{BLANK}", " ")
    none[none] = np.diff(_words(task)[0]) == 0
    return none


def _words(texts: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    words = split_words(texts)
    return words.offsets, words.hashes


def _trimmed(words: Words, texts: pa.Array) -> Words:
    """The words of texts, of which these are told, without the white space around each."""
    blank = pc.subtract(pc.binary_length(texts), pc.binary_length(pc.utf8_ltrim_whitespace(texts))).to_numpy()
    if not blank.any():
        return words
    before = np.repeat(blank, np.diff(words.offsets))
    return Words(words.offsets, words.hashes, words.begins - before, words.ends - before)


def _same_words(questions: pa.Array, answers: Words) -> Flags:
    """Whether each answer's words are those of its question, once or several times over, and nothing else."""
    # Most begin with another word.
    same = np.diff(answers.offsets) > 0
    first = split_words(pc.utf8_slice_codeunits(questions, 0, BEGINNING))
    known = same & (np.diff(first.offsets) > 1)
    same[known] = first.hashes[first.offsets[:-1][known]] == answers.hashes[answers.offsets[:-1][known]]
    rows = np.flatnonzero(same)
    same[rows] = _echo(*_words(questions.take(pa.array(rows))), rows, answers.offsets, answers.hashes)
    return same


def _echoes(table: pa.Table, candidates: Flags) -> Flags:
    """Which of the candidates' answers are the question to the letter, once or several times over, where no other turn
    sets a task: a sentence without an error is rightly given back by who was told to correct it, and code or JSON in
    another layout by who was asked to lay it out."""
    echoes = np.zeros(table.num_rows, np.bool_)
    rows = np.flatnonzero(candidates)
    for row, turns in zip(rows.tolist(), table["turns"].take(pa.array(rows)).to_pylist(), strict=True):
        *others, asked, said = (turn["content"].strip() for turn in turns)
        copy = re.escape(asked)
        repeated = re.fullmatch(rf"{copy}(?:\s*{copy})*", said)
        echoes[row] = repeated is not None and all(re.search(GENERIC, text) for text in others)
    return echoes


def _questions(table: pa.Table) -> pa.Array:
    """The turn before each answer, or "" where there is none."""
    turns = table["turns"].combine_chunks()
    lengths = pc.list_value_length(turns).to_numpy(zero_copy_only=False)
    places = answer_places(table)
    at = pa.array(places - 1, mask=places == np.cumsum(lengths) - lengths)
    return pc.fill_null(pc.struct_field(turns.flatten(), "content").take(at), "")


def _other_language(table: pa.Table) -> Flags:
    """Whether prompt and answer are told to be in two languages that are not easily taken for each other."""
    if not {"language", "answer_language", "mixed_language"} <= set(table.column_names):
        return np.zeros(table.num_rows, np.bool_)
    prompt, answer = (
        pc.replace_with_mask(codes, pc.equal(codes, "und"), pa.scalar(None, pa.string()))
        for codes in (_kin(table["language"]), _kin(table["answer_language"]))
    )
    mixed = pc.fill_null(table["mixed_language"].combine_chunks(), False)
    differs = pc.and_(pc.fill_null(pc.not_equal(prompt, answer), False), pc.invert(mixed))
    found: Flags = differs.to_numpy(zero_copy_only=False)
    return found


def _kin(codes: pa.ChunkedArray) -> pa.Array:
    """Language codes, the first of its kin for each."""
    known = pc.dictionary_encode(codes.combine_chunks())
    names = [ANCESTOR.get(code, code) for code in known.dictionary.to_pylist()]
    return pa.array(names, pa.string()).take(known.indices)


@kernel
def _echo(question_offsets, questions, rows, answer_offsets, answers):  # type: ignore[no-untyped-def]
    """Whether the words of some rows' answers are those of their questions, once or several times over."""
    out = np.zeros(len(rows), np.bool_)
    for place in range(len(rows)):
        asked, said = question_offsets[place], answer_offsets[rows[place]]
        size, count = question_offsets[place + 1] - asked, answer_offsets[rows[place] + 1] - said
        if size and count and count % size == 0:
            at = 0
            while at < count and answers[said + at] == questions[asked + at % size]:
                at += 1
            out[place] = at == count
    return out
