"""`testbed model`: what the KV cache of a model asks of the network, beside what it computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from testbed.cli import output
from testbed.cli.arguments import json_option
from testbed.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from agents.models import Model

_EPILOG = """\b
Examples:
  testbed model                                     the presets
  testbed model ds-660b-fp8 --context 32768 --append 429
"""
_TABLE_CONTEXTS = (16 * 1024, 64 * 1024)  # the range of DualPath, Table 1


@click.command("model", epilog=_EPILOG)
@click.argument("name", required=False)
@click.option("--context", default=32_768, show_default=True, help="Tokens read from storage.")
@click.option("--append", default=429, show_default=True, help="Tokens appended and computed.")
@click.option("--snic", default="400Gbit", show_default=True, help="Rate of a storage NIC.")
@json_option
def command(name: str | None, context: int, append: int, snic: str, as_json: bool) -> None:
    """Show what the KV cache of model NAME asks of the network; without NAME, list the presets.

    A turn reads the KV of --context tokens and computes --append more.  GB per PFLOP is the
    cache/compute ratio of DualPath, Table 1.
    """
    with output.failures(as_json):
        from agents.models import PRESETS

        if context < 1 or append < 1:
            raise UsageError(
                f"a turn of {context} tokens of context and {append} appended",
                hint="both are at least 1",
            )
        if name is None:
            rows = [_summary(model, context, append) for model in PRESETS.values()]
            output.result({"models": rows}, _listed(rows), as_json=as_json)
            return
        shown = _described(_preset(name), context, append, snic)
        output.result(shown, _lines(shown), as_json=as_json)


def _preset(name: str) -> Model:
    from agents.models import PRESETS
    from testbed.suggestions import suggestion

    if name not in PRESETS:
        raise NotFoundError(f"there is no model {name!r}", hint=suggestion(name, PRESETS))
    return PRESETS[name]


def _gb_per_pflop(model: Model, context: int, append: int) -> float:
    return model.cache_compute_ratio(context, append) * 1e15 / 1e9


def _summary(model: Model, context: int, append: int) -> dict[str, Any]:
    return {
        "name": model.name,
        "layers": model.layers,
        "kv_bytes_per_token": model.kv_bytes_per_token,
        "active_parameters": model.active_parameters,
        "max_context_tokens": model.max_context_tokens,
        "gb_per_pflop": _gb_per_pflop(model, context, append),
    }


def _listed(rows: list[dict[str, Any]]) -> list[str]:
    from testbed.columns import columns

    return columns(
        [
            (
                row["name"],
                str(row["layers"]),
                str(row["kv_bytes_per_token"]),
                f"{row['active_parameters'] / 1e9:.3g}e9",
                f"{row['gb_per_pflop']:.1f}",
            )
            for row in rows
        ],
        header=("model", "layers", "KV B/token", "active", "GB/PFLOP"),
    )


def _described(model: Model, context: int, append: int, snic: str) -> dict[str, Any]:
    from agents.models import TABLE_1
    from testbed.units import parse_rate_bps

    snic_bps = parse_rate_bps(snic)
    if snic_bps <= 0:
        raise UsageError(f"a storage NIC of {snic}", hint='write it like "400Gbit"')
    read_bytes = model.kv_bytes_per_token * context
    ratio = model.cache_compute_ratio(context, append)
    flops = read_bytes / ratio
    rate = model.prefill_flops_per_s
    return _summary(model, context, append) | {
        "context_tokens": context,
        "append_tokens": append,
        "read_bytes": read_bytes,
        "prefill_flops": flops,
        "gb_per_pflop_16k_64k": [_gb_per_pflop(model, at, append) for at in _TABLE_CONTEXTS],
        "snic_bps": snic_bps,
        "read_s": 8 * read_bytes / snic_bps,
        "prefill_flops_per_s": rate,
        "prefill_s": None if rate is None else flops / rate,
        "tpot_s": model.tpot_s,
        "table_1_gb_per_pflop": TABLE_1.get(model.name),
        "hidden_size": model.hidden_size,
        "routed_experts": model.routed_experts,
        "active_experts": model.active_experts,
        "fitted": list(model.fitted),
        "derived": list(model.derived),
    }


def _lines(shown: dict[str, Any]) -> list[str]:
    from testbed.columns import columns
    from testbed.units import show_duration, show_rate

    low, high = shown["gb_per_pflop_16k_64k"]
    published = shown["table_1_gb_per_pflop"]
    beside = f" (Table 1: {published[0]:g} to {published[1]:g})" if published else ""
    rows = [
        ("layers", f"{shown['layers']}"),
        ("KV cache", f"{shown['kv_bytes_per_token']} B/token"),
        ("active parameters", f"{shown['active_parameters'] / 1e9:.3g}e9"),
        ("hidden size", _known(shown["hidden_size"])),
        ("experts", _experts(shown)),
        ("turn", f"{shown['context_tokens']} tokens read, {shown['append_tokens']} appended"),
        ("read", f"{shown['read_bytes'] / 1e9:.3g} GB"),
        ("computed", f"{shown['prefill_flops'] / 1e12:.3g} TFLOP"),
        ("cache/compute", f"{shown['gb_per_pflop']:.1f} GB/PFLOP"),
        ("  16K to 64K read", f"{low:.1f} to {high:.1f} GB/PFLOP{beside}"),
        (
            "read time",
            f"{show_duration(shown['read_s'])} on one idle SNIC of {show_rate(shown['snic_bps'])}",
        ),
    ]
    if shown["prefill_s"] is None:
        rows.append(("speed", "not known: state compute.prefill_tflops and compute.tpot"))
    else:
        rate = shown["prefill_flops_per_s"] / 1e12
        rows.append(("prefill time", f"{show_duration(shown['prefill_s'])} at {rate:.3g} TFLOP/s"))
        rows.append(("output token", f"{show_duration(shown['tpot_s'])} at a typical batch"))
    for kind in ("fitted", "derived"):
        if shown[kind]:
            rows.append((kind, ", ".join(shown[kind])))
    return [f"{shown['name']}", *columns(rows)]


def _known(number: int | None) -> str:
    return "not known" if number is None else str(number)


def _experts(shown: dict[str, Any]) -> str:
    routed = shown["routed_experts"]
    if routed == 0:
        return "none: a dense model"
    return f"{_known(routed)} routed, {_known(shown['active_experts'])} of them active"
