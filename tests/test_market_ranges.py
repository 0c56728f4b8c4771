"""Interval arithmetic, and how ranges are written."""

from hypothesis import given
from hypothesis import strategies as st
import pytest

from poblano_market.ranges import Range

ends = st.floats(0.01, 1000)
ranges = st.lists(ends, min_size=3, max_size=3).map(lambda three: Range(*sorted(three)))
inside = st.floats(0, 1)


def at(interval, part):
    return interval.low + part * (interval.high - interval.low)


@given(ranges, ranges, inside, inside)
def test_holds_all_results(a, b, p, q):
    """Whatever lies in two intervals, its sum, difference, product and ratio lie in theirs."""
    x, y = at(a, p), at(b, q)
    slack = 1e-9
    for interval, value in ((a + b, x + y), (a - b, x - y), (a * b, x * y), (a / b, x / y), (2 / a, 2 / x)):
        assert interval.low - slack * abs(interval.low) - slack <= value
        assert value <= interval.high + slack * abs(interval.high) + slack
        assert interval.low <= interval.mid <= interval.high


def test_plain_numbers():
    a = Range(1, 2, 4)
    assert a + 1 == 1 + a == Range(2, 3, 5) and a * 2 == 2 * a == Range(2, 4, 8)
    assert 8 - a == Range(4, 6, 7) and 8 / a == Range(2, 4, 8) and Range.of(3) == Range(3, 3, 3)
    assert Range.around([3, 1, 2]) == Range(1, 3, 3)
    assert a.as_json() == {"low": 1, "mid": 2, "high": 4} and a.at("high") == 4


def test_refused():
    with pytest.raises(ValueError, match="upward, not 2, 1, 3"):
        Range(2, 1, 3)
    with pytest.raises(ZeroDivisionError, match="-1 to 1 has zero in it"):
        _ = 1 / Range(-1, 0, 1)


@pytest.mark.parametrize(
    "interval, text",
    [
        (Range(1, 1, 1), "1"),
        (Range(0.0123, 0.045, 1.96), "0.045 (0.012 to 2)"),
        (Range(1234, 5678, 12345), "5,700 (1,200 to 12,000)"),
        (Range(0, 0, 0.5), "0 (0 to 0.5)"),
    ],
)
def test_text(interval, text):
    assert interval.text() == text
