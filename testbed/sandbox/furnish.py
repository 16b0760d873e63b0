"""What the inside of a testbed looks like before any domain is made: its mounts, and its names.

Domains are made by copying the mounts, so all of them see what is put here.
"""

from __future__ import annotations

from pathlib import Path

from testbed.kernel import namespaces as ns
from testbed.plan.model import Plan

_STORE = Path("/dev/shm/.testbed-etc")


def mount_own() -> None:
    """Own mounts, from which nothing gets out; /proc and /dev/shm of the sandbox itself.

    Raises:
        OSError: as mount(2), with the target in its text.
    """
    ns.mount("none", "/", "", ns.MS_REC | ns.MS_PRIVATE)
    ns.mount("proc", "/proc", "proc", ns.MS_NOSUID | ns.MS_NODEV | ns.MS_NOEXEC)
    ns.mount("tmpfs", "/dev/shm", "tmpfs", ns.MS_NOSUID | ns.MS_NODEV, "mode=1777")


def mount_names() -> None:
    """Names in place of the host's, none so far (`write_names`); no resolver: none is in reach.

    Raises:
        OSError: as mount(2), with the target in its text.
    """
    files = {
        "/etc/hosts": "",
        "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
        "/etc/resolv.conf": "# names are in /etc/hosts\n",
    }
    _STORE.mkdir()
    for target, content in files.items():
        if not Path(target).exists():
            continue  # nothing to hide, and nothing to mount on
        source = _STORE / Path(target).name
        source.write_text(content)
        ns.mount(str(source), str(Path(target).resolve()), "", ns.MS_BIND)


def write_names(plan: Plan) -> None:
    """The names of the cluster, into the file that all domains see."""
    (_STORE / "hosts").write_text(hosts_file(plan))


def hosts_file(plan: Plan) -> str:
    """/etc/hosts: ports as DOMAIN-DEVICE, each domain by its management (else first) address."""
    lines = ["127.0.0.1 localhost"]
    for name, domain in plan.domains.items():
        for device, address in domain.addresses.items():
            lines.append(f"{address} {name}-{device}")
        first = domain.addresses.get("mgmt") or next(iter(domain.addresses.values()), None)
        if first is not None:
            lines.append(f"{first} {name}")
    return "\n".join(lines) + "\n"
