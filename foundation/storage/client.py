"""Connections to object stores: which url leads where, whose credentials are taken, and what an error of theirs says."""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import Any

from foundation.errors import InvalidInput
from foundation.storage.names import checked

SCHEMES = ("s3", "gs", "az", "memory")
SETTINGS = ("AWS_", "GOOGLE_", "AZURE_")
"""How the names of the environment's variables begin that decide about a connection."""
PATIENCE = 60.0  # seconds after which a storage that does not answer is an error
NOT_OURS = {408, 429}
"""Statuses among 400 to 499 that are no answer to what was asked, and go away."""
CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS to a file of a service account",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
REFUSALS = {401, 403}

_URL = re.compile(rf"({'|'.join(SCHEMES)})://([^/]*)/?(.*?)/*")
_STATUS = re.compile(r"status(?: code)?: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_lock = threading.Lock()
_users: dict[str, int] = {}  # the process that obstore runs in


class Passing(Exception):
    """An answer after which a request is to be repeated."""


@dataclass(frozen=True)
class Location:
    """A place in an object store; `prefix` is "" or ends in `/`."""

    scheme: str
    bucket: str
    prefix: str

    @property
    def url(self) -> str:
        """The address as people write it, without a slash at its end."""
        return f"{self.scheme}://{self.bucket}/{self.prefix}".rstrip("/") if self.bucket else f"{self.scheme}://"


def located(url: str) -> Location:
    """Where a url leads.

    Raises:
        InvalidInput: it is none, or has what a url of an object store cannot have, such as a password.
    """
    match = _URL.fullmatch(url)
    if not match:
        raise InvalidInput(
            f"{url} is no address of an object store: write {', '.join(f'{name}://' for name in SCHEMES)}"
        )
    scheme, bucket, path = match.groups()
    if "@" in bucket or ":" in bucket:
        # The url is not repeated: what it has there may be a secret.
        raise InvalidInput(
            f"an address with {scheme}:// names a bucket and no user, password or port: the environment sets those"
        )
    if not bucket and scheme != "memory":
        raise InvalidInput(f"{url} names no bucket: write {scheme}://BUCKET/PATH")
    try:
        return Location(scheme, bucket, path and checked(path) + "/")
    except ValueError as error:
        raise InvalidInput(f"{url} cannot be an address: {error}") from error


def client(location: Location, *, repeats: bool = True) -> Any:
    """The store of obstore for the bucket: one a process, for as long as the environment stays the same.

    Args:
        repeats: whether it repeats by itself what failed.
    """
    settings = frozenset((name, text) for name, text in os.environ.items() if name.startswith(SETTINGS))
    with _lock:
        if os.getpid() != _users.setdefault("process", os.getpid()):
            raise RuntimeError(
                f"{location.scheme}:// hangs in a process forked from one that uses it: spawn it instead"
            )
        return _client(location.scheme, location.bucket, repeats or location.scheme == "memory", settings)


@lru_cache(maxsize=64)
def _client(scheme: str, bucket: str, repeats: bool, settings: frozenset[tuple[str, str]]) -> Any:  # noqa: ARG001
    from obstore import store  # heavy
    from obstore.exceptions import BaseError

    if scheme == "memory":
        return _memory(bucket)
    options: dict[str, Any] = {
        "retry_config": {
            "max_retries": 100 if repeats else 0,
            "retry_timeout": timedelta(seconds=PATIENCE),
            "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=3), "base": 2},
        },
        "client_options": {"connect_timeout": timedelta(seconds=5), "timeout": timedelta(seconds=60)},
    }
    try:
        if scheme == "gs":
            return store.GCSStore(bucket, **options)
        if scheme == "az":
            return store.AzureStore(bucket, **options)
        return store.S3Store(bucket, **_with_amazon(options))
    except BaseError as error:
        # The first line names what lacks or is wrong, and not what it holds.
        problem = str(error).partition("\n")[0].partition(" error: ")[2]
        raise InvalidInput(f"{scheme}:// cannot be used: {problem}; set {CREDENTIALS[scheme]}") from None


@cache
def _memory(bucket: str) -> Any:  # noqa: ARG001
    from obstore.store import MemoryStore

    return MemoryStore()


def _with_amazon(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a connection to S3, with what obstore does not take from the environment or a profile by itself."""
    environment = os.environ
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    if not environment.get("AWS_ACCESS_KEY_ID") and not environment.get("AWS_SKIP_SIGNATURE"):
        provider = Profile()
        options["credential_provider"] = provider
        endpoint = endpoint or provider.endpoint
        if provider.region and not environment.get("AWS_REGION"):
            options["region"] = provider.region
    if endpoint:
        options["endpoint"] = endpoint
        options["virtual_hosted_style_request"] = False
        options["client_options"]["allow_http"] = endpoint.startswith("http://")
    return options


class Profile:
    """Credentials of the kind that every program of Amazon's takes: profiles, single sign-on, roles of the machine."""

    def __init__(self) -> None:
        from botocore.exceptions import BotoCoreError
        from botocore.session import get_session

        try:
            session = get_session()
            credentials = session.get_credentials()
            self.region: str | None = session.get_config_variable("region")
            self.endpoint: str | None = session.get_scoped_config().get("endpoint_url")
        except BotoCoreError as error:  # its messages name profiles and files, no secrets
            raise InvalidInput(
                f"s3:// has no credentials: {error}; set AWS_PROFILE to a profile that there is"
            ) from error
        if credentials is None:
            raise InvalidInput(
                f"s3:// has no credentials: set {CREDENTIALS['s3']}, or AWS_SKIP_SIGNATURE=true for a bucket"
                " that anyone may read"
            )
        self._credentials = credentials

    def __call__(self) -> dict[str, Any]:
        frozen = self._credentials.get_frozen_credentials()  # renews them where they are about to expire
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + timedelta(minutes=5),
        }


def status(error: Exception) -> int | None:
    """The HTTP status of an answer that obstore made an error of."""
    match = _STATUS.search(str(error))
    return int(match[1]) if match else None


def lacks_bucket(error: Exception) -> bool:
    """Whether a server says that the bucket is missing, and not the object."""
    code = _CODE.search(str(error))
    return code is not None and code[1] in ("NoSuchBucket", "ContainerNotFound")


def is_passing(error: Exception) -> bool:
    """Whether the same request may get another answer after a while."""
    from obstore.exceptions import GenericError

    if not isinstance(error, GenericError):
        return isinstance(error, Passing)
    number = status(error)
    return number is None or number in NOT_OURS or not 300 <= number < 500


def reason(error: Exception) -> str:
    """What went wrong, and what a person may do about it. Only what is known to hold no secret is taken from the error: its
    text has the url of the request, which is signed with some clouds."""
    from obstore import exceptions

    code = _CODE.search(str(error))
    answer = code[1] if code else status(error)
    if "performing token request" in str(error):
        return f"there are no credentials for it; set those of the cloud ({CREDENTIALS['gs']}; {CREDENTIALS['az']})"
    if isinstance(error, exceptions.PermissionDeniedError) or status(error) in REFUSALS:
        return f"the server refuses it ({answer or 'no permission'}); give these credentials the right to read and write there"
    if isinstance(error, FileNotFoundError) or lacks_bucket(error):
        return f"there is no such bucket ({answer or 'not found'}); make it, or correct the address"
    if isinstance(error, exceptions.PreconditionError):
        return "it was replaced meanwhile; let nothing else write there"
    if answer:
        return f"the server answers {answer}; see to the server, or set its region and endpoint right"
    return "the server does not answer; see to the network, the server, and the endpoint"
