"""``make release``: build sdist and wheel, check them, install the wheel in a new environment and run it.

Nothing is uploaded: the command that does is printed for a person to run.
"""

import os
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent
LARGEST_WHEEL = 60_000_000
NEEDED = (
    "langlift/py.typed",
    "langlift/bundled/langlift-mini/model-8bit.safetensors",
    "langlift/bundled/langlift-nano/model.safetensors",
    "langlift/presets/nano.yaml",
    "langlift/templates/adapt.md",
)
"""Files that a wheel must hold, one of each kind of package data."""


def main(out: Path) -> None:
    """Build into ``out``, which is emptied first; exits with a line that says what is wrong."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    if f"\n## {version}" not in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"):
        sys.exit(f"CHANGELOG.md has no heading for {version}")
    if f"\nversion: {version}\n" not in (ROOT / "CITATION.cff").read_text(encoding="utf-8"):
        sys.exit(f"CITATION.cff does not say version {version}")
    shutil.rmtree(out, ignore_errors=True)
    # Without isolation: setuptools is in the environment, pinned, and nothing is fetched.
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT))
    built = sorted(out.iterdir())
    _run(sys.executable, "-m", "twine", "check", "--strict", *map(str, built))
    wheel = next(path for path in built if path.suffix == ".whl")
    check_wheel(wheel)
    try_wheel(wheel, version)
    sys.stdout.write(
        f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, checked, installed and run\n"
        f"To publish: {sys.executable} -m twine upload {' '.join(map(str, built))}\n"
    )


def check_wheel(wheel: Path) -> None:
    """Its size, what must be in it, and what must not."""
    if (size := wheel.stat().st_size) >= LARGEST_WHEEL:
        sys.exit(f"{wheel.name}: {size:,} bytes, {LARGEST_WHEEL:,} or more")
    names = zipfile.ZipFile(wheel).namelist()
    for needed in NEEDED:
        if needed not in names:
            sys.exit(f"{wheel.name}: lacks {needed}")
    if strays := [name for name in names if not name.startswith(("langlift/", "langlift-"))]:
        sys.exit(f"{wheel.name}: holds {strays[0]}, which is none of the package's")


def try_wheel(wheel: Path, version: str) -> None:
    """Install the wheel alone in a new environment that sees this one's libraries, and run the command."""
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python, command = Path(folder, "bin", "python"), Path(folder, "bin", "langlift")
        install = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel))
        subprocess.run([str(python), *install], cwd=folder, env=alone, check=True)
        own = _said(folder, alone, python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
        # Dependencies come from this environment; langlift must not (an editable one is not found by PYTHONPATH).
        libraries = [path for path in sys.path if path.endswith("site-packages")]
        beside = alone | {"PYTHONPATH": os.pathsep.join([own, *libraries])}
        if "adapt-family" not in _said(folder, beside, command, "--help"):
            sys.exit(f"{wheel.name}: langlift --help does not list its commands")
        program = (
            "from importlib import metadata as m; import langlift as l; print(m.version('langlift'), l.__file__)"
        )
        found, place = _said(folder, beside, python, "-c", program).split()
        if found != version or not place.startswith(own):
            sys.exit(f"{wheel.name}: ran langlift {found} from {place}")


def _said(folder: str, environment: dict[str, str], program: Path, *arguments: str) -> str:
    """What a program printed, or an exit with its last line."""
    run = subprocess.run(
        [str(program), *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if run.returncode:
        sys.exit(f"{program.name} {' '.join(arguments)} failed: {run.stderr.strip()[-300:]}")
    return run.stdout.strip()


def _run(*command: str) -> None:
    if code := subprocess.run(command, cwd=ROOT, check=False).returncode:
        sys.exit(code)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "dist")
