"""The one exception that a user is meant to read."""


class UserError(ValueError):
    """Something the user gave cannot be used.

    The message is one line: the argument, the value got, the values allowed, the next step. The entry scripts
    print it without a traceback and exit with status 2; in the library it is an ordinary `ValueError`.
    """


def one_of(argument: str, got: object, allowed: object, hint: str = "") -> UserError:
    """Returns the error for a value outside a closed set of choices.

    Example:
        >>> print(one_of("pooling", "max", ["cls", "mean"]))
        pooling: expected one of cls, mean, but got 'max'
    """
    choices = ", ".join(str(choice) for choice in allowed)  # type: ignore[attr-defined]
    return UserError(f"{argument}: expected one of {choices}, but got {got!r}" + (f"; {hint}" if hint else ""))


def error_line(error: BaseException) -> str:
    """Returns an error in one line: a user's message as it is, any other with the name of its class.

    Example:
        >>> error_line(ZeroDivisionError("division by zero")), error_line(SystemExit())
        ('ZeroDivisionError: division by zero', 'SystemExit')
    """
    message = " ".join(str(error).split())
    return message if isinstance(error, UserError) else f"{type(error).__name__}: {message}".removesuffix(": ")
