"""What runs on the emulated cluster: storage, prefill and decode nodes, scheduler, client."""
