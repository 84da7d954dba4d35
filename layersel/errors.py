"""The errors that a user is meant to read, each in one line."""

import errno
import os
from pathlib import Path

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The system's errors of a full disk, a spent quota and a limit on the size of files."""


class UserError(ValueError):
    """Something the user gave cannot be used.

    The message is one line: the argument, the value got, the values allowed, the next step. The entry scripts
    print it without a traceback and exit with status 2; in the library it is an ordinary `ValueError`.
    """


class DamagedError(UserError):
    """Raised where a file is not as it was written.

    Attributes:
        brief: The file's name and what is wrong with it.
    """

    def __init__(self, file: Path, why: str, remedy: str = "delete it"):
        super().__init__(f"{str(file)!r} {why}; {remedy}")
        self.brief = f"{file.name} {why}"


def one_of(argument: str, got: object, allowed: object, hint: str = "") -> UserError:
    """Returns the error for a value outside a closed set of choices.

    Example:
        >>> print(one_of("pooling", "max", ["cls", "mean"]))
        pooling: expected one of cls, mean, but got 'max'
    """
    choices = ", ".join(str(choice) for choice in allowed)  # type: ignore[attr-defined]
    return UserError(f"{argument}: expected one of {choices}, but got {got!r}" + (f"; {hint}" if hint else ""))


def no_room(error: BaseException) -> UserError | None:
    """Returns the line for an error that a full disk has caused; None for any other error.

    Libraries in Rust give the system's error in their messages only, PyTorch raises another one in its place.

    Example:
        >>> print(no_room(OSError(28, "No space left on device", "runs/a.json")))
        output: cannot write 'runs/a.json' (No space left on device); make room, or name another folder with output=…
    """
    for number in NO_ROOM:
        if getattr(error, "errno", None) == number or f"(os error {number})" in str(error):
            name = getattr(error, "filename", None)
            what = "" if name is None else f" {str(name)!r}"
            why = os.strerror(number)
            return UserError(f"output: cannot write{what} ({why}); make room, or name another folder with output=…")
    before = error.__cause__ or error.__context__
    return None if before is None or isinstance(error, UserError) else no_room(before)


def error_line(error: BaseException) -> str:
    """Returns an error in one line: a user's message as it is, any other with the name of its class.

    Example:
        >>> error_line(ZeroDivisionError("division by zero")), error_line(SystemExit())
        ('ZeroDivisionError: division by zero', 'SystemExit')
    """
    error = no_room(error) or error
    message = " ".join(str(error).split())
    return message if isinstance(error, UserError) else f"{type(error).__name__}: {message}".removesuffix(": ")


def is_interruption(error: BaseException) -> bool:
    """Returns whether a KeyboardInterrupt is the error or has led to it.

    A library that is interrupted may raise another error while it tidies up, as Lightning's teardown does.

    Example:
        >>> try:
        ...     try:
        ...         raise KeyboardInterrupt
        ...     finally:
        ...         raise RuntimeError("half torn down")
        ... except RuntimeError as error:
        ...     print(is_interruption(error), is_interruption(RuntimeError()))
        True False
    """
    led: list[BaseException | None] = [error]
    seen: set[int] = set()
    while led:
        before = led.pop()
        if isinstance(before, KeyboardInterrupt):
            return True
        if before is not None and id(before) not in seen:  # errors that are raised again may follow themselves
            seen.add(id(before))
            led += [before.__cause__, before.__context__]
    return False
