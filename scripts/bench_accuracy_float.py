#!/usr/bin/env python3
"""Losses of a model's float reference on the text that the models here are trained on: apt-get install
bible-kjv bible-kjv-text; scripts/bench_accuracy_float.py [default|moe|PATH]."""

import sys

from poblano_host.models import load_model
from poblano_host.training import losses

if __name__ == "__main__":
    seen, error, rest = losses(load_model(sys.argv[1] if len(sys.argv) > 1 else "default"))
    print(f"trained on: {seen:.3f} (standard error {error:.3f}); not trained on: {rest:.3f} nats per token")
