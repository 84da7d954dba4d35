"""Conversations, in the forms of chat files: `role` and `content`, or ShareGPT's `from` and `value`."""

import json
from typing import Any

from layersel.data.texts.examples import Message
from layersel.errors import UserError

_KEYS = (("role", "content"), ("from", "value"))
_ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model"), "assistant"),
}


def read_conversation(value: Any, where: str) -> tuple[Message, ...] | str:
    """Returns the turns of a conversation, or why it cannot be learnt from; empty system messages are no turns.

    Raises:
        UserError: The value is no list of messages.

    Example:
        >>> read_conversation([{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}], "row 1")
        (Message(role='user', content='Hi'), Message(role='assistant', content='Hello'))
        >>> read_conversation([{"role": "user", "content": "Hi"}], "row 1")
        'without a response'
    """
    turns = []
    for message in _list(value, where):
        keys = next((own for own in _KEYS if isinstance(message, dict) and set(own) <= set(message)), None)
        if keys is None:
            raise UserError(
                f"{where}: expected messages of role and content, or of from and value, but got {message!r}"
            )
        given, content = (message[key] for key in keys)
        role = _ROLES.get(str(given).lower())
        if role is None:
            return f"with a message of {str(given)!r}"
        text = _content(content)
        if text is None:
            return "with a message that is no text"
        if text.strip():
            turns.append(Message(role, text))
        elif role != "system":
            return "without a response" if role == "assistant" else "with an empty message"
    return tuple(turns) if any(turn.role == "assistant" for turn in turns) else "without a response"


def _list(value: Any, where: str) -> list[Any]:
    """Returns the list of messages; in tables it is written as JSON."""
    if value is None:
        return []
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else []
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{where}: expected a list of messages as JSON, but got {value[:40]!r} ({error})"
            ) from error
    if not isinstance(value, list):
        raise UserError(f"{where}: expected a list of messages, but got {value!r}")
    return value


def _content(content: Any) -> str | None:
    """Returns the text of a message, which may be in parts; None if one of them is none."""
    if isinstance(content, list):
        parts = [
            part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in content
        ]
        return None if None in parts else "".join(map(str, parts))
    return content if isinstance(content, str) else None
