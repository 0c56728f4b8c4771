"""The search: Optuna proposes, Dask computes, a file keeps all; what was interrupted goes on."""

from contextlib import contextmanager
from itertools import islice
import json
import logging
from pathlib import Path

import dask
from dask.distributed import Client, LocalCluster, as_completed
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from poblano.config import ConfigError

from .interrupts import later, never
from .levels import LEVELS, Infeasible, Point, evaluate
from .pareto import Scale, front, spread
from .space import CHOICES, configuration, start

__all__ = ["Search", "workers"]

DISTRIBUTIONS: dict[str, BaseDistribution] = {
    name: CategoricalDistribution(values) for name, values in CHOICES.items()
}
DIRECTIONS = (StudyDirection.MAXIMIZE, StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE)
POINT, REASON, TASK = "point", "infeasible", "task"
"""What Optuna's trials and studies carry."""
FIRST = 20
"""Points that are drawn at random before a sampler learns."""
SAMPLERS = {
    "tpe": lambda seed: optuna.samplers.TPESampler(n_startup_trials=FIRST, multivariate=True, seed=seed),
    "nsga2": lambda seed: optuna.samplers.NSGAIISampler(population_size=FIRST, seed=seed),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
}


@contextmanager
def workers(address=None, count=2):
    """A Dask client: of the scheduler at an address, or of so many processes of this machine."""
    dask.config.set({"distributed.comm.timeouts.connect": "10s", "distributed.worker.daemon": True})
    if address is not None:
        try:
            client = Client(address, timeout="10s")
        except (OSError, ValueError) as error:
            raise ConfigError(f"no Dask scheduler answers at {address}: {error}") from None
        with client:
            yield client
        return
    with never():
        cluster = LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        )
    with cluster, Client(cluster) as client:
        yield client


def attempt(level, task, parameters, before):
    """For a worker: (figures of the point, None), or (None, why there is none)."""
    try:
        return vars(evaluate(level, task, parameters, before)), None
    except Infeasible as error:
        return None, str(error)


class Search:
    """An exploration that lies in a folder: a study of Optuna for each level."""

    def __init__(self, folder, task, *, sampler="tpe", seed=0):
        if sampler not in SAMPLERS:
            raise ConfigError(f"no sampler {sampler!r}; there are {', '.join(SAMPLERS)}")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.folder, self.task = Path(folder), task
        self.folder.mkdir(parents=True, exist_ok=True)
        storage = f"sqlite:///{self.folder / 'study.db'}"
        self.studies = {
            level: optuna.create_study(
                study_name=level,
                storage=storage,
                sampler=SAMPLERS[sampler](seed),
                directions=DIRECTIONS,
                load_if_exists=True,
            )
            for level in LEVELS
        }
        for study in self.studies.values():
            kept = study.user_attrs.get(TASK)
            if kept is None:
                study.set_user_attr(TASK, json.dumps(task.as_json()))
            elif json.loads(kept) != task.as_json():
                raise ConfigError(f"{self.folder} has an exploration of another task: {kept}")

    def points(self, level):
        """All points of a level that are not too large, in the order in which they were proposed."""
        return [point for _, point in self.numbered(level)]

    def numbered(self, level):
        """(number of the proposal, point) of these."""
        points = [
            (trial.number + 1, Point(**json.loads(trial.user_attrs[POINT])))
            for trial in self._complete(level)
        ]
        return [(number, point) for number, point in points if point.area_mm2 <= self.task.largest_mm2]

    def _complete(self, level):
        """Its trials of points that can be."""
        return self.studies[level].get_trials(deepcopy=False, states=(TrialState.COMPLETE,))

    def tried(self, level):
        """Points of a level that are done, those that can't be too."""
        states = TrialState.COMPLETE, TrialState.FAIL
        trials = self.studies[level].get_trials(deepcopy=False, states=states)
        return [trial for trial in trials if POINT in trial.user_attrs or REASON in trial.user_attrs]

    def front(self, level):
        """The points of a level that none of it dominates."""
        points = self.points(level)
        if not points:
            return []
        scale = Scale([point.values for point in points])
        return [points[n] for n in front([scale(point.values) for point in points])]

    def propose(self, client, count, progress):
        """Points in closed form, until ``count`` were tried."""
        study, running, queue = self.studies[LEVELS[0]], {}, as_completed()
        wide = 2 * (len(client.ncores()) or 1)
        try:
            while True:
                with later():
                    done = len(self.tried(LEVELS[0]))
                    while len(running) < min(wide, count - done):
                        trial = self._ask(study)
                        future = client.submit(attempt, LEVELS[0], self.task, trial.params, None, pure=False)
                        running[future.key] = trial
                        queue.add(future)
                if not running:
                    return
                future = next(queue)
                with later():
                    self._tell(study, running.pop(future.key), *future.result())
                    progress(LEVELS[0], done + 1, count)
        finally:
            with later():
                for trial in running.values():
                    study.tell(trial, state=TrialState.FAIL)

    def _ask(self, study):
        """A trial that is proposed; the first is the chip that the search begins from."""
        if not study.get_trials(deepcopy=False):
            study.enqueue_trial(start(self.task))
        return study.ask(DISTRIBUTIONS)

    def _tell(self, study, trial, figures, reason):
        if figures is None:
            trial.set_user_attr(REASON, reason)
            study.tell(trial, state=TrialState.FAIL)
            return
        point = Point(**figures)
        trial.set_user_attr(POINT, json.dumps(figures))
        trial.set_constraint("area", point.area_mm2 - self.task.largest_mm2)
        study.tell(trial, point.values)

    def refine(self, client, level, count, progress):
        """The best of the highest level below that has points, until this level has ``count`` that can be:
        the next best takes the place of one that it refuses."""
        waiting, running, queue = self._best_below(level), {}, as_completed()
        while True:
            done = len(self._complete(level))
            progress(level, done, count)
            for point in islice(waiting, max(0, count - done - len(running))):
                future = client.submit(attempt, level, self.task, point.parameters, point, pure=False)
                running[future.key] = point
                queue.add(future)
            if not running:
                return
            future = next(queue)
            with later():
                self._add(level, running.pop(future.key), *future.result())

    def _best_below(self, level):
        """Points of the highest level below that has any, the best first, each chip once, without those that
        were tried at this level."""
        lower = reversed(LEVELS[: LEVELS.index(level)])
        below = next((points for points in map(self.points, lower) if points), [])
        seen = {self._chip(trial.params) for trial in self.tried(level)}
        scale = Scale([point.values for point in below])
        for n in spread([scale(point.values) for point in below]):
            chip = self._chip(below[n].parameters)
            if chip not in seen:
                seen.add(chip)
                yield below[n]

    def _chip(self, parameters):
        """What is different in different chips: some parameters stand for the same one."""
        return configuration(self.task, parameters), parameters["clock_mhz"]

    def _add(self, level, point, figures, reason):
        """A trial of a higher level, which nobody proposed."""
        attributes = {REASON: reason} if figures is None else {POINT: json.dumps(figures)}
        self.studies[level].add_trial(
            create_trial(
                params=point.parameters,
                distributions=DISTRIBUTIONS,
                values=None if figures is None else Point(**figures).values,
                state=TrialState.FAIL if figures is None else TrialState.COMPLETE,
                user_attrs=attributes,
            )
        )
