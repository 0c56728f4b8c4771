"""The operator of a mixture of experts: its selection, its weights and its sum against plain loops."""

from itertools import product

import numpy as np
import pytest

from poblano.moe.reference import chosen, chosen_with_room
from poblano_host.models.capacity import Capacity
from poblano_host.models.experts import SCORINGS, Experts
from poblano_host.models.operators import Step

RNG = np.random.default_rng(16)
NAMES = {name: name for name in ("router", "gate", "up", "down")}
BIASES = {name: name for name in ("router_bias", "selection_bias", "gate_bias", "up_bias", "down_bias")}


def experts(**options):
    sizes = {"width": 32, "hidden": 64, "experts": 8, "used": 3}
    return Experts(name="y", inputs=("x",), **NAMES, **(sizes | options))


def plain(node, x, tensors):
    """The formula in float64, token by token and expert by expert."""
    t = {name: array.astype(float) for name, array in tensors.items()}
    zeros = {"gate_bias": node.hidden, "up_bias": node.hidden, "down_bias": node.width}
    t |= {name: np.zeros(node.experts * size) for name, size in zeros.items() if name not in t}
    out = np.zeros((len(x), node.width))
    for row, of_token in zip(x.astype(float), out):
        logits = t["router"] @ row + t.get("router_bias", 0)
        if node.scoring == "softmax":
            scores = np.exp(logits) / np.exp(logits).sum()
        else:
            scores = logits if node.scoring == "softmax_selected" else 1 / (1 + np.exp(-logits))
        values = scores + t.get("selection_bias", 0)
        size = node.experts // node.groups
        sums = [sum(sorted(values[g * size : (g + 1) * size])[-2:]) for g in range(node.groups)]
        groups = sorted(range(node.groups), key=lambda g: (-sums[g], g))[: node.used_groups]
        open_ = [e for e in range(node.experts) if e // size in groups]
        chosen = sorted(sorted(open_, key=lambda e: (-values[e], e))[: node.used])
        weights = np.exp(scores[chosen]) if node.scoring == "softmax_selected" else scores[chosen]
        if node.renormalise or node.scoring == "softmax_selected":
            weights = weights / weights.sum()
        for e, weight in zip(chosen, weights * node.factor):
            part = lambda name, n, e=e: t[name][e * n : (e + 1) * n]
            g = part("gate", node.hidden) @ row + part("gate_bias", node.hidden)
            u = part("up", node.hidden) @ row + part("up_bias", node.hidden)
            h = g / (1 + np.exp(-g)) * u
            of_token += weight * (part("down", node.width) @ h + part("down_bias", node.width))
    return out


@pytest.mark.parametrize("scoring, renormalise", list(product(SCORINGS, (False, True))))
@pytest.mark.parametrize("options", ({}, BIASES | {"factor": 2.5}, {"groups": 4, "used_groups": 2}))
def test_reference(scoring, renormalise, options):
    node = experts(scoring=scoring, renormalise=renormalise, **options)
    tensors = {name: RNG.normal(0, 0.5, shape).astype(np.float32) for name, shape in node.tensors.items()}
    x = RNG.normal(0, 1, (7, 32)).astype(np.float32)
    got = node.reference(Step(tokens=np.arange(7), tensors=tensors), x)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, plain(node, x, tensors), rtol=1e-4, atol=1e-4)


def test_ties_and_nan():
    nan, inf = np.nan, np.inf
    values = np.array(
        [
            [1, 1, 1, 1, 1, 1, 1, 1],
            [nan, nan, -inf, nan, 0, nan, nan, nan],
            [nan] * 8,
            [0, 5, nan, inf, 5, 5, -inf, 5],
        ],
        np.float32,
    )
    expected = [[0, 1, 2], [0, 2, 4], [0, 1, 2], [1, 3, 4]]
    np.testing.assert_array_equal(experts().select(values), expected)


def test_groups_of_special_values():
    """The model selects what the chip does: of infinities, of NaN, of equal scores."""
    values = np.random.default_rng(3).choice(
        np.array([0, 1, 2, 3, np.inf, -np.inf, np.nan], np.float32), (400, 8)
    )
    for groups, used_groups, used in ((4, 2, 3), (4, 1, 2), (2, 1, 3)):
        node = experts(groups=groups, used_groups=used_groups, used=used)
        expected = chosen(values, used, groups, used_groups)
        np.testing.assert_array_equal(node.select(values), expected)


def test_capacity():
    """Of each window an expert gets as many rows as it has room for; what it has no room for goes to the next
    expert, as on the chip."""
    values = np.random.default_rng(4).choice(
        np.array([0, 1, 2, 3, np.inf, -np.inf, np.nan], np.float32), (300, 8)
    )
    window, limited = 12, 250
    windows = np.where(np.arange(300) % window, 1.0, -1.0) * (np.arange(300) < limited)
    for groups, used_groups, used in ((1, 1, 2), (4, 2, 3), (2, 1, 3)):
        for rows in (3, 5, 11):
            capacity = Capacity(rows, window)
            node = experts(groups=groups, used_groups=used_groups, used=used, capacity=capacity)
            expected, refused = chosen_with_room(values, used, groups, used_groups, rows, windows)
            np.testing.assert_array_equal(node.select(values, limited), expected)
            free = node.select(values)
            np.testing.assert_array_equal(node.select(values, rows), free)  # there is room for so many
            assert (refused == 0) == (expected == free).all()
            if groups == 1 and rows * 8 >= window * used + used * rows:  # enough have room always
                for first in range(0, limited, window):
                    its = expected[first : min(first + window, limited)]
                    assert np.bincount(its.ravel(), minlength=8).max() <= rows


def test_clamped_activation():
    node = experts(limit=2.0)
    gate, up = np.array([-9, 1, 9], np.float32), np.array([-9, 1, 9], np.float32)
    g, u = np.array([-9.0, 1, 2]), np.array([-2.0, 1, 2])
    np.testing.assert_allclose(node.activate(gate, up), g / (1 + np.exp(-1.702 * g)) * (u + 1), rtol=1e-5)


@pytest.mark.parametrize(
    "options, message",
    (
        ({"scoring": "other"}, "scoring 'other' is none of softmax, softmax_selected, sigmoid"),
        ({"used": 9}, "9 experts of 8 can't be used"),
        ({"groups": 3}, "1 of 3 groups of 8 experts"),
        ({"groups": 4}, "3 experts are more than 1 groups have"),
    ),
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        experts(**options)
