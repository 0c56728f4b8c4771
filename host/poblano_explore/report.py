"""What an exploration found: files of the front's chips, a table, a plot."""

import json

from poblano.config_file import config_text

from .levels import LEVELS
from .pareto import Scale, hypervolume
from .space import configuration

__all__ = ["best_level", "commands", "plot", "write"]


def best_level(search):
    """The highest level that has points."""
    return next(level for level in reversed(LEVELS) if level == LEVELS[0] or search.points(level))


def commands(search, path):
    """What repeats a point: (its cells, its run on the RTL against the golden model)."""
    task = search.task
    return (
        f"poblano asic --preset {path} --no-power",
        f'poblano run --preset {path} --model {task.model} --prompt "In the beginning" --tokens 2 --check',
    )


def write(search):
    """The front of the highest level, each of its chips in a preset's file; {path: point}."""
    level, found = best_level(search), {}
    points = sorted(search.front(level), key=lambda point: point.area_mm2)
    for number, point in enumerate(points, 1):
        path = search.folder / f"point-{number}.toml"
        path.write_text(config_text(configuration(search.task, point.parameters, path.stem)))
        found[path] = point
    figures = {
        "task": search.task.as_json(),
        "level": level,
        "tried": {name: len(search.tried(name)) for name in LEVELS},
        "front": [
            {"preset": str(path), "commands": commands(search, path), **point.as_json()}
            for path, point in found.items()
        ],
    }
    (search.folder / "front.json").write_text(json.dumps(figures, indent=2) + "\n")
    return found


def plot(searches, path):
    """Points of searches {name: search} and their hypervolumes as they went on; the last volumes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    scale = Scale([p.values for search in searches.values() for p in search.points(LEVELS[0])])
    figure, axes = pyplot.subplots(1, 3, figsize=(16, 5), layout="constrained")
    volumes = {}
    for name, search in searches.items():
        points = search.points(LEVELS[0])
        areas = [point.area_mm2 for point in points]
        axes[0].plot(areas, [point.tokens_s for point in points], ".", alpha=0.3, label=name)
        axes[1].plot(areas, [point.tokens_j for point in points], ".", alpha=0.3, label=name)
        marks = [scale(point.values) for point in points]
        history = [hypervolume(marks[: n + 1]) for n in range(len(marks))]
        numbers = [number for number, _ in search.numbered(LEVELS[0])]
        axes[2].step(numbers, history, where="post", label=name)
        volumes[name] = history[-1] if history else 0.0
        level = best_level(search)
        best = sorted(search.front(level), key=lambda point: point.area_mm2)
        for axis, value in ((axes[0], "tokens_s"), (axes[1], "tokens_j")):
            axis.plot(
                [p.area_mm2 for p in best],
                [getattr(p, value) for p in best],
                "o",
                label=f"{name}: front, {level}",
            )
    for axis, label in ((axes[0], "tokens a second"), (axes[1], "tokens a joule")):
        axis.set(xscale="log", yscale="log", xlabel="mm2 at 180 nm, memories included", ylabel=label)
        axis.legend(fontsize="small")
    axes[2].set(xlabel="points in closed form", ylabel="volume that is dominated (decades)")
    axes[2].legend(fontsize="small")
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
    return volumes
