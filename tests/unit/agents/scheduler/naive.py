"""The scheduler's rules as DualPath's section 6.1 states them, one request and one loop at a time.

Written from the text alone and with no thought of speed: what the real modules are held against.
Ties go to the first.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agents.scheduler.state import Ask


@dataclass
class Engine:
    """One engine, as reported, and updated after each pick."""

    node: str
    rail: int
    tok: int = 0
    seq: int = 0
    free: int = 0


@dataclass
class NaivePrefill:
    """One FIFO over all engines that are known."""

    engines: list[Engine]
    read_q: dict[str, int]
    alpha: int
    beta: int
    queue: list[Ask] = field(default_factory=list)

    def fetch(self) -> list[tuple[int, str, int]]:
        """Serve the head until it must wait."""
        picks = []
        while self.queue:
            second = [e for e in self.engines if e.tok <= self.beta]
            first = [e for e in second if self.read_q[e.node] <= self.alpha]
            if not second:
                break
            best = min(first or second, key=lambda e: e.tok)
            ask = self.queue.pop(0)
            best.tok += ask.prompt_tokens
            best.seq += 1
            picks.append((ask.request, best.node, best.rail))
        return picks


@dataclass
class NaiveDecode:
    """A global queue, and a private one for each group."""

    groups: dict[str, list[Engine]]
    queue: list[Ask] = field(default_factory=list)
    private: dict[str, list[Ask]] = field(default_factory=dict)

    def fetch(self, node: str) -> list[tuple[int, str, int]]:
        """Both phases."""
        for ask in self.queue:
            sums = {
                name: sum(e.tok for e in engines)
                + sum(waiting.tokens for waiting in self.private.get(name, []))
                for name, engines in self.groups.items()
            }
            self.private.setdefault(min(sums, key=lambda name: sums[name]), []).append(ask)
        self.queue = []
        engines, queue = self.groups[node], self.private.get(node, [])
        length, needed = 0, 0
        for ask in queue:
            needed += ask.hbm_bytes
            if needed > sum(e.free for e in engines):
                break
            length += ask.tokens
        z = 1.05 * (length + sum(e.tok for e in engines)) / len(engines)
        picks = []
        while queue:
            ask = queue[0]
            able = [e for e in engines if e.free >= ask.hbm_bytes]
            high = [e for e in able if e.tok + ask.tokens > z]
            low = [e for e in able if e not in high]
            if low:
                best = min(low, key=lambda e: e.seq)
            elif high:
                best = min(high, key=lambda e: e.tok)
            else:
                break
            queue.pop(0)
            best.tok += ask.tokens
            best.seq += 1
            best.free -= ask.hbm_bytes
            picks.append((ask.request, best.node, best.rail))
        return picks
