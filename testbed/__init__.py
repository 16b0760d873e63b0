"""An emulated LLM-serving cluster on Linux network namespaces."""
