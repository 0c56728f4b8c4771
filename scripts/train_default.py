#!/usr/bin/env python3
"""Train the default model: pip install .[train]; apt-get install bible-kjv bible-kjv-text;
scripts/train_default.py."""

import argparse

from poblano_host.models.loader import DEFAULT
from poblano_host.training import train

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", default=DEFAULT, help="where the model is written")
    parser.add_argument("--steps", type=int, default=3500)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, help="limit of time; the result then depends on the machine")
    arguments = parser.parse_args()
    loss = train(
        arguments.folder, steps=arguments.steps, threads=arguments.threads, minutes=arguments.minutes
    )
    print(f"held-out loss {loss:.3f}")
