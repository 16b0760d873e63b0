"""The sections of a DualPath scenario: what they accept, what follows from them, what they say."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from agents.models import PRESETS
from agents.settings import DualPathScenario
from agents.transformer.config import TINY
from agents.variants import Variant
from testbed.errors import ScenarioError
from testbed.experiment.scenario import json_schema, load_scenario
from testbed.plan.settings import PlanSettings

LEAST = "name: made\ntopology: {name: 1p1d}\nduration: 10s\n"
SHIPPED = sorted(
    Path(str(file)) for file in files("agents").joinpath("scenarios").iterdir() if file.is_file()
)


@pytest.fixture(autouse=True)
def _traces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTBED_TRACES", "/somewhere")


def load(text: str = "") -> DualPathScenario:
    return load_scenario(LEAST + text, DualPathScenario)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_scenarios_are_valid(path: Path) -> None:
    scenario = load_scenario(path, DualPathScenario)
    assert scenario.name == path.stem
    assert scenario.description
    assert scenario.policies[0] == "pe-only"
    # 400 Gbit comes down to what one machine carries many times over.
    assert 50 <= float(scenario.topology_settings["cnic_mbit"]) <= 500


def test_the_scenarios_that_are_promised_are_there() -> None:
    names = {path.stem for path in SHIPPED}
    assert names >= {"demo", "1p1d", "2p1d", "1p2d", "2p4d", "cnic-bound", "2p4d-modelled"}
    assert names >= {"agentic-sessions", "mooncake", "node-loss"}


def test_defaults_are_the_papers_cluster_with_compute() -> None:
    scenario = load()
    assert scenario.engines == "modelled"
    assert scenario.resolved_model == PRESETS["ds-660b"]
    assert scenario.cluster.cnic == 400e9
    assert scenario.read_window == 4
    assert scenario.workload.start == "warm"
    assert scenario.max_context_tokens == 163_840


def test_the_emulated_rate_follows_from_the_scale() -> None:
    scenario = load("scale: {rate: 4000, bytes: 1000}\n")
    assert scenario.topology_settings == {"cnic_mbit": "100"}
    scenario = load_scenario(
        "name: made\ntopology: {name: dualpath, set: {gpus: 4, s: 0.5}}\nduration: 1s\n"
        "scale: {rate: 4000, bytes: 1000}\ncluster: {cnic: 200Gbit}\n",
        DualPathScenario,
    )
    assert scenario.topology_settings == {"gpus": "4", "s": "0.5", "cnic_mbit": "50"}


def test_layer_blocks_are_whole_bytes_and_the_scale_says_so() -> None:
    scenario = load("model: {preset: ds-660b-fp8}\nscale: {rate: 4000, bytes: 1000}\n")
    assert scenario.layout.layer_block_bytes == 45
    assert scenario.realised_scale.bytes == pytest.approx(42_944 / 61 * 64 / 45)
    exact = load("scale: {rate: 4000, bytes: 1712}\n")
    assert exact.layout.layer_block_bytes == 48
    assert exact.realised_scale.bytes == 1712


def test_transfers_of_about_128_kib() -> None:
    scenario = load("scale: {rate: 2000, bytes: 1000}\n")
    layers = scenario.layers_per_transfer(33_000)
    assert layers == 3
    assert 96 * 1024 < layers * 33_000 * 82 / 64 < 192 * 1024
    assert scenario.hbm_layers(layers) == 6
    assert scenario.layers_per_transfer(10) == 61
    chosen = load("prefill: {layers_per_transfer: 5, hbm_layers: 7}\n")
    assert (chosen.layers_per_transfer(33_000), chosen.hbm_layers(5)) == (5, 7)


@pytest.mark.parametrize(("hbm_layers", "layers"), [(1, 1), (2, 1), (5, 2), (60, 9)])
def test_transfers_leave_room_for_a_second_one(hbm_layers: int, layers: int) -> None:
    text = f"scale: {{rate: 2000, bytes: 3000}}\nprefill: {{hbm_layers: {hbm_layers}}}\n"
    assert load(text).layers_per_transfer(33_000) == layers


def test_a_preset_can_be_replaced_in_part() -> None:
    model = load("model: {preset: ds-660b, kv_bytes_per_token: 50000, max_context: 32768}\n")
    assert model.resolved_model.kv_bytes_per_token == 50_000
    assert model.resolved_model.attention == PRESETS["ds-660b"].attention
    assert model.max_context_tokens == 32_768


def test_a_model_of_ones_own() -> None:
    text = (
        "model:\n  preset: null\n  layers: 10\n  kv_bytes_per_token: 1000\n"
        "  active_parameters: 1e9\n  max_context: 4096\n"
        "  attention:\n    - {flops_per_context_token: 100}\n"
        "    - {flops_per_context_token: 10, window: 128}\n"
    )
    model = load(text).resolved_model
    assert model.name == "made"
    assert model.attention_flops(1000) == 100 * 1000 + 10 * 128
    with pytest.raises(ScenarioError, match="needs layers, kv_bytes_per_token"):
        load("model: {preset: null}\n")


def test_times_of_a_trace_stretch() -> None:
    scenario = load(
        "scale: {rate: 4000, bytes: 1712}\n"
        "workload:\n  kind: mooncake\n  file: $TESTBED_TRACES/t.jsonl\n"
        "  time_compression: 8\n  skip: 1min\n"
    )
    spec = scenario.trace_spec
    assert spec.file == "/somewhere/t.jsonl"
    assert spec.time_factor == pytest.approx(4000 / 1712 / 8)
    assert spec.skip_s == 60
    scenario = load(
        "scale: {rate: 4000, bytes: 1712}\n"
        "workload: {kind: sessions, file: /t, think: trace, think_limit: 30s}\n"
    )
    assert scenario.trace_spec.think_factor == pytest.approx(4000 / 1712)
    assert scenario.trace_spec.think_limit_s == pytest.approx(30 * 4000 / 1712)
    assert load("workload: {kind: sessions, file: /t}\n").trace_spec.think_factor == 0
    generated = load("scale: {rate: 4000, bytes: 1712}\nworkload: {think_time: 10s}\n")
    assert generated.trace_spec.think_s == pytest.approx(10 * generated.realised_scale.stretch)


def test_caches_are_the_papers_unless_asked_otherwise() -> None:
    assert load("").cache.capacity == 80 * 2**30
    assert load("cache: {capacity: 0B}\n").cache.capacity == 0


def test_baselines_are_entries_of_policies_with_switches_of_their_own() -> None:
    scenario = load("policies: [basic, pe-only, oracle]\n")
    assert scenario.variants == {
        "basic": Variant("pe-only", layerwise=False),
        "pe-only": Variant("pe-only"),
        "oracle": Variant("pe-only", moves_kv=False),
    }
    scenario = load("prefill: {layerwise: false}\npolicies: [pe-only, oracle]\n")
    assert {variant.layerwise for variant in scenario.variants.values()} == {False}
    with pytest.raises(ScenarioError, match="nothing is left to run"):
        load("engines: network-only\npolicies: [oracle]\n")


def test_a_users_policy_is_found_from_anywhere_and_named_without_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "class Policy:\n    def choose(self, request, prefill, decode):\n        return 'pe'\n"
    (tmp_path / "mine.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    scenario = load("policies: [pe-only, mine.py:Policy]\n")
    assert scenario.variants == {
        "pe-only": Variant("pe-only"),
        "mine.Policy": Variant(f"{tmp_path}/mine.py:Policy"),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("policies: []\n", "policies"),
        ("policies: [pe-only, pe-only]\n", "named twice: pe-only"),
        ("policies: [shortest]\n", "there are pe-only, de-only, round-robin, shorter-queue"),
        ("policies: [absent.py:P]\n", "no policy file absent.py"),
        ("model: {preset: gpt}\n", "there is no model 'gpt'; there are ds-660b"),
        ("engines: fast\n", "'modelled' or 'network-only'"),
        ("workload: {trace: 65k}\n", "there are 32k, 48k, 64k"),
        ("workload: {file: x}\n", "generated agents have no file"),
        ("workload: {kind: mooncake}\n", "needs the path of a trace"),
        ("workload: {kind: sessions, file: /x, skip: 1s}\n", "only mooncake releases"),
        ("workload: {kind: sessions, file: $NO_SUCH/x}\n", r"\$NO_SUCH/x: an environment variable"),
        ("workload: {agnets: 3}\n", "did you mean agents?"),
        ("workload: {agents: 0}\n", "greater than or equal to 1"),
        ("cluster: {cnic: 400}\n", "400Mbit|100Mbit"),
        ("compute: {tpot: 0s}\n", "greater than 0"),
        ("buffers: {de: 64}\n", "64MiB"),
        ("prefill: {layers_per_transfer: 3, hbm_layers: 2}\n", "does not fit hbm_layers: 2"),
        ("window: {tolerance: 5}\n", "less than 1"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message) as caught:
        load(text)
    assert "the scenario:4: " in str(caught.value)


def test_the_rate_of_the_topology_is_not_stated_twice() -> None:
    text = "name: made\ntopology: {name: 1p1d, set: {cnic_mbit: 5}}\nduration: 1s\n"
    with pytest.raises(ScenarioError, match=r"follows from cluster\.cnic and scale\.rate"):
        load_scenario(text, DualPathScenario)


def test_every_field_of_the_schema_is_described() -> None:
    schema = json_schema(DualPathScenario)
    sections = {"": schema} | {
        name: section for name, section in schema["$defs"].items() if "properties" in section
    }
    bare = [
        f"{name}.{field}"
        for name, section in sections.items()
        if name != "Scale"  # a dataclass: described by its own docstring
        for field, about in section["properties"].items()
        # pydantic leaves out a description that is the section's own.
        if "description" not in about
        and "description" not in schema["$defs"].get(about.get("$ref", "").rpartition("/")[2], {})
    ]
    assert bare == []


def test_what_a_model_needs_for_model_execution_may_be_stated() -> None:
    model = load(
        "model: {hidden_size: 512, routed_experts: 16, active_experts: 2}\n"
    ).resolved_model
    assert (model.hidden_size, model.routed_experts, model.active_experts) == (512, 16, 2)
    assert model.layers == 61


def test_a_curve_of_larger_batches() -> None:
    assert load().compute.curve == ((1, 1), (5, 2.55), (10, 2.95))
    assert load("compute: {batch_gain: none}\n").compute.curve == ((1, 1),)
    assert load("compute: {batch_gain: [[1, 1], [4, 2]]}\n").compute.curve == ((1, 1), (4, 2))
    for wrong in ("[]", "[[0, 1]]", "[[2, 1], [1, 2]]"):
        with pytest.raises(ScenarioError, match="batch sizes rise"):
            load(f"compute: {{batch_gain: {wrong}}}\n")
    with pytest.raises(ScenarioError, match="above 0"):
        load("compute: {batch_gain: [[1, 0]]}\n")


def test_a_hardware_trend_scales_nics() -> None:
    scenario = load("scale: {rate: 4000, bytes: 1000}\nhardware: {nic: 2.0, flops: 28.8}\n")
    assert scenario.topology_settings == {"cnic_mbit": "200"}
    assert (
        scenario.realised_scale.stretch
        == load("scale: {rate: 4000, bytes: 1000}\n").realised_scale.stretch
    )


def test_arrivals_are_sessions_per_second_of_the_real_cluster() -> None:
    arrivals = load("workload: {arrivals: {rate: 30/min}}\n").workload.arrivals
    assert arrivals is not None and arrivals.rate == pytest.approx(0.5)
    assert load().workload.arrivals is None
    for wrong, message in (
        ("{rate: 0.5}", "write it like"),
        ("{rate: 0/s}", "greater than 0"),
        ("{}", "rate"),
    ):
        with pytest.raises(ScenarioError, match=message):
            load(f"workload: {{arrivals: {wrong}}}\n")
    with pytest.raises(ScenarioError, match="released by the clock"):
        load("workload: {kind: mooncake, file: x, arrivals: {rate: 1/s}}\n")


def test_a_weka_trace_needs_a_path() -> None:
    assert load("workload: {kind: weka, file: traces}\n").trace_spec.kind == "weka"
    with pytest.raises(ScenarioError, match="needs the path of a trace"):
        load("workload: {kind: weka}\n")


def test_the_scheduler_is_the_papers_unless_asked_otherwise() -> None:
    scheduler = load().scheduler
    assert scheduler.placement == "adaptive"
    assert (scheduler.alpha, scheduler.beta) == ("auto", "auto")
    given = load("scheduler: {placement: round-robin, alpha: 900000, fetch_period: 20ms}\n")
    assert given.scheduler.alpha == 900_000
    assert given.scheduler.fetch_period == pytest.approx(0.02)


@pytest.mark.parametrize(
    "section",
    ["{placement: best}", "{alpha: 0}", "{beta: fast}", "{fetch_period: 0s}", "{ties: random}"],
)
def test_a_scheduler_that_makes_no_sense_is_refused(section: str) -> None:
    with pytest.raises(ScenarioError, match="scheduler"):
        load(f"scheduler: {section}\n")


def test_every_choice_of_the_scheduler_is_described_in_the_schema() -> None:
    schema = json_schema(DualPathScenario)
    fields = schema["$defs"]["SchedulerSection"]["properties"]
    assert {"unreported", "read_queue_falls", "free_hbm", "ties", "prefill_scope"} <= set(fields)
    assert all(field["description"] for field in fields.values())


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("network: {mtu: 9000,\n  leaves: 3}\n", 5, "3 leaves; use a power of two"),
        ("network: {\n  rto_min: 1ms}\n", 5, "rto_min of 1 ms; use 200ms"),
        ("network: {gso_max: 1KiB}\n", 4, "aggregation limit of 1024 bytes with an MTU of 9000"),
        ("storage:\n  directory: /proc/nosuch\n", 5, "no directory '/proc/nosuch'"),
    ],
)
def test_what_cannot_be_made_is_refused_with_its_line(
    text: str, line: int, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "made.yaml"
    file.write_text(LEAST + text)
    with pytest.raises(ScenarioError, match="has 1 error") as refusal:
        load_scenario(file, DualPathScenario)
    assert f"{file}:{line}: " in refusal.value.message
    assert said in refusal.value.message


def test_a_scale_that_leaves_no_rate_is_refused_by_its_name() -> None:
    with pytest.raises(ScenarioError, match=r"scale.rate=1e\+07 makes a CNIC of 400Gbit/s one of"):
        load("scale: {rate: 10000000, bytes: 1000}\n")


def test_what_a_network_section_says_reaches_the_plan() -> None:
    scenario = load("network: {mtu: 1500, rto_min: 2s, gso_max: 8KiB}\narbitration: fifo\n")
    settings = scenario.network.plan_settings(scenario.arbitration)
    assert (settings.mtu, settings.rto_min_ms, settings.gso_max_bytes) == (1500, 2000, 8192)
    assert settings.arbitration == "fifo"
    assert load().network.plan_settings("fair") == PlanSettings()


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        ("scale: {rate: 4000, bytes: 1}\nworkload: {start: cold}\n", "model: {preset: tiny}"),
        (
            "model: {preset: tiny}\nscale: {rate: 4000, bytes: 2}\nworkload: {start: cold}\n",
            "scale.bytes: 1",
        ),
        ("model: {preset: tiny}\nscale: {rate: 4000, bytes: 1}\n", "workload.start: cold"),
        ("model: {preset: tiny, layers: 5}\nscale: {bytes: 1}\n", "workload.start: cold"),
        ("scale: {rate: 4000, bytes: 1}\n", "scheduler.fetch_period: 2us"),
        (
            "scale: {bytes: 1}\nworkload: {kind: mooncake, file: x, start: cold}\n",
            "workload.kind: agentic",
        ),
    ],
)
def test_a_transformer_says_what_it_needs(text: str, needed: str) -> None:
    with pytest.raises(ScenarioError, match="kv: transformer needs") as refused:
        load("engines: network-only\nkv: transformer\n" + text)
    assert needed in str(refused.value)


def test_a_transformers_blocks_are_exactly_its_kv() -> None:
    scenario = load(
        "engines: network-only\nkv: transformer\nmodel: {preset: tiny}\n"
        "scale: {rate: 4000, bytes: 1}\nworkload: {start: cold}\nscheduler: {fetch_period: 2us}\n"
    )
    assert scenario.layout == TINY.layout(64)
    assert scenario.realised_scale.bytes == 1
