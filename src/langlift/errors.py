"""The errors that langlift raises deliberately: a one-line message, a hint, and an exit code."""


class LangliftError(Exception):
    """A failure that the user can act on (exit code 1).

    ``message`` says what is wrong and where, ``hint`` how to fix it. Each is one line.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        # User input may contain line breaks; an error stays on one line.
        self.message = " ".join(message.splitlines())
        self.hint = " ".join(hint.splitlines())
        super().__init__(self.message)


class InputError(LangliftError):
    """Bad usage or bad input: nothing was started (exit code 2)."""

    exit_code = 2
