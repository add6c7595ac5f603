#!/usr/bin/env python3
"""A file of scales with one range for everything, where figures do not depend on ranges.

  ranges.py CHECKPOINT.safetensors RANGE > scales.json
"""
import json
import sys


def scales(keys, reach):
    """The file's contents for the transformer's weights among some keys: inputs of layers, and of attention."""
    ranges = {key: reach for key in keys}
    ranges |= {f"{key}/{port}": reach for key in keys if key.endswith(".to_q.weight") for port in "qkv"}
    made_by = {"producer": "invented", "bundle": "none", "method": "max", "prompts": 1, "video": "64x64x1", "steps": 1}
    return {"ltxc_scales": 1, "made_by": made_by, "components": {"transformer": ranges}}


def linear(shapes):
    """The keys of linear layers of the transformer, of shapes by key."""
    return [key for key, shape in shapes.items() if key.startswith("model.diffusion_model.") and key.endswith(".weight") and len(shape) == 2]


def main():
    with open(sys.argv[1], "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    header.pop("__metadata__", None)
    json.dump(scales(linear({key: tensor["shape"] for key, tensor in header.items()}), float(sys.argv[2])), sys.stdout)


if __name__ == "__main__":
    main()
