"""How an example is written for a language model: pieces of text, of which some are to be answered."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from layersel.data.texts.examples import Example, Message
from layersel.errors import UserError
from layersel.tasks.causal_lm.template_names import ALPACA, AUTO, CHAT, PLAIN

BEFORE_ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request."
    "\n\n### Instruction:\n"
)
AFTER_ALPACA = "\n\n### Response:\n"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an example, tokenised on its own.

    Attributes:
        text: What stands there.
        answer: Whether its tokens are to be predicted.
        yields: Whether its end is left out where the example is too long.
    """

    text: str
    answer: bool = False
    yields: bool = False


def pieces_of(example: Example, tokenizer: PreTrainedTokenizerBase, template: str) -> list[Piece]:
    """Returns the pieces of an example, in their order.

    Args:
        example: A prompt with its response, a conversation, or a plain text, all of which is to be predicted.
        tokenizer: Has the template of conversations and the tokens that begin and end a text.
        template: `auto`, `chat`, `alpaca` or `plain`.

    Raises:
        UserError: A conversation is to be written, and the tokenizer has no template for it.
    """
    begin, end = _beginning(tokenizer), tokenizer.eos_token or ""
    if example.text is not None:
        return [Piece(begin), Piece(example.text + end, answer=True)]
    chats = template == CHAT or (template == AUTO and tokenizer.chat_template is not None)
    if chats or example.messages:
        return _conversation(example.messages or _as_messages(example), tokenizer, template)
    before, after = {ALPACA: (BEFORE_ALPACA, AFTER_ALPACA)}.get(template, ("", "\n\n"))
    prompt = Piece(example.prompt or "", yields=True)
    return [Piece(begin + before), prompt, Piece(after), Piece((example.response or "") + end, answer=True)]


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
        if message.role != "assistant":
            continue
        before = _rendered(messages[:turn], tokenizer, opens=True)
        answer = _rendered(messages[: turn + 1], tokenizer)[len(before) :].rstrip()
        if not before.startswith(done) or not answer:
            raise UserError(
                "task.template: the tokenizer's chat template writes earlier turns in another way once others follow, "
                f"so that what is to be answered cannot be told; give task.template={PLAIN} or {ALPACA}"
            )
        pieces += [
            *_yielding(before.removeprefix(done), messages[turn - 1].content if turn else ""),
            Piece(answer, True),
        ]
        done = before + answer
    return pieces


def _rendered(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, opens: bool = False) -> str:
    turns = [{"role": message.role, "content": message.content} for message in messages]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=opens))


def _yielding(text: str, content: str) -> list[Piece]:
    """Returns the pieces of what stands before an answer: what is asked may be cut, what frames it never."""
    before, found, after = text.rpartition(content.strip()) if content.strip() else (text, "", "")
    return [Piece(before), Piece(found, yields=True), Piece(after)] if found else [Piece(text)]
