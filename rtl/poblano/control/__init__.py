"""The command processor: registers, fetch, check and dispatch."""
