"""The errors that langlift raises deliberately: a one-line message, a hint, and an exit code."""

from unicodedata import category

HARMFUL = ("Cc", "Cs", "Zl", "Zp")
"""Categories of characters that move the cursor or start a line; scripts need other invisible characters."""
REORDERING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def printable(text: str) -> str:
    """The text with U+FFFD in place of characters that would disturb a terminal, such as escapes."""
    if text.isprintable():
        return text
    return "".join("\ufffd" if category(c) in HARMFUL or c in REORDERING else c for c in text)


class LangliftError(Exception):
    """A failure that the user can act on (exit code 1).

    ``message`` says what is wrong and where, ``hint`` how to fix it. Each is one line.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        # User input may contain line breaks and terminal escapes; an error stays on one line.
        self.message = printable(" ".join(message.splitlines()))
        self.hint = printable(" ".join(hint.splitlines()))
        super().__init__(self.message)


class InputError(LangliftError):
    """Bad usage or bad input: nothing was started (exit code 2)."""

    exit_code = 2


def is_panic(error: BaseException) -> bool:
    """Whether it is a panic of a library in Rust, such as tokenizers, which is no ``Exception``."""
    return type(error).__name__ == "PanicException"
