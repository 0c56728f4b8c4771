#!/usr/bin/env python3
"""Train the mixture of experts, and write it in 4 bits: pip install .[train]; apt-get install bible-kjv
bible-kjv-text; scripts/train_experts.py."""

import argparse

from poblano_host.models import load_model
from poblano_host.models.gguf import export_gguf
from poblano_host.models.loader import MOE
from poblano_host.models.quantise import quantise_model
from poblano_host.training import EXPERTS_CONFIG, train

FORMATS = {"*_exps.weight": "q4_0", "*attn_*.weight": "q8_0", "token_embd.weight": "q8_0"}
"""The router stays in F32."""

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", default="build/poblano-moe", help="where it is written in F16")
    parser.add_argument("--file", default=MOE, help="the GGUF file in 4 bits")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, help="limit of time; the result then depends on the machine")
    arguments = parser.parse_args()
    loss = train(
        arguments.folder,
        config=EXPERTS_CONFIG,
        steps=arguments.steps,
        rate=3e-3,
        dropout=0.1,
        threads=arguments.threads,
        minutes=arguments.minutes,
    )
    export_gguf(quantise_model(load_model(arguments.folder), FORMATS), arguments.file, blocks=True)
    print(f"held-out loss {loss:.3f}")
