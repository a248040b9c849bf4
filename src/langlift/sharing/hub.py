"""Upload files to the hub in one commit, with readable errors."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from langlift.errors import LangliftError
from langlift.sharing.published_files import Content

TOKENS = (
    "make one with write access at https://huggingface.co/settings/tokens, then 'hf auth login' or HF_TOKEN=..."
)


def upload(repository: str, files: Mapping[str, Content], private: bool, message: str) -> tuple[str, str]:
    """Create the repository if necessary, and commit all files at once; returns its URL and the commit's id.

    Raises:
        LangliftError: no token, or the hub rejects the files or cannot be reached.
    """
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
    """An error and those that caused it."""
    while error is not None:
        yield error
        error = error.__cause__
