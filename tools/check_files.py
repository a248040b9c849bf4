"""Pre-commit: files that are too large, hold a conflict's marks, or lack the end of their last line."""

import re
import sys
from pathlib import Path

LARGEST = 500_000
CONFLICT = re.compile(rb"^(<{7} |>{7} |={7}$)", re.MULTILINE)


def main(names: list[str]) -> int:
    """1 if there is a complaint."""
    complaints = []
    for path in map(Path, names):
        content = path.read_bytes()
        if len(content) > LARGEST:
            complaints.append(f"{path}: {len(content):,} bytes, more than {LARGEST:,}")
        if b"\0" in content:
            continue
        if CONFLICT.search(content):
            complaints.append(f"{path}: holds the marks of a merge conflict")
        if content and not content.endswith(b"\n"):
            complaints.append(f"{path}: its last line has no end")
    sys.stderr.write("".join(f"{complaint}\n" for complaint in complaints))
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
