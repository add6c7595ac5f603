#!/usr/bin/env python3
"""Inputs of one denoising step with one, two or three rows, as guidance asks for them.

  rows.py dit_step.in.safetensors PREFIX --blocks 2

writes PREFIX1.safetensors (the prompt), PREFIX2 (with a negative row: CFG) and PREFIX3 (and a perturbed row: CFG and STG)
from the inputs of one row; `keep` f32[blocks, rows] is 1, and 0 for the last block of the third row. The timesteps of
the tokens become `timestep`, the distinct ones, and `timestep_of`, which of them each token has.
"""
import argparse

from safetensors.numpy import load_file, save_file
import numpy as np

SHARED = ("coords", "timestep_of")

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("inputs")
parser.add_argument("prefix")
parser.add_argument("--blocks", type=int, default=2)
args = parser.parse_args()
one = load_file(args.inputs)
distinct, of = np.unique(one["timestep"][0], return_inverse=True)
one["timestep"], one["timestep_of"] = distinct[None], of.astype(np.int64)
for rows in (1, 2, 3):
    many = {name: value if name in SHARED else np.repeat(value, rows, axis=0) for name, value in one.items()}
    many["keep"] = np.ones((args.blocks, rows), np.float32)
    if rows == 3:
        many["keep"][-1, -1] = 0
    save_file(many, f"{args.prefix}{rows}.safetensors")
