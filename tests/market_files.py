"""Chips files for tests."""

from poblano_market.chips import CHIPS

__all__ = ["ONE", "edited"]

ONE = """
[sources]
maker = "a data sheet"

[chips.one]
name = "One"
vendor = "maker"
node = "3 nm"
peak_tflops.bf16 = { value = 500, status = "confirmed", source = "maker" }
peak_tflops.fp8 = { value = 1000, status = "confirmed", source = "maker" }
memory_gb = { value = 100, low = 80, high = 120, status = "reported", source = "maker" }
bandwidth_tb_s = { value = 2, status = "confirmed", source = "maker" }
power_w = { value = 500, status = "confirmed", source = "maker" }
link_gb_s = { value = 100, status = "confirmed", source = "maker" }
link_us = { value = 10, low = 5, high = 20, status = "assumed", source = "maker" }
domain = { value = 8, status = "confirmed", source = "maker" }
dies = { value = 1, status = "confirmed", source = "maker" }
die_mm2 = { value = 800, status = "confirmed", source = "maker" }
"""
"""One chip with round numbers."""


def edited(tmp_path, old, new, text=ONE):
    """The path of a chips file with a change."""
    assert old in text
    path = tmp_path / "chips.toml"
    path.write_text(text.replace(old, new, 1))
    return path


assert CHIPS.is_file()
