"""Stands in for ``langlift`` where the pages' commands are run: the real command, with a small budget.

Trainings are cut to a few steps, scores to a few sentences; the playground is opened, looked at and ended.
"""

import re
import subprocess
import sys
from urllib.request import urlopen

LANGLIFT = [sys.executable, "-m", "langlift"]
TASK = ("--set", "epochs=1", "--seeds", "1", "--train-examples", "24")
BUDGETS: dict[str, tuple[str, ...]] = {
    "adapt": ("--steps", "4"),
    "adapt-family": ("--steps", "4"),
    "diagnose": ("--sentences", "2", "--no-timing"),
    "fuse": TASK,
    "score": ("--sentences", "3"),
    "task": TASK,
}


def main(arguments: list[str]) -> int:
    """The exit code of the real command."""
    if arguments[0] == "playground":
        return playground(arguments)
    budget = list(BUDGETS.get(arguments[0], ()))
    if arguments[:2] == ["vocab", "build"]:
        budget = ["--pieces", "50"] if "--pieces" in arguments else ["--size", "700"]
    return subprocess.run([*LANGLIFT, *arguments, *budget], check=False).returncode


def playground(arguments: list[str]) -> int:
    """Open the page, see that it answers, end it."""
    with subprocess.Popen([*LANGLIFT, *arguments, "--port", "7987"], stderr=subprocess.PIPE, text=True) as served:
        said = []
        for line in served.stderr or ():
            said.append(line)
            if match := re.search(r"http://127\.0\.0\.1:\d+/", line):
                with urlopen(match[0], timeout=60) as page:
                    answered = b"langlift" in page.read()
                served.terminate()
                return 0 if answered else 1
    sys.stderr.writelines(said)
    return served.returncode or 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
