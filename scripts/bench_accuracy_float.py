#!/usr/bin/env python3
"""Losses of the default model's float reference on its text: apt-get install bible-kjv bible-kjv-text."""

from poblano_host.models import load_model
from poblano_host.training import losses

if __name__ == "__main__":
    seen, error, rest = losses(load_model("default"))
    print(f"trained on: {seen:.3f} (standard error {error:.3f}); not trained on: {rest:.3f} nats per token")
