"""Examples that are too long: what is asked is cut, then the answer's end, and never the frame."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import CHAT, decoder_tokenizer

from layersel.data.texts.examples import Example, Message, TextDataset
from layersel.data.tokens import TokenizedTexts
from layersel.errors import UserError
from layersel.seeding import stream
from layersel.tasks.causal_lm.options import CausalLM
from layersel.tasks.causal_lm.problem import AnswerProblem
from layersel.tasks.causal_lm.templates import Piece, pieces_of
from layersel.tasks.causal_lm.tokenizing import prompts, tokenized

TOKENIZER = decoder_tokenizer(template=CHAT)
END = TOKENIZER.eos_token_id
FRAME = ["<|start|>user\n", "<|end|>\n<|start|>assistant\n"]
SHORT = Example(prompt="Tell me.", response="So.")
LONG_PROMPT = Example(prompt="Tell me all of it, and then again. " * 9, response="So it is.")
LONG_ANSWER = Example(prompt="Tell me.", response="So it is, and so it will be. " * 9)


def ids(text: str) -> list[int]:
    """The tokens of a text without anything around it."""
    return TOKENIZER(text, add_special_tokens=False)["input_ids"]  # type: ignore[no-any-return]


def cut(example: Example, max_length: int, template: str = "auto") -> TokenizedTexts:
    """The example alone."""
    return tokenized([pieces_of(example, TOKENIZER, template)], TOKENIZER, max_length)


def test_a_long_prompt_keeps_its_frame_and_the_answer() -> None:
    """Only its own end is missing."""
    texts = cut(LONG_PROMPT, 40)
    frame, after, answer = ids(FRAME[0]), ids(FRAME[1]), [*ids("So it is."), END]
    room = 40 - len(frame) - len(after) - len(answer)
    assert texts.tokens == [frame + ids(LONG_PROMPT.prompt)[:room] + after + answer]
    assert texts.answers == [[0] * (40 - len(answer)) + [1] * len(answer)]
    assert texts.full_lengths == [len(frame) + len(ids(LONG_PROMPT.prompt)) + len(after) + len(answer)]
    assert prompts([pieces_of(LONG_PROMPT, TOKENIZER, "auto")], 40, TOKENIZER) == [
        frame + ids(LONG_PROMPT.prompt)[:room] + after
    ]


def test_a_long_answer_ends_early_and_leaves_the_prompt_a_quarter() -> None:
    """The frame stands; a prompt that is no longer than that stands too, and the answer has what remains."""
    frame = len(ids(FRAME[0]) + ids(FRAME[1]))
    for max_length in (30, 80):
        texts = cut(LONG_ANSWER, max_length)
        asked = ids(LONG_ANSWER.prompt)[: (max_length - frame) // 4]
        before = ids(FRAME[0]) + asked + ids(FRAME[1])
        assert texts.tokens == [(before + ids(LONG_ANSWER.response))[:max_length]]
        assert texts.answers == [[0] * len(before) + [1] * (max_length - len(before))]
    assert asked == ids(LONG_ANSWER.prompt)


def test_what_fits_exactly_is_not_cut() -> None:
    """One token less costs the prompt one token."""
    whole = cut(SHORT, 1000)
    length = len(whole.tokens[0])
    assert cut(SHORT, length).tokens == whole.tokens
    assert cut(SHORT, length).answers == whole.answers
    shorter = cut(SHORT, length - 1)
    assert len(shorter.tokens[0]) == length - 1
    assert shorter.tokens[0][-4:] == whole.tokens[0][-4:]


@pytest.mark.parametrize("less", [1, 10])
def test_a_conversation_ends_with_the_last_turn_that_fits(less: int) -> None:
    """Every question that is left is whole, and so is its answer."""
    turns = ("user", "One two three four"), ("assistant", "Five"), ("user", "Six seven"), ("assistant", "Eight")
    example = Example(messages=tuple(Message(*turn) for turn in turns))
    whole = cut(example, 1000)
    own = cut(example, len(whole.tokens[0]) - less)
    assert own.tokens == cut(Example(messages=example.messages[:2]), 1000).tokens
    assert own.answers == [whole.answers[0][: len(own.tokens[0])]]


@pytest.mark.parametrize(
    ("examples", "max_length", "count"),
    [([SHORT], len(ids("".join(FRAME))), 1), ([SHORT, Example(text="All of it.")], 3, 1), ([Example(text="a")], 1, 1)],
)
def test_an_example_without_a_token_to_predict_is_refused(
    examples: Sequence[Example], max_length: int, count: int
) -> None:
    """In one line, with how many there are of them."""
    pieces = [pieces_of(example, TOKENIZER, "auto") for example in examples]
    expected = rf"^model\.max_length: {count} of {len(examples)} examples have no token to predict within {max_length} "
    with pytest.raises(UserError, match=expected):
        tokenized(pieces, TOKENIZER, max_length)


PIECES = st.lists(
    st.builds(Piece, st.text("abc de\n", max_size=12), answer=st.booleans(), yields=st.booleans()),
    min_size=1,
    max_size=6,
)


@given(PIECES, st.integers(1, 30))
def test_of_any_pieces(pieces: list[Piece], max_length: int) -> None:
    """All tokens are the whole text's up to the last answer that fits, or else up to the first one.

    Then pieces that yield lose their ends, but for a quarter of the room, and the rest is cut at the end.
    A token with a character of an answer is the answer's, and one with a character of what stands is cut last.
    """
    whole = ids("".join(piece.text for piece in pieces))
    owner = [place for place, piece in enumerate(pieces) for _ in piece.text]
    owned: list[tuple[int, int]] = []
    start = 0
    for token in whole:
        length = len(TOKENIZER.decode([token]))  # each character is a byte
        places = owner[start : start + length]
        answers = [place for place in places if pieces[place].answer]
        stands = [place for place in places if not pieces[place].yields]
        both = [place for place in answers if place in stands]
        owned.append(((both or answers or stands or places)[0], token))
        start += length
    assert start == len(owner)
    if len(owned) > max_length:
        answers = [place for place, piece in enumerate(pieces) if piece.answer]
        fit = [place for place in answers if sum(own <= place for own, _ in owned) <= max_length]
        last = max(fit) if fit else min([*answers, len(pieces)])
        owned = [own for own in owned if own[0] <= last]
        room = max_length - sum(not (pieces[own].yields or pieces[own].answer) for own, _ in owned)
        for place, piece in enumerate(pieces):
            while (
                piece.yields and len(owned) > max_length and sum(own == place for own, _ in owned) > max(room, 0) // 4
            ):
                del owned[max(at for at, (own, _) in enumerate(owned) if own == place)]
    kept = [token for _, token in owned][:max_length]
    marks = [int(pieces[place].answer) for place, _ in owned][:max_length]
    if not any(marks[1:]):
        with pytest.raises(UserError):
            tokenized([pieces], TOKENIZER, max_length)
        return
    texts = tokenized([pieces], TOKENIZER, max_length)
    assert (texts.tokens, texts.answers) == ([kept], [marks])
    assert texts.texts == ["".join(piece.text for piece in pieces)]


@given(st.text("abc .", min_size=1), st.text("abc .", min_size=1), st.integers(20, 60))
def test_of_any_prompt_and_response(prompt: str, response: str, max_length: int) -> None:
    """The frame stands whole and in its place, and the answer is cut only when the prompt has a quarter of the room."""
    texts = cut(Example(prompt=prompt, response=response), max_length)
    (tokens,), (marks,) = texts.tokens, texts.answers
    before, after, answer = ids(FRAME[0]), ids(FRAME[1]), [*ids(response), END]
    asked = tokens[len(before) : marks.index(1) - len(after)]
    said = tokens[marks.index(1) :]
    assert tokens == before + asked + after + said
    assert marks == [0] * (len(tokens) - len(said)) + [1] * len(said)
    assert asked == ids(prompt)[: len(asked)]
    assert said == answer[: len(said)]
    assert said == answer or len(asked) <= (max_length - len(before) - len(after)) // 4
    assert asked == ids(prompt) or len(asked) >= (max_length - len(before) - len(after)) // 4
    assert len(tokens) == min(max_length, texts.full_lengths[0])


def problem(examples: Sequence[Example], seed: int | None = None, **options: object) -> AnswerProblem:
    """The problem of these examples, all of which are tested on, or one in three under a seed."""
    options = {"test": 1 / 3} | options
    return AnswerProblem.draw(CausalLM(**options), TextDataset("toy", tuple(examples)), seed)  # type: ignore[arg-type]


OTHER_END = CHAT.replace("<|end|>", "<s>")
"""A template whose turns end with another token than the tokenizer's own, as Gemma's do."""


@pytest.mark.parametrize("template", [CHAT, OTHER_END])
def test_answers_that_end_early_are_counted(template: str) -> None:
    """Prompts that lose their ends are counted apart, whatever ends the answer."""
    tokenizer = decoder_tokenizer(template=template)
    asked = problem([SHORT, LONG_PROMPT, LONG_ANSWER, LONG_ANSWER, LONG_PROMPT])
    lines = asked.token_lines(asked.tokenized(tokenizer, 40), tokenizer)
    assert lines[1:] == [
        "2 examples whose prompt ends early, 2 examples whose answer ends early, at model.max_length=40"
    ]
    whole = asked.tokenized(tokenizer, 1000)
    assert len(asked.token_lines(whole, tokenizer)) == 1


def test_an_answer_without_an_end_is_whole() -> None:
    """Without a token that ends a text, an answer that is not cut is not counted."""
    tokenizer = decoder_tokenizer(eos=False)
    asked = problem([SHORT, LONG_PROMPT, LONG_PROMPT])
    lines = asked.token_lines(asked.tokenized(tokenizer, 20), tokenizer)
    assert lines[1:] == ["2 examples whose prompt ends early, at model.max_length=20"]


@pytest.mark.parametrize(
    ("words", "passage", "expected"), [(10, 250, 1), (10, 4, 3), (12, 4, 3), (13, 4, 4), (3, 1, 3)]
)
def test_plain_texts_in_passages(words: int, passage: int, expected: int) -> None:
    """No passage is longer than asked for, none much shorter than others, and none is lost."""
    said = [f"w{number}" for number in range(words)]
    own = problem([Example(text=" ".join(said))] * 3, passage=passage).dataset.examples
    assert len(own) == 3 * expected
    assert " ".join(str(example.text) for example in own[:expected]).split() == said
    lengths = [len(str(example.text).split()) for example in own]
    assert max(lengths) <= passage
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("text", ["one two three four five six", "one two", "one two three four" + " " * 9])
def test_only_the_last_passage_ends_a_text(text: str) -> None:
    """A model that learns to end in the middle of sentences does so when it answers, too."""
    asked = problem([Example(text=text)] * 3, passage=2)
    texts = asked.tokenized(TOKENIZER, 100)
    count = len(texts.tokens) // 3
    assert "".join(texts.texts[:count]).replace(" ", "") == text.replace(" ", "") + "<|end|>"
    assert [ids[-1] == END for ids in texts.tokens] == [place % count == count - 1 for place in range(3 * count)]
    assert [ids.count(END) for ids in texts.tokens[:count]] == [0] * (count - 1) + [1]
    assert all(all(marks) for marks in texts.answers)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("if so:\n    do it\n    and that", ["if so:", "\n    do it", "\n    and that"]),
        (
            "\u0e01\u0e33\u0e25\u0e31\u0e07",
            ["\u0e01\u0e33", "\u0e25\u0e31\u0e07"],
        ),  # a vowel sign stays with its letter
        ("\u6e2c\u8a66\u6e2c\u8a66", ["\u6e2c\u8a66"] * 2),
    ],
    ids=["code", "Thai", "Chinese"],
)
def test_passages_of_other_texts(text: str, expected: list[str]) -> None:
    """Indentation is kept, and scripts without spaces are divided between characters."""
    own = problem([Example(text=text)], passage=2).dataset.examples
    assert [example.text for example in own] == expected


def test_a_passage_of_spaces_is_none() -> None:
    """Tables and code have more spaces than words."""
    own = problem([Example(text="a" + " " * 9 + "b")] * 3, passage=1).dataset.examples
    assert [str(example.text).strip() for example in own] == ["a", "b"] * 3


def test_batches_of_an_epoch() -> None:
    """Each example is in one of them, with its own answers; a resumed epoch and another seed have other orders."""
    asked = problem([Example(prompt=f"{number}?", response=str(number)) for number in range(12)], 0, batch_size=4)
    texts = asked.tokenized(TOKENIZER, 100)
    data = asked.data(texts, TOKENIZER, 0)
    batches = data.epoch_batches(stream(0, "batches of epoch 0"))
    order = [text for batch in batches for text in batch.texts]
    assert [len(batch.texts) for batch in batches] == [4, 4]  # 8 of 12 are learnt from
    assert sorted(order) == list(range(8))
    assert order != sorted(order)
    for batch in batches:
        for text, answers in zip(batch.texts, batch.answers, strict=True):
            assert answers == texts.answers[asked.train[text]]
    assert [batch.texts for batch in data.epoch_batches(stream(0, "batches of epoch 1"))] != [
        batch.texts for batch in batches
    ]


def test_every_token_of_a_step_weighs_the_same() -> None:
    """The mean over a step's batches of their sums, each over `n_tokens`, is the mean over the step's tokens."""
    answers = [Example(prompt="?", response="so " * number) for number in range(1, 13)]
    asked = problem(answers, 0, batch_size=3, accumulate=2)
    texts = asked.tokenized(TOKENIZER, 100)
    batches = asked.data(texts, TOKENIZER, 0).epoch_batches(stream(0, "batches of epoch 0"))
    assert [len(batch.texts) for batch in batches] == [3, 3, 2]
    for step in (batches[:2], batches[2:]):
        tokens = sum(sum(marks) for batch in step for marks in batch.answers)
        weights = [1 / batch.n_tokens / len(step) for batch in step]  # Lightning takes the mean of a step's batches
        assert weights == pytest.approx([1 / tokens] * len(step))


@pytest.mark.parametrize("template", [CHAT, OTHER_END])
def test_the_probe_is_what_is_learnt_from_without_its_ends(template: str) -> None:
    """The last token of a text, which stands for it, is not the one that all of them share."""
    asked = problem([Example(prompt=f"{number}?", response=str(number)) for number in range(12)], 0)
    tokenizer = decoder_tokenizer(template=template)
    texts = asked.tokenized(tokenizer, 100)
    probe = asked.data(texts, tokenizer, 0).probe_tokens(100)
    assert sorted(probe) == sorted(texts.tokens[index][:-1] for index in asked.train)
    assert {texts.tokens[index][-1] for index in asked.train} == {END if template == CHAT else 2}
