"""The errors langlift raises on purpose: one line for a person, a hint, and an exit code."""


class LangliftError(Exception):
    """A failure that a person can act on (exit code 1).

    ``message`` says what is wrong and where, ``hint`` what to do about it. Each is one line.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        # What the user gave may hold line ends; an error stays one line.
        self.message = " ".join(message.splitlines())
        self.hint = " ".join(hint.splitlines())
        super().__init__(self.message)


class InputError(LangliftError):
    """Bad usage or bad input: nothing was started (exit code 2)."""

    exit_code = 2
