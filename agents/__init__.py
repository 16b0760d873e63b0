"""What runs on the emulated cluster: storage, prefill and decode nodes, scheduler, client."""

DISTRIBUTION = "dualpath-testbed"  # the `testbed` command knows its own package by this line
