"""Runs and adapters that were published: a repository of the hub in the place of a folder."""

import re
from pathlib import Path

from langlift.errors import InputError

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
PUBLISHED = (
    "*.json",
    "*.yaml",
    "README.md",
    "adapter*.safetensors",
    "*_adapter.bin",
    "head.safetensors",
    "mlm_head.safetensors",
    "model*.safetensors",
    "language_adapter/*",
    "fused_adapters/*",
)
"""What of a repository a run or an adapter consists of."""


def local_folder(name: str | Path) -> Path:
    """The folder of this name where there is one, else the files of the hub's repository of this name.

    Raises:
        InputError: it looks like a repository (``owner/name``), and the hub has it not or cannot be reached.
    """
    path = Path(name)
    if path.exists() or not REPOSITORY.fullmatch(str(name)):
        return path
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(name), allow_patterns=list(PUBLISHED)))
    except (OSError, ValueError) as error:  # the hub's own errors are OSErrors, or ValueErrors of names
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"{name}: no such folder, and not found on the Hugging Face hub ({reason})",
            "give a folder that langlift wrote, or a repository such as owner/name",
        ) from None


def run_in_repository(name: str | Path) -> Path | None:
    """The files of the hub's repository of this name, if it has an adapter or a task's run; else ``None``.

    ``None`` is also for folders and for models, which others load by their names.
    """
    if Path(name).exists() or not REPOSITORY.fullmatch(str(name)):
        return None
    from huggingface_hub import hf_hub_download

    for marker in ("head.json", "adapter_config.json"):
        try:
            hf_hub_download(str(name), marker)
        except (OSError, ValueError):  # not there, or the hub is not: loading it as a model says so
            continue
        return local_folder(name)
    return None
