"""``poblano explore``: fronts and volumes, the points, the search that goes on, and the command."""

from dataclasses import replace
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

optuna = pytest.importorskip("optuna")
pytest.importorskip("distributed")

from poblano.config import ConfigError, preset  # noqa: E402
from poblano_explore import levels, search  # noqa: E402
from poblano_explore.levels import Infeasible, evaluate  # noqa: E402
from poblano_explore.pareto import Scale, dominates, front, hypervolume, spread  # noqa: E402
from poblano_explore.report import commands, write  # noqa: E402
from poblano_explore.search import Search, workers  # noqa: E402
from poblano_explore.space import CHOICES, Task, configuration, start  # noqa: E402
from poblano_host.models import load_model  # noqa: E402
from scripts import bench_explore  # noqa: E402
from tests.story import ROOT  # noqa: E402
from tests.test_cli import fails  # noqa: E402

SMALL = {name: values[0] for name, values in CHOICES.items()} | {"lanes": 2, "rows": 4, "cols": 4}
grid = st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=8)


def counted(marks):
    """The volume by counting unit cubes."""
    cells = np.zeros((4, 4, 4), bool)
    for x, y, z in marks:
        cells[:x, :y, :z] = True
    return cells.sum()


@given(grid)
def test_hypervolume(marks):
    assert hypervolume(marks) == counted(marks)
    best = [marks[n] for n in front(marks)]
    assert hypervolume(best) == counted(marks) and len(set(best)) == len(best)
    assert not any(dominates(a, b) for a in best for b in best)
    chosen = list(spread(marks))
    assert sorted(chosen) == list(range(len(marks)))
    assert hypervolume([marks[chosen[0]]]) == max(hypervolume([mark]) for mark in marks)


def test_scale():
    scale = Scale([(10, 100, 5), (100, 10, 50)])
    assert scale((10, 10, 50)) == (0, 0, 0) and scale((1, 1, 500)) == (0, 0, 0)
    assert scale((100, 100, 5)) == pytest.approx((1, 1, 1))


def test_configuration():
    """Each parameter is where it belongs; what can't be together is brought together."""
    task = Task()
    parameters = SMALL | {
        "rows": 8,
        "cols": 16,
        "tiles": 2,
        "lanes": 4,
        "scalers": 2,
        "channels": 2,
        "clock_mhz": 100,
    }
    config = configuration(task, parameters)
    tile = config.tile
    assert (tile.array.rows, tile.array.cols, tile.lanes, tile.scalers) == (8, 16, 4, 8)
    assert config.tiles == 2 and config.memory.homes == 2 and config.memory.bandwidth == 4
    wide = configuration(task, parameters | {"lanes": 32, "channels": 8, "scalers": 4})
    assert wide.tile.lanes == wide.tile.scalers == 16 and wide.memory.homes == 2
    assert wide.memory.bandwidth <= wide.memory.data_bytes
    with pytest.raises(ConfigError, match="prompt must be at least 1, not 0"):
        Task(prompt=0).check()


def test_closed_form():
    """Bytes bound a token of nano; twice the clock with the same memory is hardly faster; cells cost area."""
    task = Task()
    point = evaluate("closed form", task, SMALL | {"clock_mhz": 100})
    fast = evaluate("closed form", task, SMALL | {"clock_mhz": 200})
    assert fast.tokens_s == pytest.approx(point.tokens_s, rel=0.3) and fast.tokens_s >= point.tokens_s
    assert fast.tokens_j < point.tokens_j
    larger = evaluate("closed form", task, SMALL | {"clock_mhz": 100, "rows": 16, "vmem_lines": 8192})
    assert larger.area_mm2 > point.area_mm2
    # Two bursts of 64 bytes in flight carry less than the memory gives: more of them, or wider ones, help.
    assert fast.decode_cycles == pytest.approx(fast.bytes / 17 / (2 * 64 / 68), rel=0.05)
    flying = SMALL | {"clock_mhz": 200, "load_rows": 4}
    fast = evaluate("closed form", replace(task, channel_mb_s=1600), flying)
    for better in ({"outstanding": 4}, {"lanes": 4}):
        more = evaluate("closed form", replace(task, channel_mb_s=1600), flying | better)
        assert more.tokens_s > 1.3 * fast.tokens_s
    # With much memory, the time in which weights enter the array bounds a token.
    rich = SMALL | {"clock_mhz": 50, "outstanding": 16, "lanes": 4, "rows": 16, "cols": 4}
    slow = evaluate("closed form", replace(task, channel_mb_s=4000), rich)
    quick = evaluate("closed form", replace(task, channel_mb_s=4000), rich | {"load_rows": 4})
    assert quick.decode_cycles < slow.decode_cycles


@pytest.mark.parametrize("name, cells", [("nano", 8.69), ("desk", 54.7), ("tile64", 202.5)])
def test_area_of_presets(name, cells):
    """The closed form of area against the flow's figures (docs/asic.md)."""
    base = preset(name)
    tile, array = base.tile, base.tile.array
    parameters = SMALL | {
        "rows": array.rows,
        "cols": array.cols,
        "tiles": base.tiles,
        "lanes": tile.lanes,
        "scalers": tile.scalers // tile.lanes,
        "tokens": tile.tokens,
        "vmem_lines": tile.vmem_lines,
        "amem_blocks": tile.amem_blocks,
    }
    found = evaluate("closed form", Task(base="nano"), parameters)
    assert found.cells_mm2 == pytest.approx(cells, rel=0.15)


def test_start():
    """The base's own sizes are the first point, or what is nearest."""
    config, base = configuration(Task(), start(Task())), preset("nano")
    assert config.tile == base.tile and config.tiles == base.tiles
    assert start(Task(base="tile64"))["vmem_lines"] == 32768 and start(Task(base="tile64"))["rows"] == 64


def test_infeasible():
    with pytest.raises(Infeasible, match="rows"):
        evaluate("closed form", Task(), SMALL | {"rows": 24})
    with pytest.raises(Infeasible):
        evaluate("closed form", Task(), SMALL | {"vmem_lines": 16})


def test_events():
    """More than the closed form, and not far from it."""
    before = evaluate("closed form", Task(), SMALL)
    point = evaluate("events", Task(), SMALL, before)
    assert 0.98 * before.decode_cycles <= point.decode_cycles <= 2 * before.decode_cycles
    assert point.level == "events" and point.area_mm2 == before.area_mm2


def test_rtl_level(monkeypatch):
    """The cycles of the session's steps, which runs beside the golden model and is closed."""
    closed = []

    class Session:
        def __init__(self, model, config, *, check, context):
            assert check and context == 4 + 16 and config == configuration(Task(), SMALL)

        def generate(self, prompt, count):
            assert len(prompt) == 4 and count == 2
            for phase, cycles in (("prefill", 10), ("prefill", 20), ("decode", 7)):
                yield SimpleNamespace(phase=phase, result=SimpleNamespace(cycles=cycles)), None

        def close(self):
            closed.append(self)

    monkeypatch.setattr(levels, "Session", Session)
    before = evaluate("closed form", Task(prompt=4), SMALL)
    point = evaluate("rtl", Task(prompt=4), SMALL, before)
    assert (point.level, point.prefill_cycles, point.decode_cycles) == ("rtl", 30, 7) and closed
    assert point.seconds == pytest.approx((30 + 16 * 7) / SMALL["clock_mhz"] / 1e6)
    assert point.area_mm2 == before.area_mm2


@pytest.mark.slow
def test_rtl():
    """The closed form is below the RTL's cycles, and not far."""
    task = Task(prompt=4, output=2)
    before = evaluate("closed form", task, SMALL)
    point = evaluate("rtl", task, SMALL, before)
    assert 0.5 < before.decode_cycles / point.decode_cycles <= 1.02


def test_cells_level(monkeypatch):
    """Area and the longest path are the flow's; a clock beyond it is refused."""

    class Total:
        area, memory_bits = 5e6, 1000

    class Timing:
        fmax = 120.0

    class Design:
        total, timing = Total, {"all": Timing}

        @classmethod
        def build(cls, source):
            return cls()

        def analyse(self, *, blocks):
            assert not blocks

    monkeypatch.setattr(levels, "Design", Design)
    monkeypatch.setattr(levels, "chip_source", lambda config: config)
    before = evaluate("closed form", Task(), SMALL | {"clock_mhz": 100})
    point = evaluate("cells", Task(), SMALL, before)
    assert point.cells_mm2 == 5 and point.fmax_mhz == 120 and point.area_mm2 == pytest.approx(5.01)
    with pytest.raises(Infeasible, match="its longest path allows 120 MHz"):
        evaluate("cells", Task(), SMALL, replace(before, parameters=SMALL | {"clock_mhz": 150}))


@pytest.fixture(scope="module")
def client():
    with workers(count=1) as found:
        yield found


def test_search(client, tmp_path, monkeypatch):
    """All points are kept, the search goes on where it was, higher levels take the best of those below."""
    task, told = Task(), []
    found = Search(tmp_path, task, seed=1)
    found.propose(client, 12, lambda *progress: told.append(progress))
    assert found.points("closed form")[0].parameters == start(task)
    assert len(found.tried("closed form")) == 12 and told[-1] == ("closed form", 12, 12)
    again = Search(tmp_path, task, seed=1)
    assert [p.parameters for p in again.points("closed form")] == [
        p.parameters for p in found.points("closed form")
    ]
    again.propose(client, 16, lambda *_: None)
    assert len(again.tried("closed form")) == 16
    assert all(point.area_mm2 <= task.largest_mm2 for point in again.points("closed form"))
    with pytest.raises(ConfigError, match="has an exploration of another task"):
        Search(tmp_path, replace(task, prompt=8))

    monkeypatch.setattr(search, "attempt", refined)
    again.refine(client, "cells", 2, lambda *_: None)
    again.refine(client, "cells", 2, lambda *_: None)
    assert len(again.tried("cells")) == 2
    written = write(again)
    assert written and all(point.level == "cells" for point in written.values())
    content = json.loads((tmp_path / "front.json").read_text())
    assert content["tried"] == {"closed form": 16, "events": 0, "cells": 2, "rtl": 0}
    for path, point in written.items():
        # The preset's file is the point's chip, and what is printed names it.
        config = replace(configuration(task, point.parameters), name=path.stem)
        assert preset(str(path)) == config
        assert all(str(path) in command for command in commands(again, path))


def test_refined_in_order(client, tmp_path, monkeypatch):
    """As many points as are asked for: what is refused is replaced, no chip comes twice, and a run with more
    goes on."""
    task = Task()
    found = Search(tmp_path, task)
    for parameters in (SMALL, SMALL | {"lanes": 4}, SMALL | {"lanes": 8}):  # the last two are one chip
        for clock in CHOICES["clock_mhz"]:
            point = evaluate("closed form", task, parameters | {"clock_mhz": clock})
            found._add("closed form", point, vars(point), None)
    monkeypatch.setattr(search, "attempt", slow)
    found.refine(client, "cells", 6, lambda *_: None)
    assert len(found.points("cells")) == 6 and 6 <= len(found.tried("cells")) <= 10
    found.refine(client, "cells", 10, lambda *_: None)
    assert len(found.tried("cells")) == 10  # all different chips
    assert sorted(p.parameters["clock_mhz"] for p in found.points("cells")) == [50, 50, 75, 75, 100, 100]


def slow(level, task, parameters, before):
    """In place of yosys: paths that allow 120 MHz."""
    if parameters["clock_mhz"] > 120:
        return None, "its longest path allows 120 MHz"
    return refined(level, task, parameters, before)


def refined(level, task, parameters, before):
    """In place of yosys: a tenth more area."""
    point = replace(before, level=level, cells_mm2=1.1 * before.cells_mm2, fmax_mhz=200.0)
    return vars(point), None


def test_bench(client, tmp_path):
    searches = {name: Search(tmp_path / name, Task(), sampler=name) for name in ("tpe", "random")}
    for found in searches.values():
        found.propose(client, 4, lambda *_: None)
    volumes = bench_explore.volumes(searches)
    assert set(volumes) == {"tpe", "random"} and all(volume >= 0 for volume in volumes.values())


def test_command(poblano, tmp_path):
    folder = tmp_path / "explored"
    status, out, error = poblano("explore", "--folder", folder, "--points", 8, "--workers", 1)
    assert status == 0 and "The front, by closed form" in out and "poblano run --preset" in out
    assert (folder / "points.png").is_file() and (folder / "front.json").is_file()
    assert "kept in" in error


@pytest.mark.slow
def test_interrupted(tmp_path):
    """Ctrl-C keeps what is done, and the next run goes on from there."""
    arguments = [
        sys.executable,
        "-m",
        "poblano_cli.main",
        "explore",
        "--folder",
        str(tmp_path),
        "--workers",
        "1",
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(["rtl", "host", "fpga"])}
    running = subprocess.Popen(
        [*arguments, "--points", "5000"],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not done(tmp_path):
        time.sleep(1)
    os.killpg(running.pid, signal.SIGINT)
    out, error = running.communicate(timeout=120)
    assert running.returncode == 130 and "Traceback" not in error, error
    kept = done(tmp_path)
    assert kept and (tmp_path / "front.json").is_file() and "The front" in out
    found = Search(tmp_path, Task())
    states = {trial.state for trial in found.studies["closed form"].get_trials(deepcopy=False)}
    assert optuna.trial.TrialState.RUNNING not in states


def done(folder):
    if not (folder / "study.db").is_file():
        return 0
    try:
        return len(Search(folder, Task()).points("closed form"))
    except Exception:  # the file is being made
        return 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--sampler", "best"], "no sampler 'best'; there are tpe, nsga2, random"),
        (["--base", "nanno"], "nanno"),
        (["--prompt", 0], "prompt must be at least 1, not 0"),
        (["--scheduler", "tcp://127.0.0.1:9"], "no Dask scheduler answers at tcp://127.0.0.1:9"),
    ],
)
def test_bad_input(poblano, tmp_path, arguments, message):
    fails(poblano("explore", "--folder", tmp_path, *arguments), message)


def test_model_is_there():
    assert load_model(Task().model)
