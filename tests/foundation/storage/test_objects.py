"""Object stores as a storage: the conformance tests, broken connections, servers that are killed, and whose credentials count.

Not shown here: az:// and gs:// against a server. obstore speaks the XML interface of Google Cloud Storage, which neither of its
emulators does (fake-gcs-server answers 400 to an upload), and an emulator of Azure is no package that the tests have.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from foundation.errors import InvalidInput
from foundation.extras import MissingExtra
from foundation.storage import Disk, Objects, StorageError, client, objects, open_storage
from tests.foundation.storage.conformance import Racers, SharedStorageTests, StorageTests, check_winners
from tests.foundation.storage.proxy import Cutting
from tests.support.paths import REPOSITORY
from tests.support.s3 import KEY, SECRET, S3Server

pytestmark = pytest.mark.slow

FORKED = """
import os, sys
from foundation.storage import open_storage
storage = open_storage("memory://forked")
storage.put("a", b"1")
if os.fork() == 0:
    try:
        storage.read("a")
    except RuntimeError as error:
        print(error)
    os._exit(0)
os.wait()
"""


def put_in_environment(server: S3Server, monkeypatch: pytest.MonkeyPatch, **others: str) -> None:
    for name in [name for name in os.environ if name.startswith(client.SETTINGS)]:
        monkeypatch.delenv(name)
    for name, text in (server.environment() | others).items():
        monkeypatch.setenv(name, text)


@pytest.fixture(scope="module")
def moto() -> Iterator[S3Server]:
    with S3Server.moto() as server:
        server.make_bucket("bucket")
        yield server


@pytest.fixture(scope="module")
def versitygw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server.versitygw(tmp_path_factory.mktemp("versitygw") / "objects") as server:
        server.make_bucket("bucket")
        yield server


@pytest.fixture
def s3(versitygw: S3Server, monkeypatch: pytest.MonkeyPatch) -> Objects:
    """An empty storage on versitygw."""
    put_in_environment(versitygw, monkeypatch)
    return Objects(f"s3://bucket/{uuid.uuid4().hex}")


@pytest.fixture
def proxy(versitygw: S3Server, s3: Objects, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cutting]:
    """Between this process and the server of `s3`; the storage is connected through it."""
    with Cutting(versitygw.url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        s3.put("there", b"before")
        yield proxy


class TestMemory(StorageTests):
    @pytest.fixture
    def address(self) -> str:
        return f"memory://{uuid.uuid4().hex}/[run] 悟空 100%"


class TestMoto(SharedStorageTests):
    large, many = 20 << 20, 100  # it is slow; versitygw has the large ones

    @pytest.fixture
    def address(self, moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
        put_in_environment(moto, monkeypatch)
        return f"s3://bucket/{uuid.uuid4().hex}/runs"


class TestVersitygw(SharedStorageTests):
    @pytest.fixture
    def address(self, s3: Objects) -> str:
        return f"{s3.address}/[run] 悟空 100%"


def test_a_creation_whose_answer_is_lost_is_the_callers(proxy: Cutting, s3: Objects) -> None:
    for number, losses in enumerate((1, 3)):
        proxy.cut(losses, "PUT")
        assert s3.create(f"a{number}", b"of this caller")
        assert proxy.lost == losses and s3.read(f"a{number}") == b"of this caller"
        assert not s3.create(f"a{number}", b"of this caller")  # where no connection broke, "exists" is another's


def test_a_creation_whose_answer_is_lost_is_anothers_where_that_was_first(proxy: Cutting, s3: Objects) -> None:
    assert s3.create("a", b"of another")
    proxy.cut(1, "PUT")
    assert not s3.create("a", b"of this caller")
    assert proxy.lost == 1 and s3.read("a") == b"of another"


def test_creations_in_a_race_on_a_line_that_loses_answers(proxy: Cutting, s3: Objects) -> None:
    def create(caller: int) -> list[str]:
        return [f"{caller} {name}" for name in names if s3.create(name, f"{caller} {name}".encode())]

    names = [f"race/{number}" for number in range(10)]
    proxy.cut(40, "PUT")
    with ThreadPoolExecutor(8) as threads:
        won = [text for texts in threads.map(create, range(8)) for text in texts]
    assert proxy.lost == 40
    assert sorted(won) == sorted(s3.read(name).decode() for name in names)


@pytest.mark.parametrize("losses", [1, 2])
def test_requests_whose_answer_is_lost_are_repeated(proxy: Cutting, s3: Objects, losses: int, tmp_path: Path) -> None:
    content = np.random.default_rng(2).bytes(20 << 20)
    (tmp_path / "large").write_bytes(content)
    s3.put("large", content)
    attempts: list[Callable[[], object]] = [
        lambda: s3.put("a", b"1"),
        lambda: s3.put("b", tmp_path / "large"),
        lambda: s3.read("there"),
        lambda: s3.read("there", 1, 3),
        lambda: s3.fetch("large", tmp_path / "fetched"),
        lambda: s3.open("large").read_at(10, 9 << 20),
        lambda: list(s3.list()),
        lambda: s3.copy("large", "c"),
        lambda: s3.remove("there"),
        lambda: s3.remove("there"),
    ]
    for attempt in attempts:
        proxy.cut(losses)
        attempt()
        assert proxy.lost == losses
    assert s3.read("b") == s3.read("c") == (tmp_path / "fetched").read_bytes() == content
    assert [entry.name for entry in s3.list()] == ["a", "b", "c", "large"]


@pytest.mark.parametrize(("status", "code"), [(404, "NoSuchUpload"), (503, "SlowDown"), (500, "InternalError")])
def test_the_end_of_an_upload_in_parts_that_fails(
    proxy: Cutting, s3: Objects, tmp_path: Path, status: int, code: str
) -> None:
    """After a lost answer some servers know the upload no more: what is repeated is the whole file."""
    content = np.random.default_rng(3).bytes(20 << 20)
    (tmp_path / "large").write_bytes(content)
    proxy.cut(1, "POST .*uploadId=")
    s3.put("a", tmp_path / "large")
    assert proxy.lost == 1 and s3.read("a") == content
    proxy.refuse(1, "POST .*uploadId=", status, code)
    s3.put("b", tmp_path / "large")
    assert proxy.lost == 1 and s3.read("b") == content


@pytest.mark.parametrize(
    ("status", "code"), [(409, "ConditionalRequestConflict"), (503, "SlowDown"), (500, "InternalError"), (429, "Slow")]
)
def test_a_creation_that_is_to_be_tried_again(proxy: Cutting, s3: Objects, status: int, code: str) -> None:
    proxy.refuse(2, "PUT", status, code)
    assert s3.create("a", b"1")
    assert proxy.lost == 2 and not s3.create("a", b"1")


def test_an_answer_that_stays_is_not_asked_for_again(proxy: Cutting, s3: Objects) -> None:
    proxy.refuse(100, "", 400, "InvalidRequest")
    for attempt in every_request(s3):
        check_message(
            attempt, "the server answers InvalidRequest; see to the server, or set its region and endpoint right"
        )
    assert proxy.lost == len(every_request(s3))


def test_a_server_that_is_killed_in_a_race_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with S3Server.versitygw(tmp_path / "objects") as server:
        put_in_environment(server, monkeypatch)
        storage = Objects(f"{server.make_bucket('bucket')}/run")
        racers = Racers(storage, processes=8, names=60)
        racers.start()
        while len(list((tmp_path / "objects/bucket").rglob("*.json"))) < 10:
            threading.Event().wait(0.002)
        server.kill()
        before = len(list((tmp_path / "objects/bucket").rglob("*.json")))
        assert before < 60  # in the middle
        threading.Event().wait(2)
        server.start()
        check_winners(storage, racers.winners(), racers.names)


def test_a_file_that_is_replaced_while_it_is_read_in_parts(s3: Objects, tmp_path: Path) -> None:
    size = 2 * objects.PART + 1
    s3.put("a", b"a" * size)
    with s3.open("a") as file:
        file.read(10)
        s3.put("a", b"b" * size)
        with pytest.raises(StorageError, match="a cannot be read: it was replaced meanwhile"):
            file.read_at(10, objects.PART)
    done = threading.Event()

    def write() -> None:
        try:
            for letter in b"cdef":
                s3.put("a", bytes([letter]) * size)
        finally:
            done.set()

    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(write)
        while not done.is_set():
            s3.fetch("a", tmp_path / "fetched")
            for content in ((tmp_path / "fetched").read_bytes(), s3.read("a", 1)):
                assert len(content) in (size, size - 1) and len(set(content)) == 1
        writing.result()


def test_what_a_server_does_not_copy_by_itself(s3: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "COPIED", 10)
    s3.put("a", b"more than ten bytes")
    s3.copy("a", "b")
    assert s3.read("b") == b"more than ten bytes"
    with pytest.raises(FileNotFoundError):
        s3.copy("none", "b")


def test_a_large_creation_is_refused(s3: Objects) -> None:
    with pytest.raises(ValueError, match="create takes at most 1048576"):
        s3.create("a", b"x" * (objects.SMALL + 1))
    assert s3.create("a", b"x" * objects.SMALL)


def every_request(storage: Objects) -> list[Callable[[], object]]:
    return [
        lambda: storage.put("a", b"1"),
        lambda: storage.create("a", b"1"),
        lambda: storage.read("a"),
        lambda: storage.read("a", 0, 5),
        lambda: list(storage.list()),
        lambda: storage.remove("a"),
    ]


def check_message(attempt: Callable[[], object], expected: str) -> None:
    with pytest.raises(StorageError) as raised:
        attempt()
    message = str(raised.value)
    assert expected in message and message.endswith(", then run the same command again") and "\n" not in message
    assert SECRET not in message and "X-Amz" not in message and KEY not in message


def test_no_such_bucket(versitygw: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_environment(versitygw, monkeypatch)
    for attempt in every_request(Objects("s3://nobodys/run")):
        check_message(attempt, "there is no such bucket (NoSuchBucket); make it, or correct the address")


def test_credentials_that_the_server_does_not_take(versitygw: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_environment(versitygw, monkeypatch, AWS_SECRET_ACCESS_KEY="another")
    for attempt in every_request(Objects("s3://bucket/run")):
        check_message(attempt, "the server refuses it (SignatureDoesNotMatch); give these credentials the right")


def test_a_server_that_stays_away(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PATIENCE", 0.5)
    put_in_environment(moto, monkeypatch, AWS_ENDPOINT_URL="http://127.0.0.1:9")
    for attempt in every_request(Objects("s3://bucket/run")):
        check_message(attempt, "the server does not answer; see to the network, the server, and the endpoint")


def test_credentials_and_endpoint_of_a_profile(
    versitygw: S3Server, s3: Objects, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    s3.put("a", b"1")
    put_in_environment(versitygw, monkeypatch)
    for name in versitygw.environment():
        monkeypatch.delenv(name)
    (tmp_path / "config").write_text(f"[profile test]\nregion = us-east-1\nendpoint_url = {versitygw.url}\n")
    (tmp_path / "credentials").write_text(f"[test]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "test")
    assert s3.read("a") == b"1" and s3.create("b", b"2")
    monkeypatch.setenv("AWS_PROFILE", "nobodys")
    with pytest.raises(
        InvalidInput, match=r"s3:// has no credentials: .*\(nobodys\).*; set AWS_PROFILE to a profile that there is"
    ):
        s3.read("a")
    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(InvalidInput, match="s3:// has no credentials: set AWS_ACCESS_KEY_ID"):
        s3.read("a")


@pytest.mark.parametrize(
    ("address", "settings", "expected"),
    [
        ("az://container", {}, "az:// cannot be used: Account must be specified; set AZURE_STORAGE_ACCOUNT_NAME and"),
        (
            "az://container",
            {"AZURE_STORAGE_ACCOUNT_NAME": "account", "AZURE_STORAGE_ACCOUNT_KEY": "hunter2 "},
            "az:// cannot be used: Invalid Access Key",
        ),
        (
            "gs://bucket",
            {"GOOGLE_APPLICATION_CREDENTIALS": "/none.json"},
            "gs:// cannot be used: Unable to open service account file from /none.json",
        ),
    ],
)
def test_settings_that_cannot_be_used(
    address: str, settings: dict[str, str], expected: str, moto: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_environment(moto, monkeypatch, **settings)
    for attempt in every_request(Objects(address)):
        with pytest.raises(InvalidInput) as raised:
            attempt()
        assert str(raised.value).startswith(expected) and "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("gs://bucket/a/b//", "gs://bucket/a/b"),
        ("az://container/悟空 [1]", "az://container/悟空 [1]"),
        ("memory://", "memory://"),
        ("memory://a/b", "memory://a/b"),
        ("file:///tmp/a b%20#c?d", "/tmp/a b%20#c?d"),
        ("file://localhost/tmp", "/tmp"),
        ("runs/[1]", "runs/[1]"),
        (Path("/tmp"), "/tmp"),
    ],
)
def test_addresses(address: str | Path, expected: str) -> None:
    storage = open_storage(address)
    assert storage.address == expected and open_storage(storage.address) == storage
    assert isinstance(storage, Objects if "://" in expected else Disk)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://host/run", "nothing can be kept at http://; use a folder, or s3://, gs://, az://, memory://, file://"),
        ("S3://bucket", "nothing can be kept at S3://"),
        ("s3://", "s3:// names no bucket: write s3://BUCKET/PATH"),
        ("s3:///run", "names no bucket"),
        ("s3://bucket/a//b", "cannot be an address: 'a//b' is no name"),
        ("s3://bucket/../b", "cannot be an address"),
        ("file://host/run", "names no folder of this machine: write file:///PATH"),
    ],
)
def test_addresses_of_nothing(address: str, expected: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        open_storage(address)
    assert expected in str(raised.value)


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidInput, match="no user, password or port") as raised:
        open_storage("s3://user:hunter2@bucket/run")
    assert "hunter2" not in str(raised.value)


def test_without_the_packages_of_object_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foundation.extras._is_installed", lambda name: name != "s3fs")
    with pytest.raises(MissingExtra, match=r"s3:// needs s3fs: pip install 'zhclip\[cloud\]'"):
        open_storage("s3://bucket/run")
    assert open_storage("/tmp").address == "/tmp"


def test_a_disk_loads_nothing_of_object_stores() -> None:
    code = "import sys; from foundation.storage import *; open_storage('/tmp/none').remove('a'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert not {"obstore", "botocore", "pyarrow", "fsspec"} & set(done.stdout.split())


def test_a_forked_process_says_why_it_cannot() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "memory:// hangs in a process forked from one that uses it: spawn it instead\n"
