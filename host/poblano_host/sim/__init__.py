"""Simulation of the RTL: Verilator, models with memory inside, traces."""
