"""Kernel parameters that every namespace of a cluster has its own values of, and why.

Host settings leak into new namespaces; each of these is set, read back and compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from testbed.plan.settings import PlanSettings


class ManagedSysctl(NamedTuple):
    """One parameter.

    Args:
        key: path below /proc/sys.
        absent: the value that a kernel without this parameter behaves as if it had; None if the
            kernel must have it.
    """

    key: str
    absent: str | None = None


MANAGED_SYSCTLS: tuple[ManagedSysctl, ...] = (
    # IPv6 would chatter (and, unmatched by any filter, once went out unshaped).
    ManagedSysctl("net/ipv6/conf/all/disable_ipv6", absent="1"),
    ManagedSysctl("net/ipv6/conf/default/disable_ipv6", absent="1"),
    ManagedSysctl("net/ipv4/ip_forward"),
    # A DRAM domain has several ports on one network; replies leave by the port of their address.
    ManagedSysctl("net/ipv4/conf/all/rp_filter"),
    ManagedSysctl("net/ipv4/conf/default/rp_filter"),
    ManagedSysctl("net/ipv4/conf/all/arp_ignore"),
    ManagedSysctl("net/ipv4/conf/all/arp_announce"),
    # Socket buffers bound what can queue in the network.
    ManagedSysctl("net/ipv4/tcp_rmem"),
    ManagedSysctl("net/ipv4/tcp_wmem"),
    # Probes fire while data sits in queues outside the sender's sight: see rto_min.
    ManagedSysctl("net/ipv4/tcp_early_retrans"),
    # Replies, the handshake's too, stay in the lane of what they answer.
    ManagedSysctl("net/ipv4/tcp_reflect_tos"),
    ManagedSysctl("net/ipv4/tcp_slow_start_after_idle"),
    ManagedSysctl("net/ipv4/tcp_no_metrics_save"),
    ManagedSysctl("net/ipv4/tcp_congestion_control"),
    ManagedSysctl("net/bridge/bridge-nf-call-iptables", absent="0"),
    ManagedSysctl("net/bridge/bridge-nf-call-ip6tables", absent="0"),
    ManagedSysctl("net/bridge/bridge-nf-call-arptables", absent="0"),
)


def sysctl_values(settings: PlanSettings) -> dict[str, str]:
    """The value of every managed parameter."""
    values = {sysctl.key: "0" for sysctl in MANAGED_SYSCTLS}
    values |= {
        "net/ipv6/conf/all/disable_ipv6": "1",
        "net/ipv6/conf/default/disable_ipv6": "1",
        "net/ipv4/conf/all/arp_ignore": "1",
        "net/ipv4/conf/all/arp_announce": "2",
        "net/ipv4/tcp_rmem": settings.tcp_rmem,
        "net/ipv4/tcp_wmem": settings.tcp_wmem,
        "net/ipv4/tcp_reflect_tos": "1",
        "net/ipv4/tcp_no_metrics_save": "1",
        "net/ipv4/tcp_congestion_control": settings.congestion_control,
    }
    return values
