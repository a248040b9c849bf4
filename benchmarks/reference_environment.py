"""The reference library's own virtual environment, built once from pinned versions."""

import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from langlift.errors import InputError, LangliftError
from langlift.progress import say

VARIABLE = "LANGLIFT_REFERENCE"
PYTHON = "python3.11"
REQUIREMENTS = Path(__file__).with_name("reference-requirements.txt")


def reference_python(python: Path | None) -> Path:
    """The interpreter of the reference environment: named, or built under the user's cache on first use.

    ``LANGLIFT_REFERENCE`` names one too.

    Raises:
        InputError: the one named is not there, or no Python 3.11 is.
        LangliftError: the environment cannot be built.
    """
    named = python or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if named is not None:
        if not named.is_file():
            raise InputError(f"{named}: no such interpreter", f"check --reference or {VARIABLE}")
        return named
    version = sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "langlift"
    folder = cache / f"reference-{version}"
    interpreter = folder / "bin" / "python"
    if not (folder / "complete").exists():
        maker = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which(PYTHON)
        if maker is None:
            raise InputError("the reference library needs Python 3.11, which is not there", f"install {PYTHON}")
        say(f"building the reference environment once in {folder} (downloads PyTorch; minutes)")
        shutil.rmtree(folder, ignore_errors=True)
        pip = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for command in ([maker, "-m", "venv", str(folder)], [*pip, "--requirement", str(REQUIREMENTS)]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                raise LangliftError(
                    f"the reference environment cannot be built: {last}", f"or name one: {VARIABLE}"
                )
        (folder / "complete").touch()
    return interpreter
