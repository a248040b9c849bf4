"""``langlift push``: publish a run, an adapter or a model, with a model card, in one commit."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from langlift.backbones.base_name import BaseName
from langlift.bundled_models import BUNDLED
from langlift.checkpoints.layouts import CONFIG_FILE
from langlift.errors import InputError
from langlift.hub_folders import REPOSITORY
from langlift.languages import Language
from langlift.progress import say
from langlift.sharing.export_records import README
from langlift.sharing.hub import upload
from langlift.sharing.published_cards import published_card
from langlift.sharing.published_files import Publication, find_publication, made_portable, on_hub, size_of


@dataclass(frozen=True)
class Pushed:
    """The result of ``langlift push``: the files uploaded, or with ``dry_run`` the files to upload.

    ``files`` are sizes in bytes by name. ``remarks`` name facts missing from the card. ``url`` and ``commit`` are
    ``None`` for a dry run. ``card`` is the README.md.
    """

    repository: str
    kind: str
    files: dict[str, int]
    bytes: int
    private: bool
    dry_run: bool
    remarks: list[str] = field(default_factory=list)
    url: str | None = None
    commit: str | None = None
    card: str = ""


def push(
    source: Path,
    repository: str,
    *,
    private: bool = False,
    dry_run: bool = False,
    language: Language | None = None,
    licence: str | None = None,
    base: str | None = None,
    data: Sequence[Path] = (),
) -> Pushed:
    """Publish ``source`` as the hub repository ``owner/name``, which is created if necessary.

    Weights, settings, metrics and the card are uploaded; checkpoints, training text, predictions and local paths
    never are. ``language``, ``licence`` (an identifier such as ``cc-by-4.0``) and ``base`` (a hub id) replace what
    the run recorded; ``data`` are built data folders, whose manifests give sources and licences. The token is
    read from ``HF_TOKEN`` or ``hf auth login``; ``HF_ENDPOINT`` selects another hub.

    Raises:
        InputError: nothing to publish, an unfinished run, or an invalid repository name.
        LangliftError: no token, or the hub rejects the files or cannot be reached; then nothing was published.
    """
    if not REPOSITORY.fullmatch(repository):
        raise InputError(
            f"{repository}: not the name of a repository", "write it as owner/name, such as anna/welsh-xlmr"
        )
    publication = find_publication(source)
    remarks: list[str] = []
    new_base = _published_base(publication, base, remarks)
    public = new_base is not None and new_base not in BUNDLED and (base is not None or on_hub(new_base))
    card = published_card(publication, repository, new_base, public, language, licence, data, remarks)
    files = dict(sorted({**made_portable(publication, new_base), README: card.encode()}.items()))
    sizes = {name: size_of(content) for name, content in files.items()}
    result = Pushed(
        repository=repository,
        kind=publication.kind,
        files=sizes,
        bytes=sum(sizes.values()),
        private=private,
        dry_run=dry_run,
        remarks=remarks,
        card=card,
    )
    for remark in remarks:
        say(remark)
    if dry_run:
        return result
    say(f"publishing {len(files)} files ({result.bytes / 1e6:,.1f} MB) as {repository}")
    url, commit = upload(repository, files, private, f"{publication.kind} by langlift")
    return replace(result, url=url, commit=commit)


def _published_base(publication: Publication, base: str | None, remarks: list[str]) -> str | None:
    """The public name of the base model; of a local folder, its name."""
    before = publication.base
    if base is not None:
        return BaseName(base).name
    if before is None or before in BUNDLED:
        return before
    if on_hub(before):
        if not isinstance(try_to_load_from_cache(before, "config.json"), str):
            remarks.append(
                f"the base model {before} is assumed to be on the hub, but was not loaded from there: "
                "if it is a local folder, publish it too, and give --base owner/name"
            )
        return before
    if CONFIG_FILE in publication.files:
        remarks.append(f"the base model {before} is a local folder: publish it too, and give --base owner/name")
    return Path(before).name
