#!/usr/bin/env python3
"""Compares every tensor of EXPECTED.safetensors with the one of the same name in OURS.safetensors, as JSON.

  compare.py OURS.safetensors EXPECTED.safetensors --max-abs 1e-4

Exit 1 if a tensor is missing, has another shape, is not finite, or is further off than --max-abs or --relative
(norm of the difference over norm of the expected). Without limits only the first three count.
"""
import argparse
import json
import sys

import numpy
from safetensors.numpy import load_file


def gap(ours, expected):
    """How far apart two arrays are, or what makes them incomparable."""
    if ours is None:
        return {"problem": "missing"}
    if ours.shape != expected.shape:
        return {"problem": f"shape {list(ours.shape)}, expected {list(expected.shape)}"}
    if not numpy.isfinite(ours).all():
        return {"problem": "not finite"}
    difference = ours.astype(numpy.float64) - expected
    norm = float(numpy.linalg.norm(expected)) or 1.0
    return {"max_abs_error": float(abs(difference).max()), "relative_error": float(numpy.linalg.norm(difference)) / norm}


def too_far(found, args):
    """Whether a gap fails the limits."""
    limits = ((args.max_abs, "max_abs_error"), (args.relative, "relative_error"))
    return "problem" in found or any(limit is not None and found[key] > limit for limit, key in limits)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ours")
    parser.add_argument("expected")
    parser.add_argument("--max-abs", type=float)
    parser.add_argument("--relative", type=float)
    args = parser.parse_args()
    ours = load_file(args.ours)
    gaps = {name: gap(ours.get(name), tensor) for name, tensor in load_file(args.expected).items()}
    print(json.dumps(gaps, indent=1))
    return 1 if any(too_far(found, args) for found in gaps.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
