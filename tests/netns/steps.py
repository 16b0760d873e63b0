"""The steps of applying a plan, in their order; `kernel/test_round_trip.py` sees to it."""

STEPS = (
    "sysctls", "bridges", "veths", "ifbs", "ports", "shapers", "redirects", "up", "addresses",
    "routes", "rules", "forwarding", "neighbours", "settle",
)  # fmt: skip
