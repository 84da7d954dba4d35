"""Heads by the names of their files in conf/task/head."""

from hydra.utils import get_class

from layersel.config import TARGET, build_group, choice, choices
from layersel.tasks.screening.heads.head import Head


def head_named(name: str) -> Head:
    """Returns a head with the options that its file gives it.

    Raises:
        UserError: The file's options are out of range.
    """
    return build_group("task.head", choice("task/head", name))  # type: ignore[no-any-return]


def name_of(head: Head) -> str:
    """Returns the name of the file that gives a head these options, or of its module if none does."""
    names = [name for name in choices("task/head") if head_named(name) == head]
    return names[0] if names else head.name


def head_names(besides: type[Head]) -> list[str]:
    """Returns the names of the heads that are not of the class `besides`, sorted."""
    return [
        name for name in choices("task/head") if not issubclass(get_class(choice("task/head", name)[TARGET]), besides)
    ]
