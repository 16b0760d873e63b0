"""Who has which address: numbers that say what they are, and that divide into leaves by bits."""

from __future__ import annotations

import functools
import ipaddress
from typing import NamedTuple

from testbed.errors import TopologyError

MAIN_TABLE = 254
COMPUTE_NETWORK = "10.64.0.0/10"
NETWORKS = {
    "mgmt": "10.0.0.0/16",
    "storage": "10.1.0.0/16",
    "nvlink": "10.2.0.0/16",
    "pcie": "10.3.0.0/16",
    "plain": "10.0.0.0/8",
}
_MOST_NODES, _MOST_RAILS = 255, 64


class Port(NamedTuple):
    """An interface of a domain.

    Args:
        domain, device: whose, and its name inside.
        address: IPv4.
        prefix_len: of the network it is on.
    """

    domain: str
    device: str
    address: str
    prefix_len: int

    @property
    def mac(self) -> str:
        """02:00 and the address: unique where addresses are."""
        return mac_of(self.address)


@functools.cache
def mac_of(address: str) -> str:
    """The MAC address of the port with this IPv4 address."""
    return "02:00:" + ipaddress.IPv4Address(address).packed.hex(":")


def numbered(base: str, number: int, network: str) -> str:
    """Address number `number` (from 1) of a network that begins at `base`.

    Raises:
        TopologyError: the network has no such address.
    """
    address = ipaddress.IPv4Address(base) + number
    if address not in ipaddress.IPv4Network(network):
        raise TopologyError(
            f"{number} hosts do not fit the network {network}", hint="make the topology smaller"
        )
    return str(address)


def compute_address(node: int, rail: int, memory: str) -> str:
    """The address of a CNIC's DRAM or HBM port: 10.(64+rail).node.1 or .2.

    Raises:
        TopologyError: more nodes or rails than the plan has addresses for.
    """
    _within(node, rail)
    return f"10.{64 + rail}.{node}.{1 if memory == 'dram' else 2}"


def nvlink_address(node: int, rail: int) -> str:
    """The address of a GPU's port to its node's NVLink switch: 10.2.node.(rail + 1).

    Raises:
        TopologyError: more nodes or rails than the plan has addresses for.
    """
    _within(node, rail)
    return f"10.2.{node}.{rail + 1}"


def pcie_address(node: int, rail: int, memory: str) -> str:
    """The address of an end of a GPU's PCIe link: 10.3.node.(2 rail + 1), or + 2 at the GPU.

    Raises:
        TopologyError: more nodes or rails than the plan has addresses for.
    """
    _within(node, rail)
    return f"10.3.{node}.{2 * rail + (1 if memory == 'dram' else 2)}"


def rail_network(rail: int) -> str:
    """All ports of one rail."""
    return f"10.{64 + rail}.0.0/16"


def _within(node: int, rail: int) -> None:
    if not 0 <= node < _MOST_NODES or not 0 <= rail < _MOST_RAILS:
        raise TopologyError(
            f"node number {node}, rail {rail}: there are addresses for {_MOST_NODES} nodes "
            f"of {_MOST_RAILS} rails",
            hint="make the topology smaller",
        )
