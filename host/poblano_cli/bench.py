"""The command ``poblano bench serve``: how fast a chip behind a server answers, by the chip's own clock."""

from dataclasses import asdict
import http.client
import json
import math
import urllib.error
import urllib.request

import typer

from poblano.config import ConfigError
from poblano_host.runtime.errors import Mismatch
from poblano_host.serve.trace import Figures, Served, Trace, one_by_one

from .options import JSON, check_outputs, write_json
from .tables import note, print_table

__all__ = ["bench"]

LOADS = (0.5, 1.0, 2.0, 4.0, 8.0)
SECONDS = 30
"""What a server may take to say how it is."""
CLOCK = 1 << 53
"""Times of a trace are below this."""

bench = typer.Typer(no_args_is_help=True, help="Measure what runs.")


@bench.callback()
def _group():
    pass


@bench.command("serve")
def bench_serve(
    url: str = typer.Argument("http://127.0.0.1:8000", help="The server: see `poblano serve`."),
    requests: int = typer.Option(24, min=2, max=8192, help="Random requests."),
    seed: int = typer.Option(0, min=0, help="Of these, and of their arrivals."),
    load: list[float] = typer.Option(
        None,
        help="How many times as fast requests arrive as they can be served one by one; can be given again. "
        "0.5, 1, 2, 4 and 8 by default, and a trace as it is.",
    ),
    trace: str = typer.Option(None, help="A trace of requests (JSON) in place of random ones."),
    json_file: str = JSON,
):
    """Measure throughput and latency of a running server at several loads, in the time of its chip."""
    check_outputs(json_file)
    if bad := [value for value in load or () if not (0 < value < math.inf)]:
        raise ConfigError(f"a load is above 0, not {bad[0]}")
    asked = Trace.read(trace) if trace else Trace.random(requests, seed)
    loads = load or (None,) if trace else load or LOADS
    if any(loads):
        asked.gap  # noqa: B018 - before the chip works for long
    measured = _Bench(url, asked)
    rows = [measured.at(value) for value in loads]
    figures = measured.about | {"trace": trace, "seed": None if trace else seed, "loads": rows}
    measured.print(rows)
    write_json(json_file, figures)


class _Bench:
    """A server that is given a trace: first its requests one by one, then at loads."""

    def __init__(self, url, trace):
        self.url, self.trace = url.rstrip("/"), trace
        status = self._status()
        self.model, self.clock_mhz = status["model"], status["clock_mhz"]
        self.title = f"{status['name']} on {status['preset']}"
        note(f"{self.title}: {len(trace.requests)} requests one by one")
        # So far apart that each finds an idle chip: its clock jumps over the time between.
        apart = CLOCK // len(trace.requests)
        self.alone = self._serve([n * apart for n in range(len(trace.requests))])
        self.service = sum(one.took for one in self.alone) / len(self.alone)
        if not self.service:
            raise ConfigError(
                "the server's chip is the golden model, which knows nothing of time: serve with --backend sim"
            )
        self.about = {
            "model": status["name"],
            "preset": status["preset"],
            "clock_mhz": self.clock_mhz,
            "requests": len(trace.requests),
            "cycles_of_a_request_alone": self.service,
        }

    def at(self, load):
        """Figures at a load; None: with the arrivals of the trace."""
        factor = 1 if load is None else self.service / load / self.trace.gap
        arrivals = [round(factor * arrival) for arrival in self.trace.arrivals]
        if load is None:
            note("the trace as it is")
            load = self.service / self.trace.gap if arrivals[-1] else None
        else:
            note(f"load {load:g}")
        served = self._serve(arrivals)
        for n, (one, alone) in enumerate(zip(served, self.alone)):
            if one.texts != alone.texts:
                raise Mismatch(f"request {n} has another answer at load {load} than alone")
        found = {"load": load, "arrivals": arrivals}
        for name, ones in (("together", served), ("one_by_one", one_by_one(self.alone, arrivals))):
            figures = Figures.of(ones)
            found[name] = asdict(figures) | {"tokens_per_cycle": figures.rate}
            if self.clock_mhz:
                found[name]["tokens_per_second"] = figures.rate * self.clock_mhz * 1e6
        return found

    def print(self, rows):
        """Print a table of the figures."""
        clock = self.clock_mhz
        time = (lambda cycles: f"{cycles / clock / 1000:,.3f}") if clock else lambda cycles: f"{cycles:,.0f}"
        unit, rate = ("ms", "tokens/s") if clock else ("cycles", "tokens/Mcycle")
        lines = []
        for found in rows:
            for name, shown in (("together", "together"), ("one_by_one", "one by one")):
                figures = found[name]
                speed = figures["tokens_per_cycle"] * 1e6 * (clock or 1)
                spreads = [time(value) for value in figures["first"]]
                spreads += [time(value) for value in figures["between"]] if figures["between"] else ["", ""]
                load = "at once" if found["load"] is None else f"{found['load']:.3g}"
                lines.append([load if name == "together" else "", shown, f"{speed:,.1f}", *spreads])
        first, between = f"first token, {unit}", f"between, {unit}"
        columns = ["load", "", rate, f"{first}: median", "95 %", f"{between}: median", "95 %"]
        print(
            f"\n{self.title}: {self.about['requests']} requests; load 1: one each {time(self.service)} {unit}"
        )
        print_table(columns, lines, left=2)
        print("every answer is the same at each load as alone")

    def _serve(self, arrivals):
        """The requests as they were served, when they arrive at cycles of the chip's clock."""
        self._status()
        fields = {"model": self.model}
        requests = [fields | one | {"arrival": at} for one, at in zip(self.trace.requests, arrivals)]
        served: list = [None] * len(requests)
        for line in self._lines("/trace", {"requests": requests}):
            n, answer = line["index"], line["answer"]
            texts = tuple((one["text"], one["finish_reason"]) for one in answer["choices"])
            served[n] = Served(arrivals[n], tuple(map(tuple, line["token_cycles"])), texts)
        if lost := served.count(None):
            raise ConfigError(f"{self.url}: the server has stopped, with {lost} requests unanswered")
        return served

    def _status(self):
        """What the server says of itself; ConfigError if it works for others."""
        status = next(self._lines("/status", seconds=SECONDS), None)
        if not isinstance(status, dict) or not {"model", "name", "preset", "clock_mhz"} <= status.keys():
            raise ConfigError(f"{self.url}: this is no server of poblano")
        if others := len(status["running"]) + status["waiting"]:
            raise ConfigError(f"{self.url}: the server works for others: {others} sequences")
        return status

    def _lines(self, path, body=None, seconds=None):
        """The lines of JSON that the server answers with; ConfigError if it does not."""
        try:
            data = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                for line in answer:
                    found = json.loads(line)
                    if isinstance(found, dict) and "error" in found:
                        raise ConfigError(f"{self.url}: {found['error']['message']}")
                    yield found
        except urllib.error.HTTPError as error:
            raise ConfigError(f"{self.url}: {_message(error)}") from None
        except urllib.error.URLError as error:
            raise ConfigError(f"{self.url}: no server answers: {error.reason}") from None
        except json.JSONDecodeError:
            raise ConfigError(f"{self.url}: this is no server of poblano") from None
        except (
            ValueError,
            OSError,
            http.client.HTTPException,
        ) as error:  # a bad address, a server that stops
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"{self.url}: {error!s}") from None


def _message(error):
    """What a server says is wrong."""
    try:
        return json.load(error)["error"]["message"]
    except (ValueError, KeyError, TypeError, OSError):
        return f"this is no server of poblano: {error.code} {error.reason}"
