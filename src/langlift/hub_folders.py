"""Published runs and adapters: a hub repository in place of a folder."""

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
"""The files of a repository that belong to a run or an adapter."""


def local_folder(name: str | Path) -> Path:
    """The folder with this name if there is one, else the downloaded files of the hub repository with this name.

    Raises:
        InputError: it looks like a repository (``owner/name``), but does not exist or the hub cannot be reached.
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
    """The files of the hub repository with this name, if it contains an adapter or a task run; else ``None``.

    Folders and models also give ``None``: these are loaded by name elsewhere.
    """
    if Path(name).exists() or not REPOSITORY.fullmatch(str(name)):
        return None
    from huggingface_hub import hf_hub_download

    for marker in ("head.json", "adapter_config.json"):
        try:
            hf_hub_download(str(name), marker)
        except (OSError, ValueError):  # missing, or the hub is unreachable: loading it as a model reports that
            continue
        return local_folder(name)
    return None
