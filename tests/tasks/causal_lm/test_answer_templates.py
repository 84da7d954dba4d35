"""How examples are written: what a template's own text is, and what of it is to be answered."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import CHAT, decoder_tokenizer, metaspace_tokenizer
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel as ByteLevelWords
from tokenizers.processors import ByteLevel
from transformers import ByT5Tokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from layersel.data.texts.examples import Example, Message
from layersel.errors import UserError
from layersel.tasks.causal_lm.templates import Piece, pieces_of
from layersel.tasks.causal_lm.tokenizing import prompts, tokenized

END = "<|end|>"
TRIMS = CHAT.replace("m.content", "m.content | trim")
FORGETS = CHAT.replace("m.content", "(m.content if loop.last else 'earlier')")
ALTERNATES = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHAT
KIND, SHORT = Example(prompt="Be kind?", response="Yes, always."), Example(prompt="a", response="b")


@pytest.fixture(scope="module")
def chat() -> PreTrainedTokenizerFast:
    """A tokenizer with a template of conversations, and without a first token."""
    return decoder_tokenizer(template=CHAT)


def talk(*turns: str) -> Example:
    """A conversation of turns such as `user: Hello`."""
    return Example(messages=tuple(Message(*turn.split(": ", 1)) for turn in turns))


def messages_of(example: Example) -> list[dict[str, str]]:
    """The turns as the library takes them."""
    if example.messages:
        return [{"role": turn.role, "content": turn.content} for turn in example.messages]
    return [{"role": "user", "content": example.prompt or ""}, {"role": "assistant", "content": example.response or ""}]


def whole(pieces: Sequence[Piece]) -> str:
    """The text that the pieces make."""
    return "".join(piece.text for piece in pieces)


def read_back(example: Example, tokenizer: PreTrainedTokenizerFast, template: str) -> tuple[str, list[str]]:
    """The text of all tokens, and of each run of tokens that are to be predicted."""
    texts = tokenized([pieces_of(example, tokenizer, template)], tokenizer, 10_000)
    runs: list[list[int]] = [[]]
    for token, answer in zip(texts.tokens[0], texts.answers[0], strict=True):
        if answer:
            runs[-1].append(token)
        elif runs[-1]:
            runs.append([])
    return tokenizer.decode(texts.tokens[0]), [tokenizer.decode(run) for run in runs if run]


CONVERSATIONS = {
    "prompt": KIND,
    "turns": talk("user: Hello", "assistant: Hi there.", "user: And now?", "assistant: Now this.", "user: Left over"),
    "system": talk("system: Be short.", "user: Hello", "assistant: Hi."),
    "system within": talk("user: Hello", "assistant: Hi.", "system: Be long.", "user: Again", "assistant: Good day."),
    "two answers": talk("user: Hello", "assistant: Hi.", "assistant: There."),
    "spaces": talk("user:  Hello  ", "assistant:  Hi.\n\nThere.  "),
}


@pytest.mark.parametrize("template", ["auto", "chat"])
@pytest.mark.parametrize("name", CONVERSATIONS)
@pytest.mark.parametrize("bos", [False, True])
def test_a_conversation_is_what_the_template_writes(name: str, template: str, bos: bool) -> None:
    """The tokens read as the library's own text up to the last answer, those of answers as what the assistant says."""
    example, tokenizer = CONVERSATIONS[name], decoder_tokenizer(bos=bos, template=CHAT)
    turns = messages_of(example)
    last = max(place for place, turn in enumerate(turns) if turn["role"] == "assistant")
    text, answers = read_back(example, tokenizer, template)
    assert text + "\n" == tokenizer.apply_chat_template(turns[: last + 1], tokenize=False)
    assert answers == [turn["content"] + END for turn in turns if turn["role"] == "assistant"]


ZEPHYR = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role != 'assistant' %}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
TELLS_THE_DAY = (
    "\n{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "Today: {{ date_string }}, {{ strftime_now('%-d %B, %H:%M') }}\n" + ZEPHYR
)


def test_a_template_that_tells_the_day_tells_always_the_same() -> None:
    """The template is given the day that Llama's fall back on, as runs of two days would differ."""
    text, _ = read_back(KIND, decoder_tokenizer(template=TELLS_THE_DAY), "chat")
    assert text.startswith("\nToday: 26 Jul 2024, 26 July, 00:00\n")


TOKENIZERS = {"bytes": decoder_tokenizer(bos=True), "metaspace": metaspace_tokenizer(), "slow": ByT5Tokenizer()}


@pytest.mark.parametrize("written", [CHAT, ZEPHYR, MISTRAL])
@pytest.mark.parametrize("name", CONVERSATIONS)
@pytest.mark.parametrize("kind", ["bytes", "metaspace"])
def test_the_tokens_of_a_conversation_are_those_of_the_library(kind: str, name: str, written: str) -> None:
    """Up to the last answer; a model is asked with the library's generation prompt of the first one."""
    tokenizer, turns = TOKENIZERS[kind], messages_of(CONVERSATIONS[name])
    tokenizer.chat_template = written
    answers = [place for place, turn in enumerate(turns) if turn["role"] == "assistant"]
    pieces = pieces_of(CONVERSATIONS[name], tokenizer, "auto")
    found = tokenized([pieces], tokenizer, 10_000).tokens[0]
    whole = tokenizer.apply_chat_template(turns[: answers[-1] + 1], return_dict=False)
    assert found == whole[: len(found)]
    assert tokenizer.decode(whole[len(found) :]).strip(f" \n{END if written == CHAT else ''}") == ""
    asked = tokenizer.apply_chat_template(turns[: answers[0]], add_generation_prompt=True, return_dict=False)
    assert prompts([pieces], 1000, tokenizer) == [asked]


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_the_tokens_of_other_texts_are_those_of_the_tokenizer(kind: str) -> None:
    """The tokenizer's own first token is followed by what it makes of the whole text behind it."""
    tokenizer = TOKENIZERS[kind]
    for example, text in ((KIND, "Be kind?\n\nYes, always."), (Example(text="All of it."), "All of it.")):
        end = [] if kind == "slow" else [tokenizer.eos_token_id]  # ByT5 adds it itself
        found = tokenized([pieces_of(example, tokenizer, "plain")], tokenizer, 10_000).tokens[0]
        assert found == tokenizer(text)["input_ids"] + end


def line_ends() -> PreTrainedTokenizerFast:
    """A tokenizer with GPT-2's words, of bytes, which has a blank line as one token, but not before a word."""
    alphabet = sorted(ByteLevelWords.alphabet())
    vocabulary = {token: place for place, token in enumerate([*alphabet, "\u010a\u010a", END])}
    made = Tokenizer(BPE(vocab=vocabulary, merges=[("\u010a", "\u010a")]))
    made.pre_tokenizer = ByteLevelWords(add_prefix_space=False)
    made.decoder = ByteLevelDecoder()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=END)


@pytest.mark.parametrize("template", ["plain", "alpaca"])
@pytest.mark.parametrize("tokenizer", [*TOKENIZERS.values(), line_ends()], ids=[*TOKENIZERS, "line ends"])
def test_an_example_begins_with_what_is_asked(tokenizer: PreTrainedTokenizerBase, template: str) -> None:
    """With the tokens of the prompt alone, though a tokenizer splits a blank line in another way before a word."""
    pieces = pieces_of(KIND, tokenizer, template)
    texts = tokenized([pieces], tokenizer, 1000)
    (asked,) = prompts([pieces], 1000, tokenizer)
    assert texts.tokens[0][: len(asked)] == asked
    assert texts.answers[0] == [0] * len(asked) + [1] * (len(texts.tokens[0]) - len(asked))
    assert tokenizer.decode(texts.tokens[0]) == tokenizer.decode(
        tokenizer(whole(pieces), add_special_tokens=False).input_ids
    )


def test_a_token_of_prompt_and_answer_is_the_answers() -> None:
    """The space that a template leaves before the answer is part of the answer's first word, and asked without it."""
    tokenizer = metaspace_tokenizer(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}{% if not loop.last %} {% endif %}"
        "{% endfor %}{% if add_generation_prompt %} assistant: {% endif %}"
    )
    pieces = pieces_of(Example(prompt="a study", response="the study of the"), tokenizer, "auto")
    texts = tokenized([pieces], tokenizer, 100)
    said = [token for token, answer in zip(texts.tokens[0], texts.answers[0], strict=True) if answer]
    assert tokenizer.convert_ids_to_tokens(said) == ["▁the", "▁study", "▁of", "▁the"]


def test_spans_without_spaces_are_read_as_those_with_them() -> None:
    """GPT-2's tokenizer leaves them out of its tokens' spans: the blank line is none of the answer's."""
    plain, trimming = decoder_tokenizer(), decoder_tokenizer()
    trimming.backend_tokenizer.post_processor = ByteLevel(trim_offsets=True)
    for example in (KIND, Example(prompt="a  b ", response="  c\n\n d ")):
        pieces = pieces_of(example, plain, "plain")
        assert tokenized([pieces], trimming, 100) == tokenized([pieces], plain, 100)


def test_what_a_template_trims_is_not_answered() -> None:
    """The answer is the trimmed one, and what is asked is still known as such."""
    tokenizer = decoder_tokenizer(template=TRIMS)
    example = talk("user:  Hello\n", "assistant: \n Hi. ")
    text, answers = read_back(example, tokenizer, "auto")
    assert text == f"<|start|>user\nHello{END}\n<|start|>assistant\nHi.{END}"
    assert answers == [f"Hi.{END}"]
    assert [piece.text for piece in pieces_of(example, tokenizer, "auto") if piece.yields] == ["Hello"]


@pytest.mark.parametrize("said", ["a", "assistant", "user", "\n", "end", "<|", "s", "Hello"])
def test_what_is_asked_is_not_mistaken_for_the_frame(chat: PreTrainedTokenizerFast, said: str) -> None:
    """A short prompt that also stands in the template's own text is not looked for there."""
    pieces = pieces_of(Example(prompt=said, response="Hi."), chat, "auto")
    frame = [piece.text for piece in pieces if not piece.yields and not piece.answer]
    assert frame == ["<|start|>user\n", f"{END}\n<|start|>assistant\n"]
    assert [piece.text for piece in pieces if piece.yields] == [said]


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.text(st.characters(codec="utf-8"), min_size=1))
def test_any_prompt_and_response(prompt: str, response: str) -> None:
    """Whatever is said, the pieces make the template's text, and the answer is the response with its end."""
    chat = decoder_tokenizer_once()
    example = Example(prompt=prompt, response=response)
    pieces = pieces_of(example, chat, "auto")
    assert whole(pieces) + "\n" == chat.apply_chat_template(messages_of(example), tokenize=False)
    assert [piece.text for piece in pieces if piece.answer] == [response + END]


def decoder_tokenizer_once(known: list[PreTrainedTokenizerFast] = []) -> PreTrainedTokenizerFast:  # noqa: B006
    """The tokenizer of this module, for a test whose examples must not share a fixture of a function."""
    if not known:
        known.append(decoder_tokenizer(template=CHAT))
    return known[0]


@pytest.mark.parametrize(("template", "end"), [("alpaca", END), ("paper", f"\n{END}")])
def test_alpaca(chat: PreTrainedTokenizerFast, template: str, end: str) -> None:
    """The text is that of Stanford Alpaca (Taori et al. 2023) without an input, or that of Ogawa et al.'s code.

    Its end is to be predicted too.
    """
    expected = (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nBe kind?\n\n### Response:"
    )
    assert read_back(KIND, chat, template) == (f"{expected}Yes, always.{end}", [f"Yes, always.{end}"])


@pytest.mark.parametrize("template", ["plain", "auto"])
@pytest.mark.parametrize(("bos", "first"), [(False, ""), (True, "<s>")])
def test_plain(template: str, bos: bool, first: str) -> None:
    """A blank line stands between prompt and response; the first token once, and only where the tokenizer adds it."""
    tokenizer = decoder_tokenizer(bos=bos)
    expected = f"{first}Be kind?\n\nYes, always.{END}"
    assert read_back(KIND, tokenizer, template) == (expected, [f"Yes, always.{END}"])
    ids = tokenized([pieces_of(KIND, tokenizer, template)], tokenizer, 100).tokens[0]
    assert ids.count(2) == int(bos)
    assert ids[: 1 + bos] == tokenizer("Be kind?")["input_ids"][: 1 + bos]


@pytest.mark.parametrize(("bos", "first"), [(False, ""), (True, "<s>")])
@pytest.mark.parametrize("template", ["auto", "chat", "alpaca", "plain"])
def test_of_a_plain_text_all_is_predicted(template: str, bos: bool, first: str) -> None:
    """All of it but the tokenizer's first token, with the end, whatever the template."""
    tokenizer = decoder_tokenizer(bos=bos, template=CHAT)
    assert read_back(Example(text="All of it."), tokenizer, template) == (
        f"{first}All of it.{END}",
        [f"All of it.{END}"],
    )


def test_without_a_token_that_ends_a_text() -> None:
    """Nothing is put behind an answer."""
    assert read_back(KIND, decoder_tokenizer(eos=False), "auto") == ("Be kind?\n\nYes, always.", ["Yes, always."])


@pytest.mark.parametrize(
    ("written", "template", "example", "expected"),
    [
        (FORGETS, "auto", CONVERSATIONS["turns"], "writes earlier turns in another way"),
        (FORGETS, "auto", talk("user: Hello", "assistant: Hi."), "writes earlier turns in another way"),
        (None, "auto", CONVERSATIONS["turns"], "but it has none; give"),
        (None, "chat", KIND, "but it has none; give"),
        (CHAT, "alpaca", CONVERSATIONS["turns"], r"not asked for its own \(task.template=alpaca\)"),
        (CHAT, "plain", CONVERSATIONS["system"], r"not asked for its own \(task.template=plain\)"),
        (ALTERNATES, "auto", CONVERSATIONS["system"], "cannot write a conversation.*System role not supported"),
        ("{% if %}", "auto", KIND, "cannot write a conversation"),
        ("nothing", "auto", KIND, "writes earlier turns in another way"),
    ],
)
def test_a_conversation_that_cannot_be_written(
    written: str | None, template: str, example: Example, expected: str
) -> None:
    """The message is one line that names the option."""
    with pytest.raises(UserError, match=rf"^task\.template: .*{expected}") as caught:
        pieces_of(example, decoder_tokenizer(template=written), template)
    assert "\n" not in str(caught.value)


def test_who_speaks_first_answers_nothing(chat: PreTrainedTokenizerFast) -> None:
    """What the assistant says before anybody else stands there, and is not to be predicted."""
    example = talk("assistant: Hi.", "user: Hello", "assistant: Good day.")
    text, answers = read_back(example, chat, "auto")
    assert text + "\n" == chat.apply_chat_template(messages_of(example), tokenize=False)
    assert answers == [f"Good day.{END}"]
