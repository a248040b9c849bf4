"""One commit to a hub, and what its refusals mean for a person."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from langlift.errors import LangliftError
from langlift.sharing.published_files import Content

TOKENS = (
    "make one with write access at https://huggingface.co/settings/tokens, then 'hf auth login' or HF_TOKEN=..."
)
NOTHING = "no file was published"


def upload(repository: str, files: Mapping[str, Content], private: bool, message: str) -> tuple[str, str]:
    """Make the repository if there is none, and commit all files at once; returns its address and the commit.

    Raises:
        LangliftError: no token, or the hub refuses or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token
    from huggingface_hub.errors import RepositoryNotFoundError

    api = HfApi()
    if get_token() is None:
        raise LangliftError("no token for the hub", TOKENS)
    with _in_words(repository, api.endpoint):
        api.whoami()  # a token that is not valid is told before anything else
        try:
            known: Any = api.repo_info(repository)
        except RepositoryNotFoundError:
            known = None
        if known is not None and private and known.private is False:
            raise LangliftError(
                f"{repository}: exists and is public, and --private was asked for",
                "make it private in its settings on the hub, choose another name, or leave --private out",
            )
        if known is None:
            api.create_repo(repository, private=private, exist_ok=True)
        operations = [
            CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
            for name, content in files.items()
        ]
        commit = api.create_commit(repository, operations, commit_message=message)
    return f"{api.endpoint}/{repository}", commit.oid


@contextmanager
def _in_words(repository: str, endpoint: str) -> Iterator[None]:
    """Turn what the hub's library raises into one line and a hint; the token is in neither."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

    try:
        yield
    except LangliftError:
        raise
    except OfflineModeIsEnabled:
        raise LangliftError("HF_HUB_OFFLINE is set, so nothing can be published", "unset it") from None
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        refusal = next((one for one in _causes(error) if isinstance(one, HfHubHTTPError)), None)
        status = refusal.response.status_code if refusal is not None and refusal.response is not None else None
        if status is not None:
            raise _refused(repository, endpoint, status) from error
        if any(isinstance(one, HTTPError | OSError) for one in _causes(error)):
            raise LangliftError(
                f"{endpoint}: cannot be reached ({type(error).__name__})",
                "check the network (and HF_ENDPOINT, if it is set), then run the same command again",
            ) from error
        reason = " ".join(str(error).split())[:300]
        raise LangliftError(
            f"{repository}: {reason}; {NOTHING}", "run it with --dry-run to see the card"
        ) from error


def _refused(repository: str, endpoint: str, status: int) -> LangliftError:
    """What a status of the hub means."""
    owner = repository.partition("/")[0]
    if status == 401:
        return LangliftError(f"{endpoint}: does not accept the token (401); {NOTHING}", TOKENS)
    if status in (403, 404):
        return LangliftError(
            f"{repository}: the token may not write there ({status}); {NOTHING}",
            f"use a name of your own, or a token with write access to {owner}",
        )
    if status == 409:
        return LangliftError(
            f"{repository}: is taken or was changed just now ({status}); {NOTHING}",
            "look at it, then run it again",
        )
    if status >= 500:
        return LangliftError(f"{endpoint}: failed ({status}); {NOTHING}", "run the same command again later")
    return LangliftError(f"{repository}: the hub refuses it ({status}); {NOTHING}", "--debug shows what it says")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and those it was raised from."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__
