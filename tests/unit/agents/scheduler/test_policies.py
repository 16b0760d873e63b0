"""Read-path policies: which side each chooses, and how a user's own is found and distrusted."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.scheduler.policies import POLICIES, load_policy, policy_caches
from agents.scheduler.views import NodeView, Rates, RequestView, Split
from testbed.errors import NotFoundError, ScenarioError, TestbedError


def sides(name: str, queues: list[tuple[int, int]], seed: int = 1) -> list[object]:
    policy = load_policy(name, seed=seed)
    return [
        policy.choose(
            RequestView(number, 1000, 960), NodeView("pe0", pe, 1), NodeView("de0", de, 1)
        )
        for number, (pe, de) in enumerate(queues)
    ]


def test_fixed_policies_ignore_the_queues() -> None:
    queues = [(0, 9), (9, 0), (5, 5)]
    assert sides("pe-only", queues) == ["pe"] * 3
    assert sides("de-only", queues) == ["de"] * 3
    assert sides("round-robin", queues) == ["pe", "de", "pe"]


def test_each_policy_starts_afresh() -> None:
    assert sides("round-robin", [(0, 0)]) == sides("round-robin", [(0, 0)])


def test_shorter_queue_counts_tokens() -> None:
    assert sides("shorter-queue", [(10, 11), (11, 10)]) == ["pe", "de"]


def test_ties_are_even_and_depend_on_the_seed_alone() -> None:
    ties = [(7, 7)] * 1000
    chosen = sides("shorter-queue", ties)
    assert 400 < chosen.count("pe") < 600
    assert chosen == sides("shorter-queue", ties)
    assert chosen != sides("shorter-queue", ties, seed=2)


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return f"{path}:Policy"


def test_a_policy_of_the_users_own(tmp_path: Path) -> None:
    name = write(
        tmp_path / "mine.py",
        "class Policy:\n"
        "    def choose(self, request, prefill, decode):\n"
        "        return 'pe' if request.hit_tokens < prefill.read_queue_tokens else 'de'\n",
    )
    assert sides(name, [(961, 0), (960, 0)]) == ["pe", "de"]


def test_the_seed_goes_to_a_policy_that_takes_one(tmp_path: Path) -> None:
    name = write(
        tmp_path / "seeded.py",
        "class Policy:\n"
        "    def __init__(self, seed):\n"
        "        self.side = 'pe' if seed == 5 else 'de'\n"
        "    def choose(self, request, prefill, decode):\n"
        "        return self.side\n",
    )
    assert sides(name, [(0, 0)], seed=5) == ["pe"]
    assert sides(name, [(0, 0)], seed=6) == ["de"]


def test_an_answer_that_is_no_side_is_an_error(tmp_path: Path) -> None:
    name = write(
        tmp_path / "wrong.py",
        "class Policy:\n    def choose(self, request, prefill, decode):\n        return 'left'\n",
    )
    with pytest.raises(ScenarioError, match="chose 'left'"):
        sides(name, [(0, 0)])


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("class Other: pass\n", NotFoundError, "it has Other"),
        ("Policy = 3\n", NotFoundError, "it has no classes"),
        ("class Policy: pass\n", ScenarioError, "no method `choose`"),
        ("class Policy:\n    def choose(self): ...\n", ScenarioError, "choose"),
        ("class Policy\n", ScenarioError, "SyntaxError"),
        ("raise OSError('no GPU')\n", ScenarioError, "OSError: no GPU"),
        (
            "class Policy:\n    def __init__(self, nodes): ...\n"
            "    def choose(self, r, p, d): ...\n",
            ScenarioError,
            "cannot be made",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said(
    tmp_path: Path, text: str, kind: type[TestbedError], message: str
) -> None:
    with pytest.raises(kind) as caught:
        load_policy(write(tmp_path / "mine.py", text), seed=1)
    assert message in str(caught.value)


def test_names_that_nothing_has(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        load_policy("shortest", seed=1)
    assert all(name in str(caught.value) for name in POLICIES)
    with pytest.raises(NotFoundError, match="no policy file"):
        load_policy(f"{tmp_path}/absent.py:Policy", seed=1)


def test_split_is_balanced_and_short_or_lopsided_reads_stay_whole() -> None:
    split = load_policy("split", seed=1)

    def choose(hit_tokens: int, pe: int, de: int) -> object:
        rates = Rates(100.0, 100.0, 100.0)
        return split.choose(
            RequestView(1, hit_tokens + 1, hit_tokens),
            NodeView("pe0", pe, 1, rates),
            NodeView("de0", de, 1, rates),
        )

    assert choose(6400, 0, 0) == Split(0.5)
    assert choose(256, 0, 0) == Split(0.5)  # the fewest blocks, and the least part of each side
    assert choose(6400, 0, 3200) == Split(0.25)
    assert choose(192, 0, 1) == "pe"
    assert choose(192, 1, 0) == "de"
    assert choose(6400, 0, 6300) == "pe"
    assert choose(6400, 9000, 0) == "de"


def test_the_example_splits_what_is_long() -> None:
    example = Path(__file__).parents[4] / "scripts" / "examples" / "shares.py"
    policy = load_policy(f"{example}:TwoThirds", seed=1)
    rates = Rates(100.0, 100.0, 100.0)
    near, far = NodeView("pe0", 0, 0, rates), NodeView("de0", 500, 1, rates)
    assert policy.choose(RequestView(1, 700, 640), near, far) == "pe"
    assert policy.choose(RequestView(2, 9000, 8960), near, far) == Split(1 / 3)
    assert policy.choose(RequestView(3, 9000, 8960), far, near) == Split(2 / 3)


@pytest.mark.parametrize("answer", ["Split(1.5)", "Split(float('nan'))", "Split('de')"])
def test_a_share_that_is_none_is_an_error(tmp_path: Path, answer: str) -> None:
    name = write(
        tmp_path / "much.py",
        "from agents.scheduler.views import Split\n"
        "class Policy:\n"
        f"    def choose(self, request, prefill, decode):\n        return {answer}\n",
    )
    with pytest.raises(ScenarioError, match="chose Split"):
        sides(name, [(0, 0)])


def test_adaptive_takes_the_path_that_is_predicted_to_finish_first() -> None:
    adaptive = load_policy("adaptive", seed=1)

    def choose(pe: int, de: int, peer: str, tokens: int, fabric: float = 50.0) -> object:
        return adaptive.choose(
            RequestView(1, 6401, 6400, 64, peer, tokens),
            NodeView("pe0", pe, 1, Rates(100.0, 400.0, 400.0)),
            NodeView("de0", de, 1, Rates(100.0, 400.0, 400.0, fabric)),
        )

    assert choose(0, 100, "", 0) == "pe"
    assert choose(100, 0, "", 0) == "de"
    assert choose(0, 0, "de0", 6400) == "peer"
    assert choose(0, 0, "de1", 6400) in ("pe", "de")  # the fabric is slower than storage
    assert choose(0, 0, "de1", 6400, fabric=200.0) == "peer"
    assert choose(0, 0, "de1", 6400, fabric=100.0) == "peer"  # as quick: storage is left to others
    assert choose(9000, 9000, "de1", 6400) == "peer"
    assert choose(0, 9000, "de0", 3200) == "pe"  # the rest would wait behind other reads


def test_peer_may_be_chosen_only_where_a_cache_has_it() -> None:
    example = Path(__file__).parents[4] / "scripts" / "examples" / "cache_first.py"
    name = f"{example}:CacheFirst"
    assert policy_caches(name) and policy_caches("adaptive") and not policy_caches("split")
    policy = load_policy(name, seed=1)
    pe, de = NodeView("pe0", 5, 1), NodeView("de0", 3, 1)
    assert policy.choose(RequestView(1, 700, 640, 64, "de0", 64), pe, de) == "peer"
    assert policy.choose(RequestView(1, 700, 640), pe, de) == "de"


def test_a_cache_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    name = write(
        tmp_path / "always.py",
        "class Policy:\n    def choose(self, request, prefill, decode):\n        return 'peer'\n",
    )
    with pytest.raises(ScenarioError, match="no cache has"):
        sides(name, [(0, 0)])
