"""KV that a transformer computes: from tokens, and from the KV that arrived.

Nothing that arrives is checked here, for there is nothing to check it against: it is computed
with.  What it was, and what came of it, is digested for whoever has a reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agents.blocks.generate import Mismatch
from agents.blocks.layout import KVLayout, LayerGroup
from agents.blocks.maker import Part, Prefilled, Prompt, Proof
from agents.transformer.cache import LayerKV, read_part, write_part
from agents.transformer.config import Config
from agents.transformer.exact import Exact
from agents.transformer.generation import Generation
from agents.transformer.model import greedy, load_model
from agents.transformer.tokens import as_bytes, as_tokens, chain_logits


class TransformerKV:
    """A `KVMaker` that runs a transformer.

    Args:
        config: of the transformer.
        layout: of the blocks.

    Raises:
        ValueError: the blocks are not those of this transformer.
    """

    def __init__(self, config: Config, layout: KVLayout) -> None:
        if layout != config.layout(layout.block_tokens):
            raise ValueError(f"{layout} is not the layout of {config}")
        self._config, self._layout = config, layout
        load_model(config)  # now, not at the first request

    def prefill(self, prompt: Prompt) -> TransformerPrefill:
        """See `KVMaker`."""
        return TransformerPrefill(self._config, self._layout, prompt)

    def decode(self, prompt: Prompt, prefilled: Prefilled) -> TransformerDecode:
        """See `KVMaker`."""
        return TransformerDecode(self._config, self._layout, prompt, prefilled)


class TransformerPrefill:
    """A `PrefillKV` that runs a transformer."""

    def __init__(self, config: Config, layout: KVLayout, prompt: Prompt) -> None:
        self._config, self._layout, self._prompt = config, layout, prompt
        self._model = load_model(config)
        self._tokens = as_tokens(prompt.tokens)
        if len(self._tokens) != prompt.prompt_tokens:
            raise ValueError(f"{len(self._tokens)} ids of {prompt.prompt_tokens} prompt tokens")
        self._residual: Exact | None = None
        self._done = 0  # layers that the present chunk has been through
        self._hit_kv: dict[int, int] = {}
        self._result: Prefilled | None = None

    def check(self, group: LayerGroup, blocks: range, memory: memoryview) -> Mismatch | None:
        """Nothing to compare with."""
        return None

    def compute(
        self,
        group: LayerGroup,
        hits: memoryview,
        misses: memoryview,
        tokens: range | None = None,
    ) -> None:
        """Run the tokens through the group's layers; they attend to the KV in memory."""
        block, prompt = self._layout.block_tokens, self._prompt
        hit_tokens = prompt.hit_blocks * block
        if tokens is None:
            tokens = range(hit_tokens, prompt.prompt_tokens)
        if group.first == 0:
            self._residual = self._model.embed(self._tokens[tokens.start : tokens.stop])
            self._done = 0
        residual = self._residual
        if residual is None or group.first != self._done or len(residual) != len(tokens):
            raise ValueError(
                f"layer {group.first} of tokens {tokens}: {self._done} layers are done"
            )
        loaded = Part(0, prompt.hit_blocks, group.first, group.count, block, hits)
        last = prompt.prompt_tokens % block or block
        blocks = -(-prompt.prompt_tokens // block) - prompt.hit_blocks
        made = Part(prompt.hit_blocks, blocks, group.first, group.count, last, misses)
        for layer in range(group.first, group.first + group.count):
            kv = LayerKV(self._config, tokens.stop)
            kv.append(read_part(self._config, block, loaded, layer, hit_tokens))
            self._digest_hits(layer, kv.digest(hit_tokens))
            kv.append(read_part(self._config, block, made, layer, tokens.start - hit_tokens))
            residual = self._model.layer(layer, residual, kv)
            new = kv.stored(tokens.start, tokens.stop)
            write_part(self._config, block, made, layer, tokens.start - hit_tokens, new)
        self._residual = residual
        self._done = group.first + group.count
        if self._done == self._config.layers and tokens.stop == prompt.prompt_tokens:
            logits = self._model.logits(residual[-1])
            self._result = Prefilled(
                greedy(logits),
                chain_logits(0, logits),
                [self._hit_kv[layer] for layer in range(self._config.layers)],
            )

    def _digest_hits(self, layer: int, digest: int) -> None:
        """Every chunk reads the hits again; if they are not the same, no digest is right."""
        self._hit_kv[layer] = digest if self._hit_kv.get(layer, digest) == digest else 0

    def result(self) -> Prefilled:
        """The first token."""
        if self._result is None:
            raise ValueError("the prompt has not been through all layers")
        return self._result


class TransformerDecode:
    """A `DecodeKV` that runs a transformer."""

    def __init__(
        self, config: Config, layout: KVLayout, prompt: Prompt, prefilled: Prefilled
    ) -> None:
        self._config, self._layout = config, layout
        self._prompt, self._prefilled = prompt, prefilled
        capacity = prompt.prompt_tokens + prompt.generate_tokens
        self._kv = [LayerKV(config, capacity) for _ in range(config.layers)]
        self._generation: Generation | None = None

    def load(self, parts: Sequence[Part]) -> Mismatch | None:
        """Read the prompt's KV: from now on tokens come of it, right or wrong."""
        block = self._layout.block_tokens
        for part in parts:
            tokens = (part.blocks - 1) * block + part.last_block_tokens if part.blocks else 0
            for layer in range(part.layer_first, part.layer_first + part.layer_count):
                kv = self._kv[layer]
                if part.blocks and kv.tokens != part.block_first * block:
                    raise ValueError(f"{part.block_first} blocks before a part, {kv.tokens} tokens")
                kv.append(read_part(self._config, block, part, layer, tokens))
        held = {kv.tokens for kv in self._kv}
        if held != {self._prompt.prompt_tokens}:
            raise ValueError(f"KV of {held} tokens for {self._prompt.prompt_tokens}")
        first = self._prefilled
        model = load_model(self._config)
        self._generation = Generation(model, self._kv, first.token, first.logits)
        return None

    def _begun(self) -> Generation:
        if self._generation is None:
            raise ValueError("no KV has been loaded")
        return self._generation

    def generate(self, count: int) -> Iterable[None]:
        """Choose tokens, each the likeliest."""
        return self._begun().generate(count)

    def block(self, number: int, out: memoryview) -> None:
        """What attention reads of this block: the prompt's tail as it arrived, then new tokens."""
        block = self._layout.block_tokens
        self._begun().absorb()
        part = Part(number, 1, 0, self._config.layers, block, out)
        for layer, kv in enumerate(self._kv):
            stored = kv.stored(number * block, (number + 1) * block)
            write_part(self._config, block, part, layer, 0, stored)

    def result(self) -> Proof:
        """Tokens, and digests of all that led to them."""
        done = self._begun()
        done.absorb()
        kv = [layer.digest(layer.tokens) for layer in self._kv]
        return Proof(as_bytes(done.tokens), done.logits, self._prefilled.hit_kv, kv)
