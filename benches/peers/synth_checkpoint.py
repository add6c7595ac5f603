#!/usr/bin/env python3
"""Writes a full-size checkpoint: released key names, shapes and metadata, cheap non-constant bf16 values.

  synth_checkpoint.py headers/2b.json OUT.safetensors [--layers 2]

For measuring what depends on size only (compile time, memory, file layout). The values are small and of both signs,
between 0.0078 and 0.0625 in size, and repeat every 2 MiB; a model with them computes nothing. Standard library only.
"""
import argparse
import json
import math
import os
import re
import struct
import sys

BLOCK_VALUES = 1 << 20
SMALLEST = 0x3C00  # 0.0078125 as bf16
STEPS = 0x180  # bf16 steps from there up to 0.0625
BYTES_PER_VALUE = 2


def header_of(shapes, config):
    """(safetensors header as bytes, bytes of data that follow it)."""
    header, offset = {"__metadata__": {"config": json.dumps(config)}}, 0
    for name, shape in shapes.items():
        end = offset + BYTES_PER_VALUE * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, offset


def cut(released, layers):
    """The shapes and config of a model with only the first blocks of the transformer (of a text encoder, likewise)."""
    def kept(key):
        found = re.search(r"transformer_blocks\.(\d+)\.|encoder\.block\.(\d+)\.", key)
        return not found or int(found[1] or found[2]) < layers

    released["tensors"] = {key: shape for key, shape in released["tensors"].items() if kept(key)}
    for section in released["config"].values():
        if isinstance(section, dict) and "num_layers" in section:
            section["num_layers"] = layers


def block():
    """The 2 MiB of bf16 values that are repeated."""
    return b"".join(struct.pack("<H", bf16(index)) for index in range(BLOCK_VALUES))


def bf16(index):
    """Bits of one value: a hash of the index picks the size, its lowest bit the sign."""
    return (SMALLEST + (index * 2654435761 >> 7) % STEPS) | (index & 1) << 15


def write(path, head, size):
    """Writes the header and `size` bytes of values."""
    values = block()
    with open(path, "wb") as out:
        out.write(head)
        for done in range(0, size, len(values)):
            out.write(values[: size - done])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("header", help='JSON: {"config": metadata, "tensors": {key: shape}}')
    parser.add_argument("out")
    parser.add_argument("--layers", type=int, help="only the first blocks of the transformer")
    args = parser.parse_args()
    with open(args.header) as source:
        released = {"config": {}, **json.load(source)}
    if args.layers:
        cut(released, args.layers)
    write(args.out, *header_of(released["tensors"], released["config"]))
    print(args.out, os.path.getsize(args.out) / 1e9, "GB", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
