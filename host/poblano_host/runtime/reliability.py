"""What went wrong in runs and was put right: corrected bits, bursts written again, steps run once more."""

from collections import Counter

__all__ = ["reliability", "reliability_lines"]


def reliability(runs):
    """Figures of :class:`~poblano_host.runtime.report.Run` s: by place how many words were ``corrected`` and
    how many ``failed``, the ``scrubs``, and the errors of the steps that were ``retried``."""
    corrected, failed, scrubs = Counter(), Counter(), 0
    for run in runs:
        for place, counts in run.result.ecc.items():
            corrected[place] += counts.corrected
            failed[place] += counts.failed
            scrubs += counts.scrubs
    retried = [str(run.retried) for run in runs if run.retried is not None]
    return dict(corrected=dict(+corrected), failed=dict(+failed), scrubs=scrubs, retried=retried)


def reliability_lines(runs):
    """Sentences about them; none if nothing went wrong."""
    found, lines = reliability(runs), []
    for what, text in (("corrected", "words with a flipped bit, corrected"), ("failed", "words that failed")):
        if found[what]:
            places = ", ".join(f"{place} {count:,}" for place, count in found[what].items())
            lines.append(f"{sum(found[what].values()):,} {text}: {places}")
    if found["scrubs"]:
        lines.append(f"{found['scrubs']:,} bursts of memory written again by the scrubber")
    return lines + [f"a step was run once more after: {error}" for error in found["retried"]]
