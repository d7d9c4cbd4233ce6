from __future__ import annotations

import ipaddress

import pytest

from foundation.failure import Failure
from foundation.urls import parse
from pipeline.recipe.download import Download
from pipeline.stages.download.guard import Deadline, Guard, is_public

PRIVATE = """
    0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 168.63.129.16 169.254.169.254
    172.16.0.1 172.31.255.255 192.0.0.192 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.51.100.1 203.0.113.1
    224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 :: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:10.0.0.1
    ::ffff:169.254.169.254 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1 2002:7f00:1:: 2002:a00:1::
    2001::1 2001:db8::1 fc00::1 fd00:ec2::254 fe80::1 fec0::1 ff02::1 100::1
"""
PUBLIC = "1.1.1.1 8.8.8.8 172.32.0.1 100.128.0.1 2606:4700::1111 ::ffff:8.8.8.8 64:ff9b::808:808 2002:808:808::"


@pytest.mark.parametrize("address", PRIVATE.split())
def test_addresses_that_strangers_may_not_name(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC.split())
def test_public_addresses(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/",  # a name: judged after the name service answered
        "http://127.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f.0.0.1/",
        "http://0/",
        "http://[::1]/",
        "http://[::ffff:7f00:1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://１２７.０.０.１/",  # full-width digits
    ],
)
def test_every_spelling_of_a_private_address_is_refused(url: str) -> None:
    with pytest.raises(Failure) as caught:
        Guard((), 5).addresses(parse(url), Deadline(5))
    assert caught.value.reason == "refused_address"


@pytest.mark.parametrize(
    ("entry", "url", "allowed"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000/", True),
        ("127.0.0.1:8000", "http://127.0.0.1:8000/", True),
        ("127.0.0.1:8000", "http://127.0.0.1:8001/", False),
        ("127.0.0.1", "http://localhost/", False),  # the name in the url counts, not what it resolves to
        ("LocalHost", "http://localhost/", True),
        ("::1", "http://[::1]:81/", True),
        ("[::1]:81", "http://[::1]:81/", True),
        ("[::1]:81", "http://[::1]:82/", False),
    ],
)
def test_allow_hosts(entry: str, url: str, allowed: bool) -> None:
    guard = Guard((entry,), 5)
    if allowed:
        assert guard.addresses(parse(url), Deadline(5))
    else:
        with pytest.raises(Failure):
            guard.addresses(parse(url), Deadline(5))


@pytest.mark.parametrize(
    "wrong", [{"allow_hosts": ("http://127.0.0.1:80",)}, {"allow_hosts": ("a:b",)}, {"user_agent": "a\r\nX: b"}]
)
def test_a_recipe_that_could_not_work_is_refused_when_it_is_read(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Download(**wrong)
