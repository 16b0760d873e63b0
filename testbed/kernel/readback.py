"""Reading the kernel back as a plan, without a look at the plan that was asked for.

What no plan can express becomes an `Unknown` element and so shows as a difference; nothing that
is found is dropped, except what the kernel itself makes in every namespace.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from testbed.errors import KernelError
from testbed.kernel.addressing import address_elements, route_elements, rule_elements
from testbed.kernel.attributes import Names
from testbed.kernel.links import Link, link_elements, list_links
from testbed.kernel.namespaces import inside
from testbed.kernel.neighbours import forwarding_elements, neighbour_elements
from testbed.kernel.netlink import RouteSocket, route_socket
from testbed.kernel.sysctls import read_sysctls
from testbed.kernel.tc_options import Decoder
from testbed.kernel.traffic import TrafficReader
from testbed.plan.model import AnyElement, Namespace, Plan

_THREADS = 2


def read(namespaces: Mapping[str, int]) -> Plan:
    """Everything in some network namespaces, as a plan that has elements only.

    Two threads read, each half of the namespaces: most of it is the kernel's work.

    Args:
        namespaces: name -> descriptor of the network namespace.

    Raises:
        KernelError: the kernel does not answer, or its objects keep changing.
    """
    names = list(namespaces)
    readers = [_Reader({n: namespaces[n] for n in names[i::_THREADS]}) for i in range(_THREADS)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    elements: list[AnyElement] = []
    links: dict[str, list[Link]] = {}
    for reader in readers:
        if reader.error is not None:
            raise reader.error
        elements += reader.elements
        links |= reader.links
    elements += link_elements(links)
    return Plan(frozenset(elements))


class _Reader(threading.Thread):
    """Reads namespaces; what it has found, or met, is there when it has ended."""

    def __init__(self, namespaces: Mapping[str, int]) -> None:
        super().__init__()
        self._namespaces = namespaces
        self.elements: list[AnyElement] = []
        self.links: dict[str, list[Link]] = {}
        self.error: BaseException | None = None

    def run(self) -> None:
        """The thread."""
        try:
            self._read_all()
        except BaseException as error:
            self.error = error

    def _read_all(self) -> None:
        names, decoder = Names(), Decoder()
        for namespace, net in self._namespaces.items():
            self.elements.append(Namespace(namespace))
            self.elements += read_sysctls(namespace, net)
            with inside(net):
                opened = route_socket()
            with opened:
                try:
                    links = self.links[namespace] = list_links(opened)
                    self.elements += _read(namespace, opened, links, names, decoder)
                except OSError as error:
                    raise KernelError(
                        f"cannot read {namespace} back: {error.strerror or error}",
                        hint="run `testbed doctor`",
                    ) from error


def _read(
    namespace: str, opened: RouteSocket, links: list[Link], names: Names, decoder: Decoder
) -> list[AnyElement]:
    """Everything of one namespace but its devices."""
    devices = {link.ifindex: link.name for link in links}
    elements = address_elements(namespace, opened, devices, names)
    elements += route_elements(namespace, opened, devices, names)
    elements += rule_elements(namespace, opened, names)
    elements += neighbour_elements(namespace, opened, devices, names)
    if any(link.kind == "bridge" for link in links):
        own_macs = {(link.ifindex, link.mac) for link in links}
        elements += forwarding_elements(namespace, opened, devices, own_macs, names)
    elements += TrafficReader(namespace, opened, devices, decoder).elements()
    return elements
