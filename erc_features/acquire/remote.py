"""A dataset on Kaggle, its files, and what an error of the client means for them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import requests

from erc_features.errors import CorpusError


@dataclass(frozen=True)
class Dataset:
    """A dataset on Kaggle: kaggle.com/datasets/<owner>/<name>."""

    owner: str
    name: str

    @property
    def page(self) -> str:
        """The address where people read about it and accept its licence."""
        return f"https://www.kaggle.com/datasets/{self.owner}/{self.name}"

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}"


@dataclass(frozen=True)
class RemoteFile:
    """A file of a dataset: its path within it, and its size in bytes (0 if unknown)."""

    name: str
    size: int


class Unavailable(CorpusError):
    """One file cannot be fetched, though others can."""


class Passing(CorpusError):
    """A fault that may pass. `wait`: after how many seconds, if the server says so."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


_BROKEN = (
    "Kaggle cannot be reached, or the connection broke. Check the network (and HTTPS_PROXY, if "
    "there is a proxy), then run the same command again: it resumes where it stopped. "
    "`erc sample data/raw` renders a small corpus offline."
)


@contextmanager
def explained(
    source: str, dataset: Dataset | None = None, file: RemoteFile | None = None
) -> Iterator[None]:
    """Turns the client's errors into ours, without their texts, which hold signed addresses."""
    try:
        yield
    except requests.HTTPError as error:
        raise _refusal(error, source, dataset, file) from None
    except requests.exceptions.SSLError:
        if file:  # the certificate was good when the files were listed
            raise Passing(_BROKEN) from None
        raise CorpusError(
            "Kaggle's certificate cannot be checked. Set this machine's clock; behind a proxy "
            "that reads traffic, name its certificates in REQUESTS_CA_BUNDLE."
        ) from None
    except (requests.exceptions.InvalidHeader, UnicodeEncodeError):  # Basic auth is latin-1
        raise _bad_credentials(source) from None
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
        raise Passing(_BROKEN) from None
    except requests.RequestException:
        raise not_kaggle() from None


def not_kaggle() -> CorpusError:
    return CorpusError(
        "The answer is not Kaggle's: it is not the expected JSON. It may come from a sign-in page "
        "of the network; open kaggle.com in a browser, then run the same command again."
    )


def _bad_credentials(source: str) -> CorpusError:
    return CorpusError(
        f"Kaggle does not accept the credentials from {source} (401). Make a new token on "
        "kaggle.com under Settings, API, put it in their place, and run the same command again."
    )


def _refusal(
    error: requests.HTTPError, source: str, dataset: Dataset | None, file: RemoteFile | None
) -> CorpusError:
    response = error.response
    status = response.status_code
    if status < 400:  # an error in the body of an answer with status 200
        status = int(response.json()["code"])
    what = f"{file.name} of {dataset}" if file else str(dataset or "your account")
    if status == 401:
        return _bad_credentials(source)
    if status == 403:
        page = dataset.page if dataset else "kaggle.com"
        return CorpusError(
            f"Kaggle refuses {what} to this account (403). Open {page} in a browser, sign in, "
            "press Download once and accept its licence; a private dataset must be shared with "
            "you. Then run the same command again."
        )
    if status in (404, 410) and file:
        return Unavailable(f"{file.name}: Kaggle lists it but does not serve it ({status})")
    if status in (404, 410):
        return CorpusError(
            f"No dataset {what} on Kaggle (404). --owner and --name are the two parts of its "
            "address, kaggle.com/datasets/<owner>/<name>; for MELD, zaber666 and meld-dataset."
        )
    if status == 429 or status >= 500:
        why = "asks for fewer requests" if status == 429 else "has an internal error"
        wait = response.headers.get("Retry-After", "")
        return Passing(
            f"Kaggle {why} ({status}) on {what}. Wait a few minutes and run the same command "
            "again; what is already fetched is kept.",
            float(wait) if wait.isascii() and wait.isdigit() else None,
        )
    advice = f" Try it in a browser: {dataset.page}" if dataset else ""
    return CorpusError(f"Kaggle refuses {what} ({status}).{advice}")
