#!/usr/bin/env python3
"""Compares the search of ``poblano explore`` with random search of the same budget: the volume that
their points dominate, in closed form, over several seeds; ``--plot`` draws both. A folder that has an
exploration is taken as it is."""

import argparse
import json
from pathlib import Path
import sys

from poblano_explore.pareto import Scale, hypervolume
from poblano_explore.report import plot
from poblano_explore.space import Task

LEVEL = "closed form"


def volumes(searches):
    """{name: volume} on one scale."""
    scale = Scale([point.values for search in searches.values() for point in search.points(LEVEL)])
    return {
        name: hypervolume([scale(point.values) for point in search.points(LEVEL)])
        for name, search in searches.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/bench_explore"))
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samplers", default="tpe,random")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    from poblano_explore.search import Search, workers

    samplers, found = arguments.samplers.split(","), []
    with workers(count=arguments.workers) as client:
        for seed in range(arguments.seeds):
            searches = {}
            for sampler in samplers:
                folder = arguments.folder / f"{sampler}-{seed}"
                searches[sampler] = Search(folder, Task(), sampler=sampler, seed=seed)
                print(f"{sampler}, seed {seed}", file=sys.stderr, flush=True)
                searches[sampler].propose(client, arguments.points, lambda *_: None)
            found.append(volumes(searches))
            print(seed, {name: round(volume, 3) for name, volume in found[-1].items()}, flush=True)
    if arguments.plot:
        plot(searches, arguments.plot)
    ratios = [volume[samplers[0]] / volume[samplers[-1]] for volume in found]
    figures = {"ratios": ratios, "least_ratio": min(ratios), "mean_ratio": sum(ratios) / len(ratios)}
    print(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
