"""Which nodes read a request's KV from storage: one decision, behind one interface.

A policy of your own is a class with one method, in a file of its own:

    class Policy:
        '''Read on the side with fewer requests waiting.'''

        def choose(self, request, prefill, decode):
            fewer = prefill.read_queue_requests <= decode.read_queue_requests
            return "pe" if fewer else "de"

It may also answer `Split(de_share)`, or, if it has an attribute `uses_cache = True` and
`request.peer` names a node, `"peer"`; and weigh recent rates as `agents.scheduler.costs` does: see
`scripts/examples/shares.py`.

Give it in a scenario as `policies: [pe-only, mine.py:Policy]`.  If its `__init__` has an argument
`seed`, it is given the run's.  It is asked once for each request that has something stored, when
its prefill and decode engine are chosen, in the order in which they are.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast

import xxhash

from agents.read_path import Side
from agents.scheduler.costs import balanced_share, by_decode, by_peer, by_prefill
from agents.scheduler.views import Choice, NodeView, RequestView, Split
from testbed.errors import NotFoundError, ScenarioError


class ReadPathPolicy(Protocol):
    """Chooses the read path of each request."""

    def choose(self, request: RequestView, prefill: NodeView, decode: NodeView) -> Choice:
        """`"pe"` to read on the prefill node, `"de"` on the decode node, or see `Choice`."""


class PEOnly:
    """All reads on the prefill side: what systems without a second path do."""

    def choose(self, request: RequestView, prefill: NodeView, decode: NodeView) -> Side:
        """Always the prefill node."""
        return "pe"


class DEOnly:
    """All reads on the decode side."""

    def choose(self, request: RequestView, prefill: NodeView, decode: NodeView) -> Side:
        """Always the decode node."""
        return "de"


class RoundRobin:
    """The two paths in turn, whatever the queues are."""

    def __init__(self) -> None:
        self._next: Side = "pe"

    def choose(self, request: RequestView, prefill: NodeView, decode: NodeView) -> Side:
        """The other side than the time before."""
        chosen = self._next
        self._next = "de" if chosen == "pe" else "pe"
        return chosen


class ShorterQueue:
    """The side whose node has fewer tokens to read (DualPath, section 6).

    Equal queues, which the paper leaves open, are decided by a hash of seed and request: evenly,
    and alike in every run of the seed.

    Args:
        seed: of the ties.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def choose(self, request: RequestView, prefill: NodeView, decode: NodeView) -> Side:
        """The node with the shorter read queue."""
        if prefill.read_queue_tokens != decode.read_queue_tokens:
            return "pe" if prefill.read_queue_tokens < decode.read_queue_tokens else "de"
        return _either(self._seed, request.request)


class SplitReads:
    """Both sides at once, in the proportion that lets both have read their part at once.

    From read queues and recent rates, see `agents.scheduler.costs.balanced_share`.  What is short,
    or would leave only a crumb for one side, is read on the side that is predicted to finish first:
    a read costs a message and a place in a queue, however few its blocks.

    Args:
        seed: of ties between sides.
        least_blocks: a request with fewer hit blocks is not split.
        least_part: nor is one of which a side would get fewer blocks than this.
    """

    def __init__(self, seed: int = 0, least_blocks: int = 4, least_part: int = 2) -> None:
        self._seed = seed
        self._least_blocks, self._least_part = least_blocks, least_part

    def choose(self, request: RequestView, prefill: NodeView, decode: NodeView) -> Choice:
        """A balanced split, or the quicker side."""
        blocks = request.hit_tokens // request.block_tokens
        on_decode = round(balanced_share(request, prefill, decode) * blocks)
        if blocks >= self._least_blocks and (
            self._least_part <= on_decode <= blocks - self._least_part
        ):
            return Split(on_decode / blocks)
        pe_s = by_prefill(request, prefill, decode).read_s
        de_s = by_decode(request, prefill, decode).read_s
        if pe_s == de_s:
            return _either(self._seed, request.request)
        return "pe" if pe_s < de_s else "de"


class Adaptive:
    """The three-way choice: the path that is predicted to finish first (`agents.scheduler.costs`).

    Storage path, dual path, or a decode node's cache, if it has any of the hits; equal predictions
    are decided for the cache, which leaves storage NICs to others, then by seed.

    Args:
        seed: of ties between sides.
    """

    uses_cache = True

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def choose(self, request: RequestView, prefill: NodeView, decode: NodeView) -> Choice:
        """The quickest of the two or three."""
        pe_s = by_prefill(request, prefill, decode).total_s
        de_s = by_decode(request, prefill, decode).total_s
        peer = by_peer(request, prefill, decode)
        if peer is not None and peer.total_s <= min(pe_s, de_s):
            return "peer"
        if pe_s == de_s:
            return _either(self._seed, request.request)
        return "pe" if pe_s < de_s else "de"


def _either(seed: int, request: int) -> Side:
    """One of two equal sides: evenly, and alike in every run of the seed."""
    tie = xxhash.xxh3_64_intdigest(f"{seed}/{request}".encode())
    return "pe" if tie & 1 else "de"


_SHIPPED: dict[str, Callable[[], ReadPathPolicy]] = {
    "pe-only": PEOnly,
    "de-only": DEOnly,
    "round-robin": RoundRobin,
    "shorter-queue": ShorterQueue,
    "split": SplitReads,
    "adaptive": Adaptive,
}

POLICIES = tuple(_SHIPPED)
"""Names of the policies that come with the testbed."""


def load_policy(name: str, *, seed: int) -> ReadPathPolicy:
    """A fresh policy.

    Args:
        name: a shipped policy, or `FILE.py:CLASS`.
        seed: handed to a class that takes one.

    Raises:
        NotFoundError: there is no such policy, file or class.
        ScenarioError: the file cannot be run, or the class is not a policy.
    """
    factory = _SHIPPED.get(name)
    if factory is None:
        path, separator, class_name = name.rpartition(":")
        if not separator or not path.endswith(".py"):
            raise NotFoundError(
                f"there is no read-path policy {name!r}",
                hint=f"there are {', '.join(POLICIES)}, and your own: mine.py:Policy",
            )
        factory = _user_class(Path(path), class_name)
    try:
        takes_seed = "seed" in inspect.signature(factory).parameters
        policy = cast("Callable[..., ReadPathPolicy]", factory)(
            **({"seed": seed} if takes_seed else {})
        )
    except Exception as error:
        raise ScenarioError(
            f"the read-path policy {name} cannot be made: {type(error).__name__}: {error}",
            hint="its __init__ may take `seed` and nothing else that has no default",
        ) from error
    if name in _SHIPPED:
        return policy
    _check_choose(name, policy)
    return _Checked(name, policy)


class _Checked:
    """A user's policy, whose answers are not taken on trust."""

    def __init__(self, name: str, policy: ReadPathPolicy) -> None:
        self._name = name
        self._policy = policy
        self.uses_cache = uses_cache(policy)

    def choose(self, request: RequestView, prefill: NodeView, decode: NodeView) -> Choice:
        """What the policy chooses."""
        choice = self._policy.choose(request, prefill, decode)
        if not _possible(choice):
            raise ScenarioError(
                f"the read-path policy {self._name} chose {choice!r}",
                hint='`choose` must return "pe", "de", "peer" or Split(0 … 1)',
            )
        if choice == "peer" and not request.peer_tokens:
            raise ScenarioError(
                f"the read-path policy {self._name} chose 'peer' for a request that no cache has",
                hint="`request.peer` names the node that has it, if `uses_cache = True` in the "
                "class and cache.capacity is not 0",
            )
        return choice


def _possible(choice: object) -> bool:
    if isinstance(choice, Split):
        share: object = choice.de_share
        return isinstance(share, int | float) and 0 <= share <= 1
    return isinstance(choice, str) and choice in ("pe", "de", "peer")


def uses_cache(policy: ReadPathPolicy) -> bool:
    """Whether a policy may answer "peer", so that decode nodes keep KV for it."""
    return bool(getattr(policy, "uses_cache", False))


def policy_caches(name: str) -> bool:
    """As `uses_cache`, of a policy by its name; errors as of `load_policy`."""
    return uses_cache(load_policy(name, seed=0))


def _user_class(path: Path, class_name: str) -> Callable[[], ReadPathPolicy]:
    if not path.is_file():
        raise NotFoundError(
            f"there is no policy file {path}", hint="paths are relative to where you start the run"
        )
    spec = importlib.util.spec_from_file_location(f"read_path_policy_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ScenarioError(f"{path} is not a Python file", hint="name it mine.py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ScenarioError(
            f"the policy file {path} fails when it is run: {type(error).__name__}: {error}",
            hint=f"try `python {path}`",
        ) from error
    found = getattr(module, class_name, None)
    if not inspect.isclass(found):
        classes = [
            name
            for name, value in vars(module).items()
            if inspect.isclass(value) and value.__module__ == module.__name__
        ]
        raise NotFoundError(
            f"there is no class {class_name!r} in {path}",
            hint=f"it has {', '.join(classes) or 'no classes'}",
        )
    return cast("Callable[[], ReadPathPolicy]", found)


def _check_choose(name: str, policy: object) -> None:
    choose = getattr(policy, "choose", None)
    try:
        if not callable(choose):
            raise TypeError("it has no method `choose`")
        inspect.signature(choose).bind(None, None, None)
    except TypeError as error:
        raise ScenarioError(
            f"{name} is not a read-path policy: {error}",
            hint="it needs a method choose(self, request, prefill, decode)",
        ) from None
