"""The one exception that stands for a user's mistake, and the codes that processes exit with."""

EXIT_FAILURE = 1
EXIT_USER_ERROR = 2
_LONGEST = 2000  # characters of a line


class UserError(ValueError):
    """Something the user can fix. Its text is one line: what is wrong, and how to fix it.

    The command line prints it without a traceback and exits with code 2.
    """


class DivergedError(UserError):
    """A training run whose gradients stay infinite or NaN."""


class DamageError(UserError):
    """A file that was written whole is missing or has changed since; an older one may do in its place."""


def one_line(error: BaseException) -> str:
    """The text of an error as one line that a terminal shows: of what it quotes, line ends go and much is cut."""
    text = " ".join(str(error).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 200]} ... {text[-190:]}"


def exit_code_of_signal(number: int) -> int:
    """The code of a process that ended because of a signal, as shells report it: 130 for SIGINT, 143 for SIGTERM."""
    return 128 + number
