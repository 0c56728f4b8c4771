"""Configurations of the bridge's bench."""

from poblano.bridge.bridge import BridgeConfig

__all__ = ["CONFIGS"]

CONFIGS = {
    "fast": BridgeConfig(
        clock_hz=12_000_000,
        baud=3_000_000,
        payload=256,
        design="test",
        memory_bytes=1 << 20,
        break_bits=12,
        chip=True,
    ),
    "small": BridgeConfig(
        clock_hz=25_000_000, baud=2_083_333, payload=16, addr_width=16, design="abcd", break_bits=11
    ),
    "large": BridgeConfig(
        clock_hz=27_000_000,
        baud=5_400_000,
        payload=1024,
        addr_width=14,
        design="1024",
        break_bits=10,
        chip=True,
    ),
}
