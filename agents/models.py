"""Language models as the cluster sees them: KV bytes per token, FLOPs per token, limits.

The presets' byte counts and attention FLOPs follow from published architectures; with them
`cache_compute_ratio` gives the ratios of DualPath, Table 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Attention:
    """One kind of attention in a model, summed over its layers.

    Args:
        flops_per_context_token: for each token appended, for each token that it attends to.
        window_tokens: it attends to no more than so many; None for all.
    """

    flops_per_context_token: float
    window_tokens: int | None = None

    def flops(self, context_tokens: float) -> float:
        """FLOPs of one appended token after a context of that length."""
        return self.flops_per_context_token * self._attended(context_tokens)

    def _attended(self, context_tokens: float) -> float:
        if self.window_tokens is None:
            return context_tokens
        return min(context_tokens, self.window_tokens)


@dataclass(frozen=True)
class Model:
    """What the emulation needs to know of a model.

    Args:
        name: of the preset, or the user's own.
        layers: with KV.
        kv_bytes_per_token: all layers together.
        active_parameters: N; prefill takes 2·N FLOPs per token besides attention.
        attention: its kinds; their FLOPs add up to F(L).
        max_context_tokens: prompt and generation together.
        prefill_flops_per_s: effective rate of one prefill engine; None where nothing is known.
        tpot_s: time per output token; None where nothing is known.
    """

    name: str
    layers: int
    kv_bytes_per_token: int
    active_parameters: float
    attention: tuple[Attention, ...]
    max_context_tokens: int
    prefill_flops_per_s: float | None = None
    tpot_s: float | None = None

    def attention_flops(self, context_tokens: float) -> float:
        """F(L): attention FLOPs of one appended token after L tokens of context."""
        return sum(kind.flops(context_tokens) for kind in self.attention)

    def cache_compute_ratio(self, context_tokens: float, append_tokens: float) -> float:
        """KV bytes read per prefill FLOP (DualPath, section 3, Table 1; there in GB/PFLOP)."""
        flops = append_tokens * (2 * self.active_parameters + self.attention_flops(context_tokens))
        return self.kv_bytes_per_token * context_tokens / flops


# Absorbed MLA scores and sums over a latent of 512 + 64 dimensions: 1 088 multiply-adds a head.
_MLA_FLOPS = 61 * 128 * 2 * 1088
# DeepSeek Sparse Attention: an indexer of 64 heads of 128 looks at everything, MLA at 2 048 tokens.
_DSA = (Attention(_MLA_FLOPS, window_tokens=2048), Attention(61 * 64 * 128 * 2))


def _deepseek_v32(name: str, kv_bytes_per_token: int) -> Model:
    # 227 TFLOP/s per prefill GPU and 39 ms per output token fit the published job times
    # (DualPath, figures 7 and 10).
    return Model(
        name,
        layers=61,
        kv_bytes_per_token=kv_bytes_per_token,
        active_parameters=37e9,
        attention=_DSA,
        max_context_tokens=163_840,
        prefill_flops_per_s=227e12,
        tpot_s=39e-3,
    )


PRESETS: dict[str, Model] = {
    model.name: model
    for model in (
        # BF16 latent of 576 and FP8 indexer key of 128 with its scale: fits the throughputs.
        _deepseek_v32("ds-660b", 61 * (1152 + 132)),
        # FP8 latent and indexer key: fits Table 1.
        _deepseek_v32("ds-660b-fp8", 61 * (576 + 128)),
        Model(
            "ds-v3",
            layers=61,
            kv_bytes_per_token=61 * 656,
            active_parameters=37e9,
            attention=(Attention(_MLA_FLOPS),),
            max_context_tokens=163_840,
        ),
        Model(
            "qwen2.5-32b",
            layers=64,
            kv_bytes_per_token=64 * 8 * 128 * 2 * 2,
            active_parameters=32e9,
            attention=(Attention(64 * 40 * 128 * 4),),
            max_context_tokens=131_072,
        ),
        Model(
            "qwen3-235b-a22b",
            layers=94,
            kv_bytes_per_token=94 * 4 * 128 * 2,
            active_parameters=22e9,
            attention=(Attention(94 * 64 * 128 * 4),),
            max_context_tokens=131_072,
        ),
        Model(
            "gpt-oss-120b",
            # Half of its 36 layers attend to 128 tokens only; their KV is not worth storing.
            layers=18,
            kv_bytes_per_token=18 * 8 * 64 * 2,
            active_parameters=5.1e9,
            attention=(
                Attention(18 * 64 * 64 * 4),
                Attention(18 * 64 * 64 * 4, window_tokens=128),
            ),
            max_context_tokens=131_072,
        ),
    )
}


def breakpoints(model: Model) -> Sequence[int]:
    """Context lengths between which F(L) is linear: 0, the windows, the maximum."""
    windows = {kind.window_tokens for kind in model.attention if kind.window_tokens is not None}
    inside = {window for window in windows if window < model.max_context_tokens}
    return sorted({0, *inside, model.max_context_tokens})
