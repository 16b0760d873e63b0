"""Cache/compute ratio of five models: GB of KV read for each PFLOP of prefill.

Reproduces DualPath, figure 3 and Table 1: 429 tokens are appended to a context of 16K to 64K tokens
that is read from storage.  The ratio says how much storage bandwidth a cluster wants for each GPU,
and it is why agents with long contexts and short turns are bound by storage.

Nothing is run: R(L) = B·L / (A·(2N + F(L))), with KV bytes per token B, active parameters N and
attention FLOPs F(L) from the models' published architectures.  Expect the paper's values within 5
%. DS-V3 is known to come out 12 % low, for a reason that nobody has found: the paper does not print
its KV bytes per token, and 656 bytes a layer fit DS-V3.2, which has the same latent.
"""

from __future__ import annotations

from agents.models import PRESETS, TABLE_1
from testbed.experiment.asking import Asking
from testbed.experiment.estimates import exactly
from testbed.experiment.study import Answer, Minutes, Row, Study, about
from testbed.results.charts import Chart, Series
from testbed.results.intervals import Interval

CONTEXTS = {"16K": 16 * 1024, "64K": 64 * 1024}
APPENDED = 429
TOLERANCE = 0.05
KNOWN_LOW = {"ds-v3": "12 % low at 64K: unexplained"}


def answer(ask: Asking) -> Answer:
    """Calculate all ratios."""
    rows, series = [], []
    for number, (label, context) in enumerate(CONTEXTS.items()):
        found: list[Interval | None] = []
        for name, published in TABLE_1.items():
            ratio = exactly(PRESETS[name].cache_compute_ratio(context, APPENDED) * 1e15 / 1e9)
            found.append(ratio)
            rows.append(
                Row(
                    f"{name}, {label} context",
                    ratio,
                    about(published[number], TOLERANCE),
                    published[number],
                    "GB/PFLOP",
                    KNOWN_LOW.get(name, ""),
                )
            )
        papers: list[float | None] = [published[number] for published in TABLE_1.values()]
        series.append(Series(f"{label} context", list(TABLE_1), found, papers))
    chart = Chart("table1_cache_compute", "KV read for each PFLOP of prefill", "model",
                  "GB per PFLOP", series, log=True)  # fmt: skip
    return Answer(sorted(rows, key=lambda row: row.what.partition(",")[0]), [chart])


STUDY = Study(
    "How much KV does a model read for each unit of computation?",
    "DualPath, figure 3 and Table 1",
    Minutes(0, 0, 0),
    answer,
)
