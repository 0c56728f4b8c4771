"""cocotb benches and what they share; ``tests/`` runs them."""
