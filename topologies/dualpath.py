"""A DualPath cluster: storage NICs and compute NICs, prefill, decode and storage nodes.

    pe0 ══ snic ══ [storage] ══ snic ══ st0          (every node has one SNIC)
    pe0, pe0g3 ── [pe0c3] ── [compute] ── [de1c5] ── de1, de1g5
    pe0, …, sched, client ── [mgmt]
    pe0g0, pe0g1, … ══ nvl ══ [pe0nv]                (if asked: the NVLink switch of a node)
    pe0 ══ pcie3 ══ pe0g3                            (if asked: PCIe past the CNIC)

A CNIC is a switch between its DRAM host, its HBM host and the compute fabric, as the NIC of a GPU
is (DualPath, arXiv 2602.21548, section 2).  `mn --custom topologies/dualpath.py --topo dualpath`
loads it too; Mininet then ignores what it does not know (the CNICs' shared shapers).
"""

from mininet.topo import Topo


class DualPathTopo(Topo):
    """P prefill and D decode nodes of g GPUs, S storage nodes; all rates are emulated.

    Args (of `build`):
        prefill, decode, storage: nodes of each kind.
        gpus: g, GPUs and CNICs per prefill or decode node.
        s: SNIC rate / CNIC rate, at most g.
        cnic_mbit: B, the rate of a CNIC's read and of its write side, Mbit/s.
        storage_mbit: rate of a storage node's NIC; None for one that is never the bottleneck.
        mgmt_mbit: rate of the management network's links.
        nvlink_mbit: rate of each GPU's link to its node's NVLink switch; None for no such switch.
        pcie_mbit: rate of a PCIe link between each GPU and its node's DRAM, past the CNIC; None
            for no such links: all goes by the CNIC.

    Raises:
        ValueError: a number makes no sense.
    """

    def build(
        self,
        prefill: int = 1,
        decode: int = 1,
        storage: int = 1,
        gpus: int = 8,
        s: float = 1.0,
        cnic_mbit: float = 100.0,
        storage_mbit: float | None = None,
        mgmt_mbit: float = 1000.0,
        nvlink_mbit: float | None = None,
        pcie_mbit: float | None = None,
    ) -> None:
        """Called by Topo's constructor."""
        for name, value in (
            ("prefill", prefill),
            ("decode", decode),
            ("storage", storage),
            ("gpus", gpus),
        ):
            if value < 1:
                raise ValueError(f"{name}={value}: there must be at least one")
        if not 0 < s <= gpus:
            raise ValueError(
                f"s={s:g} with gpus={gpus}: a SNIC is at most as fast as all CNICs of its node"
            )
        rates = (cnic_mbit, mgmt_mbit, storage_mbit, nvlink_mbit, pcie_mbit)
        if any(rate is not None and rate <= 0 for rate in rates):
            raise ValueError("rates must be above 0 Mbit/s")
        snic_mbit = s * cnic_mbit
        storage_mbit = storage_mbit or (prefill + decode) * snic_mbit
        fabric = self._add_switch("storage", fabric="storage")
        compute = self._add_switch("compute", fabric="compute")
        mgmt = self._add_switch("mgmt", fabric="mgmt")
        for role, letter, count in (("prefill", "pe", prefill), ("decode", "de", decode)):
            for number in range(count):
                node = self.addHost(f"{letter}{number}", memory="dram", role=role)
                self.addLink(node, mgmt, bw=mgmt_mbit)
                self.addLink(node, fabric, bw=snic_mbit)
                for rail in range(gpus):
                    self._add_gpu(node, rail, compute, cnic_mbit)
                self._add_inside(node, gpus, nvlink_mbit, pcie_mbit)
        for number in range(storage):
            node = self.addHost(f"st{number}", memory="dram", role="storage")
            self.addLink(node, mgmt, bw=mgmt_mbit)
            self.addLink(node, fabric, bw=storage_mbit)
        for name in ("sched", "client"):
            self.addLink(self.addHost(name, memory="dram", role="control"), mgmt, bw=mgmt_mbit)

    def _add_switch(self, name: str, **options: object) -> str:
        # Mininet would make a datapath's number of the first digits in its name.
        return str(self.addSwitch(name, dpid=f"{len(self.switches()) + 1:x}", **options))

    def _add_gpu(self, node: str, rail: int, compute: str, cnic_mbit: float) -> None:
        engine = self.addHost(f"{node}g{rail}", memory="hbm", of=node, rail=rail)
        cnic = self._add_switch(f"{node}c{rail}", nic="cnic", rail=rail, bw=cnic_mbit)
        self.addLink(node, cnic)
        self.addLink(engine, cnic)
        self.addLink(cnic, compute)

    def _add_inside(
        self, node: str, gpus: int, nvlink_mbit: float | None, pcie_mbit: float | None
    ) -> None:
        """The links inside a node that go past its CNICs."""
        engines = [f"{node}g{rail}" for rail in range(gpus)]
        if nvlink_mbit is not None:
            switch = self._add_switch(f"{node}nv", fabric="nvlink")
            for engine in engines:
                self.addLink(engine, switch, bw=nvlink_mbit)
        if pcie_mbit is not None:
            for engine in engines:
                self.addLink(node, engine, bw=pcie_mbit)


topos = {"dualpath": DualPathTopo}
