"""``langlift push``: publish a run, an adapter or a model, with a model card, in one commit."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from langlift.backbones.base_name import BaseName
from langlift.bundled_models import BUNDLED
from langlift.checkpoints.layouts import CONFIG_FILE
from langlift.errors import InputError, LangliftError
from langlift.hub_folders import REPOSITORY
from langlift.languages import Language
from langlift.progress import say
from langlift.sharing.publication import (
    Content,
    Publication,
    find_publication,
    made_portable,
    on_hub,
    published_card,
)
from langlift.sharing.reference import README

TOKENS = "make one that may write at https://huggingface.co/settings/tokens, then 'hf auth login' or HF_TOKEN=..."


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
    source: Path | str,
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
        raise InputError(f"{repository}: not a repository's name", "it is owner/name, such as anna/welsh-xlmr")
    publication = find_publication(Path(source))
    remarks: list[str] = []
    new_base = _published_base(publication, base, remarks)
    public = new_base is not None and new_base not in BUNDLED and (base is not None or on_hub(new_base))
    card = published_card(publication, repository, new_base, public, language, licence, data, remarks)
    files = dict(sorted({**made_portable(publication, new_base), README: card.encode()}.items()))
    sizes = {name: len(one) if isinstance(one, bytes) else one.stat().st_size for name, one in files.items()}
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
    url, commit = _upload(repository, files, private, f"{publication.kind} by langlift")
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


def _upload(repository: str, files: Mapping[str, Content], private: bool, message: str) -> tuple[str, str]:
    """Create the repository if necessary, and commit all files at once; returns its URL and the commit's id."""
    from huggingface_hub import CommitOperationAdd, HfApi, get_token
    from huggingface_hub.errors import RepositoryNotFoundError

    api = HfApi()
    if get_token() is None:
        raise LangliftError("no token for the hub", TOKENS)
    with _explained_errors(repository, api.endpoint):
        api.whoami()  # reports an invalid token before anything else
        try:
            known: Any = api.repo_info(repository)
        except RepositoryNotFoundError:
            api.create_repo(repository, private=private, exist_ok=True)
        else:
            if private and known.private is False:
                raise LangliftError(
                    f"{repository}: exists and is public, but --private was given",
                    "make it private in its settings on the hub, choose another name, or omit --private",
                )
        operations = [
            CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
            for name, content in files.items()
        ]
        commit = api.create_commit(repository, operations, commit_message=message)
    return f"{api.endpoint}/{repository}", commit.oid


@contextmanager
def _explained_errors(repository: str, endpoint: str) -> Iterator[None]:
    """Turn the hub library's errors into one line and a hint, without the token."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    try:
        yield
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        causes = list(_causes(error))
        responses = (one.response for one in causes if isinstance(one, HfHubHTTPError))
        status = next((response.status_code for response in responses if response is not None), None)
        if status is not None:
            message, hint = _rejected(repository, endpoint, status)
            raise LangliftError(f"{message} ({status}); no file was published", hint) from error
        if any(isinstance(one, HTTPError | OSError) for one in causes):
            raise LangliftError(
                f"{endpoint}: cannot be reached ({type(error).__name__})",
                "check the network, HF_HUB_OFFLINE and HF_ENDPOINT, then run the same command again",
            ) from error
        reason = " ".join(str(error).split())[:300]
        raise LangliftError(
            f"{repository}: {reason}; no file was published", "run it with --dry-run to see the card"
        ) from error


def _rejected(repository: str, endpoint: str, status: int) -> tuple[str, str]:
    if status == 401:
        return f"{endpoint}: does not accept the token", TOKENS
    if status in (403, 404):
        return f"{repository}: the token may not write there", "use a name of your own, or another token"
    if status == 409:
        return f"{repository}: is taken or was changed just now", "look at it, then run the same command again"
    return f"{repository}: failed", "run the same command again later; --debug shows the hub's message"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
