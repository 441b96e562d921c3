"""The one exception that stands for a user's mistake."""


class UserError(ValueError):
    """Something the user can mend. Its text is one line: what is wrong, and how to mend it.

    The command line prints it without a traceback and exits with code 2.
    """
