"""How an example is written for a language model: pieces of text, of which some are to be answered."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from layersel.data.texts.examples import Example, Message
from layersel.errors import UserError
from layersel.tasks.causal_lm.template_names import ALPACA, AUTO, CHAT, PAPER, PLAIN

BEFORE_ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request."
    "\n\n### Instruction:\n"
)
AFTER_ALPACA = "\n\n### Response:"
TODAY = {
    "%-d": "26",
    "%d": "26",
    "%e": "26",
    "%b": "Jul",
    "%B": "July",
    "%m": "07",
    "%-m": "7",
    "%y": "24",
    "%Y": "2024",
}
TODAY |= {"%a": "Fri", "%A": "Friday", "%j": "208", "%p": "AM", "%x": "07/26/24", "%F": "2024-07-26"}
TODAY |= dict.fromkeys(("%H", "%I", "%M", "%S"), "00")
"""The day that is today in templates that tell it, which Llama's fall back on: else runs of two days would differ."""
TELLS_THE_DAY = "strftime_now"
MARK = "\u2063asked\u2063"
"""Stands in for what is asked, to find where a template writes it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an example.

    Attributes:
        text: What stands there.
        answer: Whether its tokens are to be predicted.
        yields: Whether its end may be left out where the example is too long.
        alone: Whether what follows is tokenised as if nothing stood before it.
    """

    text: str
    answer: bool = False
    yields: bool = False
    alone: bool = False


def pieces_of(example: Example, tokenizer: PreTrainedTokenizerBase, template: str) -> list[Piece]:
    """Returns the pieces of an example, in their order.

    Args:
        example: A prompt with its response, a conversation, or a plain text, all of which is to be predicted.
        tokenizer: Has the template of conversations and the tokens that begin and end a text.
        template: `auto`, `chat`, `alpaca` (Taori et al. 2023), `paper` (the same with a line's end behind the response,
            as the code of Ogawa et al. 2026 has it) or `plain`.

    Raises:
        UserError: A conversation is to be written, and the tokenizer has no template for it.
    """
    begin, end = Piece(_beginning(tokenizer), alone=True), tokenizer.eos_token or ""
    if example.text is not None:
        return [begin, Piece(example.text + ("" if example.goes_on else end), answer=True)]
    chats = template == CHAT or (template == AUTO and tokenizer.chat_template is not None)
    if chats or example.messages:
        return _conversation(example.messages or _as_messages(example), tokenizer, template)
    before, after = (BEFORE_ALPACA, AFTER_ALPACA) if template in (ALPACA, PAPER) else ("", "\n\n")
    prompt, response = Piece(example.prompt or "", yields=True), example.response or ""
    end = f"\n{end}" if template == PAPER else end
    return [begin, Piece(before), prompt, Piece(after), Piece(response + end, answer=True)]


def _as_messages(example: Example) -> list[Message]:
    return [Message("user", example.prompt or ""), Message("assistant", example.response or "")]


def _beginning(tokenizer: PreTrainedTokenizerBase) -> str:
    """Returns the token that the tokenizer puts before a text, if it does."""
    first: list[int] = tokenizer("")["input_ids"][:1]
    return str(tokenizer.bos_token) if first == [tokenizer.bos_token_id] else ""


def _conversation(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, template: str) -> list[Piece]:
    """Returns what stands before each turn of the assistant, and the turn, with the token that ends it."""
    if template not in (AUTO, CHAT) or tokenizer.chat_template is None:
        got = "has none" if tokenizer.chat_template is None else f"is not asked for its own (task.template={template})"
        raise UserError(
            f"task.template: a conversation needs the tokenizer's chat template, but it {got}; give "
            f"task.template={CHAT} and an instruction-tuned model, or prompts with responses and "
            f"task.template={PLAIN}"
        )
    done, pieces = "", []
    for turn, message in enumerate(messages):
        if turn == 0 or message.role != "assistant":
            continue
        before = _rendered(messages[:turn], tokenizer, opens=True)
        answered = _rendered(messages[: turn + 1], tokenizer)
        answer = answered.removeprefix(before).rstrip()
        if not before.startswith(done) or not answered.startswith(before) or not answer:
            raise UserError(
                "task.template: the tokenizer's chat template writes earlier turns in another way once others follow, "
                f"so that what is to be answered cannot be told; give task.template={PLAIN} or {ALPACA}"
            )
        pieces += [*_asked(messages[:turn], before, done, tokenizer), Piece(answer, True)]
        done = before + answer
    return pieces


def _rendered(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, opens: bool = False) -> str:
    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        return str(
            tokenizer.apply_chat_template(
                turns, chat_template=_of_one_day(tokenizer), tokenize=False, add_generation_prompt=opens
            )
        )
    except TemplateError as error:
        roles = ", ".join(message.role for message in messages)
        reason = " ".join(str(error).split())
        raise UserError(
            f"task.template: the tokenizer's chat template cannot write a conversation of {roles} ({reason}); leave "
            f"such examples out, or give prompts with responses and task.template={PLAIN} or {ALPACA}"
        ) from error


def _of_one_day(tokenizer: PreTrainedTokenizerBase) -> str:
    """Returns the tokenizer's template, in which `TODAY` stands for the function that tells the day and the time."""
    template = str(tokenizer.get_chat_template())
    if TELLS_THE_DAY not in template:
        return template
    told = "".join(f"|replace('{code}', '{value}')" for code, value in TODAY.items())
    return f"{{% macro {TELLS_THE_DAY}(format) %}}{{{{ format{told} }}}}{{% endmacro %}}\n{template}"


def _asked(messages: Sequence[Message], before: str, done: str, tokenizer: PreTrainedTokenizerBase) -> list[Piece]:
    """Returns the pieces of what stands between two answers: what is asked may be cut, what frames it never."""
    text = before.removeprefix(done)
    marked = _rendered([*messages[:-1], replace(messages[-1], content=MARK)], tokenizer, opens=True)
    start, _, end = marked.removeprefix(done).rpartition(MARK)
    asked = text[len(start) : len(text) - len(end)]
    if not asked or start + asked + end != text:
        return [Piece(text)]
    return [Piece(start), Piece(asked, yields=True), Piece(end)]
