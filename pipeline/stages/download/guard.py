"""The one place where a connection is opened: names are resolved, addresses judged, and every wait is bounded."""

from __future__ import annotations

import io
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from foundation.failure import Failure
from foundation.urls import Target, host_and_port

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Refused whatever the Python version says of them. `is_global` follows IANA's special-purpose registries (RFC 6890).
_REFUSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",  # "this network"; Linux connects to itself
        "100.64.0.0/10",  # carrier-grade NAT, RFC 6598; a cloud's metadata service lives here as well
        "169.254.0.0/16",  # link-local, among them 169.254.169.254
        "192.0.0.0/24",  # IETF protocol assignments
        "192.88.99.0/24",  # 6to4 relays
        "168.63.129.16/32",  # a cloud's host agent, on a public-looking address
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",  # site-local, deprecated but still routed in places
        "2001::/23",  # IETF protocol assignments, Teredo among them: carries an IPv4 address
        "::/96",  # IPv4-compatible, deprecated
        "64:ff9b:1::/48",  # NAT64, local use
    )
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: the IPv4 address is the last 32 bits


def is_public(address: Address) -> bool:
    """Whether a stranger's url may lead to `address`. IPv4 inside IPv6 (mapped, 6to4, NAT64) is judged as IPv4."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    return not any(address in network for network in _REFUSED if network.version == address.version)


class Deadline:
    """A moment on the monotonic clock by which everything must be done."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left; negative when over."""
        return self._end - time.monotonic()

    def wait(self, longest: float) -> float:
        """How long one wait may be: `longest` seconds or what is left. Raises TimeoutError when nothing is left."""
        left = self.left()
        if left <= 0:
            raise TimeoutError("deadline")
        return min(longest, left)


class BoundSocket:
    """A connected socket whose every wait is bounded by a deadline; enough of one for http.client's HTTPResponse."""

    def __init__(self, sock: socket.socket, deadline: Deadline, timeout: float) -> None:
        self._sock, self._deadline, self._timeout = sock, deadline, timeout

    def sendall(self, data: bytes) -> None:
        """Send all of `data`; raises TimeoutError."""
        self._sock.settimeout(self._deadline.wait(self._timeout))
        self._sock.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        """A buffered reader of bytes (`mode` must be "rb"); its reads raise TimeoutError."""
        if mode != "rb":
            raise ValueError(f"only rb, not {mode}")
        return io.BufferedReader(_BoundReader(self._sock, self._deadline, self._timeout))

    def close(self) -> None:
        """Close the connection, and with it every reader."""
        self._sock.close()


class _BoundReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, deadline: Deadline, timeout: float) -> None:
        self._sock, self._deadline, self._timeout = sock, deadline, timeout

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(self._deadline.wait(self._timeout))
        return self._sock.recv_into(buffer)


class Guard:
    """Opens connections for one shard.

    Args:
        allow_hosts: "host" or "host:port", written as in a url; these may have any address.
        timeout: seconds, the longest single wait.
    """

    def __init__(self, allow_hosts: Sequence[str], timeout: float) -> None:
        self._allowed = {host_and_port(entry) for entry in allow_hosts}
        self._timeout = timeout
        self._names: dict[str, Future[list[str]]] = {}
        self._lock = threading.Lock()
        self._tls = ssl.create_default_context()

    def connect(self, target: Target, deadline: Deadline) -> BoundSocket:
        """A connection to `target`, with TLS for https.

        Raises:
            Failure: refused_address, dns_failed, connect_failed, tls_failed.
            TimeoutError: a wait took longer than the timeout or the deadline.
        """
        sock = self._open(self.addresses(target, deadline), target.port, deadline)
        try:
            if target.scheme == "https":
                sock.settimeout(deadline.wait(self._timeout))  # of the whole handshake, not of each read
                sock = self._tls.wrap_socket(sock, server_hostname=target.host)
        except TimeoutError:
            sock.close()
            raise
        except (OSError, ValueError) as error:  # ValueError: a name that no certificate can have
            sock.close()
            raise Failure("tls_failed", str(error)) from error
        return BoundSocket(sock, deadline, self._timeout)

    def addresses(self, target: Target, deadline: Deadline) -> list[str]:
        """The addresses of `target` that may be connected to, in the resolver's order; raises as `connect` does."""
        addresses = self._resolve(target.host, deadline)
        if self._allowed & {(target.host, None), (target.host, target.port)}:
            return addresses
        public = [address for address in addresses if is_public(ipaddress.ip_address(address.partition("%")[0]))]
        if not public:
            raise Failure("refused_address", f"{target.host} is {addresses[0]}")
        return public

    def _resolve(self, host: str, deadline: Deadline) -> list[str]:
        try:
            return [str(ipaddress.ip_address(host))]
        except ValueError:
            pass  # a name
        with self._lock:
            answer = self._names.get(host)
            if answer is None:
                answer = self._names[host] = Future()
                # getaddrinfo has no timeout of its own; a daemon thread may outlive the one who asked.
                threading.Thread(target=_look_up, args=(host, answer), daemon=True).start()
        wait = deadline.wait(self._timeout)
        try:
            return answer.result(wait)
        except FutureTimeout as error:
            raise TimeoutError("name service") from error
        except OSError as error:
            passing = getattr(error, "errno", None) == socket.EAI_AGAIN
            if passing:
                self._forget(host, answer)
            raise Failure("dns_failed", str(error), passing=passing) from error

    def _forget(self, host: str, answer: Future[list[str]]) -> None:
        with self._lock:
            if self._names.get(host) is answer:
                del self._names[host]

    def _open(self, addresses: list[str], port: int, deadline: Deadline) -> socket.socket:
        error: OSError | None = None
        for address in addresses:
            try:
                return socket.create_connection((address, port), deadline.wait(self._timeout))
            except OSError as failed:  # a TimeoutError is one as well; the next address may answer
                error = failed
        if error is None or isinstance(error, TimeoutError):
            raise error or TimeoutError("connect")
        raise Failure("connect_failed", str(error), passing=True) from error


def _look_up(host: str, answer: Future[list[str]]) -> None:
    try:
        entries = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        answer.set_result(list(dict.fromkeys(str(entry[4][0]) for entry in entries)))
    except OSError as error:
        answer.set_exception(error)
    except UnicodeError as error:  # a label of more than 63 characters
        answer.set_exception(socket.gaierror(socket.EAI_NONAME, str(error)))
