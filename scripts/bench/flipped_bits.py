"""How a validation run notices a flipped bit of KV: by tokens, by their scores, by digests.

Prefills a context, flips one bit of the KV of one token in one layer, prefills what is appended and
generates.  For each layer and kind of bit, the share of flips that changes

    tokens   the generated tokens: what a comparison of tokens alone would notice
    scores   the scores that they were chosen by, all generated tokens together
    kv       the KV of what was appended and generated, in any layer

The digest of the flipped layer itself notices every flip; that is the hash's business, not measured
here.
"""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np
from numpy.typing import NDArray

from agents.transformer.cache import LayerKV
from agents.transformer.config import TINY
from agents.transformer.generation import prefill
from agents.transformer.model import load_model

BITS = {"lowest": [0], "1-7": range(1, 8), "8-14": range(8, 15), "sign": [15]}
SEEN = ("tokens", "scores", "kv")


class Context:
    """A context whose KV exists, and what follows upon it.

    Args:
        tokens: of the context.
        appended: tokens that are prefilled after it.
        generated: tokens that are generated.
        rng: draws ids.
    """

    def __init__(
        self, tokens: int, appended: int, generated: int, rng: np.random.Generator
    ) -> None:
        self.tokens, self._generated = tokens, generated
        self._capacity = tokens + appended + generated
        self._appended = rng.integers(0, TINY.vocabulary, appended)
        kv = self._empty()
        prefill(load_model(TINY), rng.integers(0, TINY.vocabulary, tokens), kv)
        self._kv = [layer.stored(0, tokens).copy() for layer in kv]
        self._right = self._outcome(self._kv)

    def _empty(self) -> list[LayerKV]:
        return [LayerKV(TINY, self._capacity) for _ in range(TINY.layers)]

    def _outcome(self, stored: list[NDArray[np.int16]]) -> tuple[object, ...]:
        kv = self._empty()
        for layer, known in zip(kv, stored, strict=True):
            layer.append(known)
        generation = prefill(load_model(TINY), self._appended, kv)
        for _ in generation.generate(self._generated):
            pass
        after = b"".join(layer.stored(self.tokens, layer.tokens).tobytes() for layer in kv)
        return tuple(generation.tokens), generation.logits, after

    def flip(self, layer: int, value: int, bit: int) -> list[bool]:
        """What a flipped bit changes, in the order of `SEEN`."""
        stored = [known.copy() if index == layer else known for index, known in enumerate(self._kv)]
        stored[layer].reshape(-1).view(np.uint16)[value] ^= np.uint16(1 << bit)
        return [a != b for a, b in zip(self._outcome(stored), self._right, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--context", type=int, default=512, help="tokens (default: %(default)s)")
    parser.add_argument("--appended", type=int, default=32, help="tokens (default: %(default)s)")
    parser.add_argument("--generated", type=int, default=16, help="tokens (default: %(default)s)")
    parser.add_argument("--flips", type=int, default=20, help="of each case (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    context = Context(arguments.context, arguments.appended, arguments.generated, rng)
    values = arguments.context * TINY.kv_layer_bytes // 2
    cases = []
    for layer in range(TINY.layers):
        for name, bits in BITS.items():
            seen = [
                context.flip(layer, int(rng.integers(values)), int(rng.choice(list(bits))))
                for _ in range(arguments.flips)
            ]
            shares = dict(zip(SEEN, np.mean(seen, axis=0).tolist(), strict=True))
            cases.append({"layer": layer, "bits": name, **shares})
    means = {what: float(np.mean([case[what] for case in cases])) for what in SEEN}
    if arguments.json:
        json.dump({"context": arguments.context, "cases": cases, **means}, sys.stdout)
        print()
        return
    print(f"{'layer':>5} {'bits':>7}" + "".join(f"{what:>8}" for what in SEEN))
    for case in cases:
        row = "".join(f"{case[what]:8.0%}" for what in SEEN)
        print(f"{case['layer']:>5} {case['bits']:>7}{row}")
    print(f"{'all':>5} {'':>7}" + "".join(f"{means[what]:8.0%}" for what in SEEN))


if __name__ == "__main__":
    main()
