"""The operator of a mixture of experts: which experts each token uses, how much of each, and their sum."""

from dataclasses import dataclass

import numpy as np

from .capacity import Capacity
from .operators import ACTIVATIONS, Operator

__all__ = ["SCORINGS", "Experts"]


def _softmax(x):
    exps = np.exp(x - x.max(-1, keepdims=True))
    return exps / exps.sum(-1, keepdims=True)


SCORINGS = ("softmax", "softmax_selected", "sigmoid")
"""How the router's logits become weights: softmax over all experts, softmax over the selected ones alone, or
the sigmoid of each."""


@dataclass(frozen=True, kw_only=True)
class Experts(Operator):
    """The weighted sum of the outputs of the ``used`` experts that a router selects for each token.

    The input is the normed activations x, (tokens, ``width``). logits = x @ router.T (+ router_bias); the
    *scores* are softmax(logits), the logits themselves with ``softmax_selected``, or sigmoid(logits).
    Selected are the experts of the ``used`` largest values of scores (+ ``selection_bias``, which changes
    nothing but the selection): of equal ones the lower expert, NaN after all numbers. With ``groups`` > 1 the
    experts are parted into so many groups side by side, of which only the ``used_groups`` with the largest
    sums of their two largest values take part: of equal sums the lower group, NaN after all numbers.

    The weight of a selected expert is its score, with ``softmax_selected`` the softmax over the selected
    logits; with ``renormalise`` it is divided by the sum of the selected scores; then multiplied by
    ``factor``. An expert gives down(activation(gate(x), up(x))), a feed-forward network of ``hidden``
    elements. The sum goes over a token's experts in ascending number.

    Matrices of all experts are one tensor: rows ``e * N`` to ``(e + 1) * N - 1`` are those of expert e, so
    that ``gate`` and ``up`` are (``experts`` * ``hidden``, ``width``), ``down`` is (``experts`` * ``width``,
    ``hidden``), and biases are flat in the same order. A shared expert is other operators of the graph.

    With ``capacity`` tokens of a prompt are re-routed, see :class:`~.capacity.Capacity`: in a window, token
    by token, the experts that have no room left come after all others.

    ``limit`` is None, or that of a clamped activation: gate at most, up between -limit and limit, and the
    expert's elements are gate * sigmoid(``slope`` * gate) * (up + 1), whatever ``function`` is.
    """

    router: str
    gate: str
    up: str
    down: str
    width: int
    hidden: int
    experts: int
    used: int
    scoring: str = "softmax"
    renormalise: bool = False
    factor: float = 1.0
    groups: int = 1
    used_groups: int = 1
    function: str = "silu"
    limit: float | None = None
    slope: float = 1.702
    router_bias: str | None = None
    selection_bias: str | None = None
    gate_bias: str | None = None
    up_bias: str | None = None
    down_bias: str | None = None
    capacity: Capacity | None = None

    def __post_init__(self):
        if self.scoring not in SCORINGS:
            raise ValueError(f"scoring {self.scoring!r} is none of {', '.join(SCORINGS)}")
        if not 1 <= self.used <= self.experts:
            raise ValueError(f"{self.used} experts of {self.experts} can't be used")
        if self.experts % self.groups or not 1 <= self.used_groups <= self.groups:
            raise ValueError(f"{self.used_groups} of {self.groups} groups of {self.experts} experts")
        if self.used > self.experts // self.groups * self.used_groups:
            raise ValueError(f"{self.used} experts are more than {self.used_groups} groups have")

    @property
    def tensors(self):
        e, h, w = self.experts, self.hidden, self.width
        shapes = {
            self.router: (e, w),
            self.gate: (e * h, w),
            self.up: (e * h, w),
            self.down: (e * w, h),
            self.router_bias: (e,),
            self.selection_bias: (e,),
            self.gate_bias: (e * h,),
            self.up_bias: (e * h,),
            self.down_bias: (e * w,),
        }
        return {name: shape for name, shape in shapes.items() if name is not None}

    def select(self, values, limited=0):
        """The selected experts of each row of selection values (tokens, experts): int (tokens, used), in
        ascending number. The first ``limited`` rows are of a prompt's windows, of which a row begins one."""
        values, last = np.where(np.isnan(values), -np.inf, values), np.isnan(values).astype(int)
        if self.groups > 1:
            values, last = self._grouped(values, last)
        chosen = self._best(values, last)
        if self.capacity is None:
            return chosen
        counts = np.zeros(self.experts, int)
        for row in range(limited):
            if row % self.capacity.window == 0:
                counts[:] = 0
            full = counts >= self.capacity.rows
            if full[chosen[row]].any():
                chosen[row] = self._best(values[row], last[row] + 2 * full)
            counts[chosen[row]] += 1
        return chosen

    def _best(self, values, last):
        order = np.lexsort((-values, last), axis=-1)  # stable: of equal values the lower expert
        return np.sort(order[..., : self.used], -1)

    def _grouped(self, values, last):
        """(values, whether they come last), as :meth:`select` sorts them, without the other groups."""
        parts = values.reshape(len(values), self.groups, -1)
        with np.errstate(invalid="ignore"):
            best = np.sort(parts, -1)[..., -2:].sum(-1)
        best[last.reshape(parts.shape).sum(-1) > parts.shape[-1] - 2] = np.nan
        chosen = np.argsort(-best, -1, kind="stable")[:, : self.used_groups]
        closed = np.ones(best.shape, bool)
        np.put_along_axis(closed, chosen, False, -1)
        closed = np.repeat(closed, parts.shape[-1], -1)
        return np.where(closed, -np.inf, values), last + 4 * closed

    def weights(self, logits, selection_bias=None, limited=0):
        """(the selected experts, their weights), int and float32 (tokens, used), of float32 ``logits``;
        ``limited`` as of :meth:`select`."""
        scores = {
            "softmax": _softmax,
            "softmax_selected": lambda x: x,
            "sigmoid": lambda x: np.float32(1) / (1 + np.exp(-x)),
        }[self.scoring](logits)
        chosen = self.select(scores if selection_bias is None else scores + selection_bias, limited)
        weights = np.take_along_axis(scores, chosen, -1)
        if self.scoring == "softmax_selected":
            weights = _softmax(weights)
        elif self.renormalise:
            weights = weights / weights.sum(-1, keepdims=True)
        return chosen, (weights * np.float32(self.factor)).astype(np.float32)

    def activate(self, gate, up):
        """An expert's elements of its gate and up."""
        if self.limit is None:
            return ACTIVATIONS[self.function](gate) * up
        limit = np.float32(self.limit)
        gate, up = np.minimum(gate, limit), np.clip(up, -limit, limit)
        return gate / (1 + np.exp(-np.float32(self.slope) * gate)) * (up + 1)

    def _part(self, step, name, expert):
        """An expert's part of a tensor or bias; 0 where the model has none."""
        if name is None:
            return np.float32(0)
        whole = step.tensors[name]
        size = len(whole) // self.experts
        return whole[expert * size : (expert + 1) * size]

    def reference(self, step, x):
        tensors = step.tensors
        logits = x @ tensors[self.router].T
        if self.router_bias is not None:
            logits = logits + tensors[self.router_bias]
        bias = self.selection_bias and tensors[self.selection_bias]
        chosen, weights = self.weights(logits, bias, min(max(step.prompt - step.start, 0), len(x)))
        out = np.zeros((len(x), self.width), np.float32)
        for expert in np.unique(chosen):
            rows, place = np.nonzero(chosen == expert)
            part = lambda name, expert=expert: self._part(step, name, expert)
            gate = x[rows] @ part(self.gate).T + part(self.gate_bias)
            up = x[rows] @ part(self.up).T + part(self.up_bias)
            y = self.activate(gate, up) @ part(self.down).T + part(self.down_bias)
            out[rows] += weights[rows, place, None] * y
        return out
