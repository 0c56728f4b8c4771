"""Fronts of points, and the volume that they dominate."""

import math

__all__ = ["Scale", "front", "hypervolume", "spread"]


class Scale:
    """Objectives as numbers from 0 (the worst of some points) upward, on logarithmic scales: a factor counts
    the same wherever it is. Speed and tokens a joule are made large, area small."""

    SIGNS = 1, 1, -1

    def __init__(self, values):
        marks = [self._logarithms(value) for value in values]
        self.worst = [min(column) for column in zip(*marks)]

    def _logarithms(self, value):
        return [sign * math.log10(number) for sign, number in zip(self.SIGNS, value)]

    def __call__(self, value):
        return tuple(max(0.0, mark - worst) for mark, worst in zip(self._logarithms(value), self.worst))


def dominates(a, b):
    """Whether ``a`` is as good as ``b`` in all, and better in something. Large is good."""
    return all(x >= y for x, y in zip(a, b)) and a != b


def front(marks):
    """The indices of marks that none dominates; of equal ones the first."""
    return [
        n
        for n, mark in enumerate(marks)
        if not any(dominates(other, mark) for other in marks) and mark not in marks[:n]
    ]


def hypervolume(marks):
    """Of what lies between zero and at least one of the marks, of any number of objectives."""
    marks = [mark for mark in marks if all(value > 0 for value in mark)]
    if not marks:
        return 0.0
    if len(marks[0]) == 1:
        return max(mark[0] for mark in marks)
    total, upper = 0.0, None
    marks = sorted((marks[n] for n in front(marks)), key=lambda mark: mark[-1], reverse=True)
    for n, mark in enumerate(marks):
        upper = marks[n + 1][-1] if n + 1 < len(marks) else 0.0
        total += (mark[-1] - upper) * hypervolume([other[:-1] for other in marks[: n + 1]])
    return total


def spread(marks):
    """The indices of marks, those first that together dominate much: each adds the most volume to those
    before it. When none adds any, as when a front is through, the rest begins anew."""
    left, group = list(range(len(marks))), []
    while left:
        volume, best = max((hypervolume([*group, marks[n]]), -n) for n in left)
        if group and volume <= hypervolume(group):
            group = []
            continue
        group.append(marks[-best])
        left.remove(-best)
        yield -best
