"""What a server counts, for Prometheus."""

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

__all__ = ["Metrics"]

CYCLES = [10**n * m for n in range(3, 10) for m in (1, 3)]


class Metrics:
    """Counts of a Service."""

    CONTENT_TYPE = CONTENT_TYPE_LATEST

    def __init__(self, service):
        self.registry = CollectorRegistry()
        engine, scheduler = service.engine, service.engine.scheduler
        for name, text, value in (
            ("requests_running", "Sequences that have places in steps", lambda: len(scheduler.running)),
            ("requests_waiting", "Sequences that wait for a place", lambda: len(scheduler.waiting)),
            ("pages_free", "Pages of the KV caches that no sequence holds", lambda: scheduler.pool.free),
            ("pages", "Pages of the KV caches", lambda: scheduler.pool.pages),
            ("chip_cycles", "Cycles of the chip in steps so far", lambda: engine.cycles),
            ("chip_retries", "Steps run once more after an error", lambda: engine.retries),
            (
                "chip_rerouted",
                "Choices of experts that had no room, in steps so far",
                lambda: engine.rerouted,
            ),
            ("chip_steps", "Steps so far", lambda: engine.steps),
            ("chip_tokens", "Tokens of steps so far, prompts included", lambda: engine.tokens),
        ):
            Gauge(f"poblano_{name}", text, registry=self.registry).set_function(value)
        self._requests = Counter("poblano_requests", "Requests that were answered", registry=self.registry)
        self._tokens = Counter("poblano_tokens", "Tokens of answers", registry=self.registry)
        self._cached = Counter(
            "poblano_cached_tokens", "Tokens of prompts found in the caches", registry=self.registry
        )
        self._times = {
            part: Histogram(
                f"poblano_{part}_cycles",
                f"Cycles of {part} of a request",
                buckets=CYCLES,
                registry=self.registry,
            )
            for part in ("queueing", "prefill", "decode")
        }

    def answered(self, call):
        """A request has been answered."""
        usage = call.usage
        self._requests.inc()
        self._tokens.inc(usage["completion_tokens"])
        self._cached.inc(usage["prompt_tokens_details"]["cached_tokens"])
        for part, cycles in usage["chip_cycles"].items():
            self._times[part].observe(cycles)

    def text(self):
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
