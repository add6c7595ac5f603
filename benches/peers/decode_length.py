#!/usr/bin/env python3
"""Peak memory and time of a decode by the length of the video: `ltxc decode` of random latents, whole and in pieces.

  decode_length.py --ltxc target/release/ltxc --bundle shapes.bundle --side 8 --frames 97 257 769 2049 --decode whole 1

--side: latent rows and columns. Videos longer than --most frames are not decoded whole. Prints one JSON
object. Needs numpy and safetensors.
"""
import argparse
import json
import os
import subprocess
import tempfile
import time

import numpy
from safetensors.numpy import save_file


def run(command):
    """(seconds, peak resident MiB) of a process."""
    begin = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}")
    return round(time.perf_counter() - begin, 2), round(usage.ru_maxrss / 1024)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--ltxc", required=True)
    p.add_argument("--bundle", required=True)
    p.add_argument("--side", type=int, default=8)
    p.add_argument("--frames", type=int, nargs="+", default=[97, 257, 769, 2049])
    p.add_argument("--decode", nargs="+", default=["whole", "1"])
    p.add_argument("--threads", default="2")
    p.add_argument("--most", type=int, default=1 << 20, help="frames of the longest video that is decoded whole")
    args = p.parse_args()
    with open(os.path.join(args.bundle, "manifest.json")) as manifest:
        model = json.load(manifest)["model"]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for frames in args.frames:
            count = (frames - 1) // model["frames_per_latent"] + 1
            shape = (1, model["latent_channels"], count, args.side, args.side)
            latents = numpy.random.default_rng(0).standard_normal(shape, dtype=numpy.float32)
            path = os.path.join(folder, "latents.safetensors")
            save_file({"latents": latents}, path)
            for decode in args.decode:
                if decode == "whole" and frames > args.most:
                    continue
                out = os.path.join(folder, "out.mp4")
                command = [args.ltxc, "decode", args.bundle, path, "--decode", decode, "--threads", args.threads, "-o", out]
                seconds, mebibytes = run(command)
                rows.append({"frames": frames, "decode": decode, "seconds": seconds, "peak_mib": mebibytes})
                print(rows[-1], flush=True)
    first, last = ([row for row in rows if row["decode"] == args.decode[-1]][at] for at in (0, -1))
    print(json.dumps({"side": args.side, "last_over_first": round(last["peak_mib"] / first["peak_mib"], 3), "rows": rows}))


if __name__ == "__main__":
    main()
