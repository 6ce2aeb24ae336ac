"""Kaggle's datasets over HTTP: credentials, the list of files, one file's bytes.

The only file that knows the kaggle package. It uses the package's HTTP client (`kagglesdk`), not
the `kaggle` module on top of it, because importing `kaggle` signs in: without credentials it prints
a help page and makes a folder in the home directory; with them it asks the network without a time
limit. Credentials are looked up as that module does.

Two calls are made: `ListDatasetFiles`, page by page, and `DownloadDataset` for one file, which
Kaggle answers with a redirect to signed storage.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from erc_features.acquire.remote import Dataset, Passing, RemoteFile, explained, not_kaggle
from erc_features.errors import CorpusError

CONNECT, READ = 5.0, 30.0  # seconds to wait for a server, and for its next bytes
ATTEMPTS = 5  # in a row without a new byte
WAIT = 0.5  # seconds before the second attempt; doubled each time
LONGEST_WAIT = 60.0  # seconds, whatever Retry-After says
_PAGE = 200  # files per page, the most that Kaggle gives


@dataclass(frozen=True)
class Credentials:
    """The user's credentials. `source` says where they were found; secrets are never shown."""

    source: str
    username: str | None = None
    key: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)


def find_credentials() -> Credentials:
    """The user's Kaggle credentials: a token, a username and key, or what `kaggle auth login` left.

    Raises:
        CorpusError: there are none, or kaggle.json cannot be read; says how to make them.
    """
    from kagglesdk import KaggleCredentials, get_access_token_from_env

    try:
        token, source = get_access_token_from_env()
    except OSError:  # the client tries KAGGLE_API_TOKEN as a file name, which may be too long
        token, source = os.environ.get("KAGGLE_API_TOKEN"), "KAGGLE_API_TOKEN"
    if token and token.strip():
        where = source if source == "KAGGLE_API_TOKEN" else f"the file {source}"
        return Credentials(str(where), token=token.strip())
    path = _config_folder() / "kaggle.json"
    found = _read_key_file(path) if path.is_file() else {}
    named = {"username": os.environ.get("KAGGLE_USERNAME"), "key": os.environ.get("KAGGLE_KEY")}
    found |= {name: value for name, value in named.items() if value}
    username, key = (str(found.get(name) or "").strip() for name in ("username", "key"))
    if username and key:
        where = "KAGGLE_USERNAME and KAGGLE_KEY" if any(named.values()) else str(path)
        return Credentials(where, username=username, key=key)
    with Connection(Credentials("kaggle auth login")) as kaggle, explained(kaggle.source):
        login = KaggleCredentials.load(client=kaggle.client)  # an expired token is renewed
        if login and (token := login.get_access_token()):
            return Credentials(kaggle.source, token=token)
    raise CorpusError(
        "No Kaggle credentials were found. An account is free. On kaggle.com under Settings, API, "
        "make a token and provide it in one of these ways:\n"
        "  export KAGGLE_API_TOKEN=…            or save it as ~/.kaggle/access_token\n"
        "  export KAGGLE_USERNAME=… KAGGLE_KEY=…\n"
        f"  save kaggle.json as {path}, and chmod 600 it\n"
        "Then run the same command again."
    )


def _config_folder() -> Path:
    """The folder where the kaggle package looks for kaggle.json."""
    named, home = os.environ.get("KAGGLE_CONFIG_DIR"), Path.home() / ".kaggle"
    if named or home.is_dir():
        return Path(named) if named else home
    other = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "kaggle"
    return other if (other / "kaggle.json").is_file() else home


def _read_key_file(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise CorpusError(
            f"{path}: cannot be read as JSON. Make a new API key on kaggle.com under Settings, "
            "API, and save the kaggle.json that it downloads in this place."
        )
    return found


class _Adapter(HTTPAdapter):
    """Gives every request a time limit: the client sets none, and so may hang."""

    def send(self, request: Any, *args: Any, **more: Any) -> requests.Response:
        more["timeout"] = more.get("timeout") or (CONNECT, READ)
        return super().send(request, *args, **more)


class Connection:
    """One HTTP session with Kaggle. Each thread needs its own: sessions cannot be shared."""

    def __init__(self, credentials: Credentials) -> None:
        from kagglesdk import KaggleClient

        self.source = credentials.source
        who: Any = credentials
        self.client = KaggleClient(
            username=who.username, password=who.key, api_token=who.token, user_agent="erc"
        )
        self.client.__enter__()
        self._http: Any = self.client.http_client()
        session: Any = self._http._session
        for scheme in ("https://", "http://"):
            session.mount(scheme, _Adapter())
        self._session = session

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.client.__exit__(None, None, None)

    def list_files(self, dataset: Dataset, report: Callable[[int], None]) -> tuple[RemoteFile, ...]:
        """Every file of a dataset, page by page; `report` is called with how many so far.

        Raises:
            CorpusError: no network, refused credentials or licence, no such dataset.
        """
        from kagglesdk.datasets.types.dataset_api_service import ApiListDatasetFilesRequest

        found: dict[str, RemoteFile] = {}
        token, tokens = "", set()
        while token not in tokens:
            tokens.add(token)
            request = ApiListDatasetFilesRequest()
            request.owner_slug, request.dataset_slug = dataset.owner, dataset.name
            request.page_size, request.page_token = _PAGE, token
            page = self._page(dataset, request, first=not found)
            for file in page.dataset_files:
                if file.name:
                    found[file.name] = RemoteFile(file.name, int(file.total_bytes or 0))
            report(len(found))
            token = page.next_page_token
            if not token:
                break
        return tuple(found.values())

    def _page(self, dataset: Dataset, request: Any, *, first: bool) -> Any:
        """One page. A missing network shows at the first, at once and not after retries."""
        attempt = 0
        while True:
            try:
                with explained(self.source, dataset):
                    page = self.client.datasets.dataset_api_client.list_dataset_files(request)
            except (ValueError, KeyError, TypeError, AttributeError):
                raise not_kaggle() from None
            except Passing as error:
                offline = first and isinstance(error.__context__, requests.ConnectionError)
                attempt += 1
                if offline or attempt == ATTEMPTS:
                    raise
                sleep(pause(attempt - 1, error.wait))
                continue
            if page.error_message:
                raise CorpusError(f"Kaggle does not list {dataset}: {page.error_message[:200]}")
            return page

    @contextmanager
    def open(
        self, dataset: Dataset, file: RemoteFile, headers: dict[str, str]
    ) -> Iterator[requests.Response]:
        """A response whose body is the file, or the part of it that `headers` (Range) ask for.

        The client's own call would parse a JSON file as if it were an answer. Its own download
        starts again from the first byte in a new process, unless the partial file is already in
        the final place, where other programs would take it for whole. So the client only makes
        the request, signs it and follows the redirect (without the credentials).
        """
        from kagglesdk.datasets.types.dataset_api_service import ApiDownloadDatasetRequest

        request = ApiDownloadDatasetRequest()
        request.owner_slug, request.dataset_slug = dataset.owner, dataset.name
        request.file_name = file.name
        with explained(self.source, dataset, file):
            prepared = self._http._prepare_request(
                "datasets.DatasetApiService", "DownloadDataset", request
            )
            prepared.headers.update(headers)
            settings = self._session.merge_environment_settings(prepared.url, {}, True, None, None)
            with self._session.send(prepared, **settings) as response:
                if response.status_code != requests.codes.requested_range_not_satisfiable:
                    response.raise_for_status()
                yield response


def pause(attempt: int, wait: float | None = None) -> float:
    """Seconds to wait after attempt number `attempt`, which counts from 0."""
    return min(LONGEST_WAIT, WAIT * 2**attempt if wait is None else wait)
