"""Domains are machines of their own to what runs in them, and making one leaves no trace."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from testbed.errors import UnsupportedError
from testbed.kernel import namespaces as ns
from testbed.kernel.namespaces import create_domain, create_network, enter_domain, inside


def identity(kind: str) -> str:
    return str(Path(f"/proc/self/ns/{kind}").readlink())


def names_in(place: str) -> list[str]:
    return sorted(path.name for path in Path(place).iterdir())


def in_domain(domain: ns.DomainNamespaces, look: object) -> str:
    """What `look` returns in a process of the domain."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        enter_domain(domain)
        os.write(writing, str(look()).encode())  # type: ignore[operator]
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        said = answer.read()
    os.wait()
    return said


def check_domains() -> None:
    before = {kind: identity(kind) for kind in ("net", "mnt", "uts", "ipc")}
    where, host = Path.cwd(), socket.gethostname()
    one, two = create_domain("pe0"), create_domain("pe0g3")
    assert {kind: identity(kind) for kind in before} == before
    assert (Path.cwd(), socket.gethostname()) == (where, host)

    assert in_domain(one, socket.gethostname) == "pe0"
    assert in_domain(two, socket.gethostname) == "pe0g3"
    assert in_domain(one, lambda: names_in("/sys/class/net")) == "['lo']"
    in_domain(one, lambda: Path("/dev/shm/segment").write_text("x"))
    assert in_domain(one, lambda: names_in("/dev/shm")) == "['segment']"
    assert in_domain(two, lambda: names_in("/dev/shm")) == "[]"
    for kind in before:
        seen = {in_domain(domain, lambda k=kind: identity(k)) for domain in (one, two)}
        assert len(seen | {before[kind]}) == 3
    one.close()
    two.close()


@pytest.mark.user
def test_domains() -> None:
    check_domains()


@pytest.mark.as_user
def test_domains_of_an_ordinary_user() -> None:
    check_domains()


@pytest.mark.user
def test_loopback_is_up() -> None:
    with inside(create_network()), socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=10).close()


def test_inside_comes_back_from_an_error() -> None:
    net, home = create_network(), identity("net")
    with pytest.raises(ZeroDivisionError), inside(net):
        assert identity("net") != home
        _ = 1 / 0
    assert identity("net") == home


def test_no_descriptor_is_left_open() -> None:
    create_domain("warm").close()
    before = names_in("/proc/self/fd")
    create_domain("pe0").close()
    assert names_in("/proc/self/fd") == before


def test_without_the_right_it_says_what_to_do() -> None:
    home = identity("net")
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    with pytest.raises(UnsupportedError, match="cannot make namespaces") as caught:
        create_network()
    assert "doctor" in caught.value.hint
    assert identity("net") == home
