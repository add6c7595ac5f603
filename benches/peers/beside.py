#!/usr/bin/env python3
"""A run that decodes beside denoising against one that decodes after it: seconds to the first frame, in all, peak memory.

  beside.py --ltxc target/release/ltxc --bundle shapes.bundle --rounds 3 -- --frames 513 --steps 4

What follows `--` are arguments of `ltxc run`. The videos must have the same bytes. Prints medians as one JSON object.
"""
import argparse
import json
import os
import statistics
import subprocess
import tempfile


def run(command):
    """(report, peak resident MiB) of a process that prints a report."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    text = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}")
    return json.loads(text), round(usage.ru_maxrss / 1024)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--ltxc", required=True)
    p.add_argument("--bundle", required=True)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("more", nargs="*")
    args = p.parse_args()
    found = {"after": [], "beside": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.rounds):
            videos = []
            for name, order in (("after", ["--sequential"]), ("beside", [])):
                out = os.path.join(folder, f"{name}.mp4")
                command = [args.ltxc, "run", args.bundle, "--json", "--prompt", "circle", "-o", out, *order, *args.more]
                report, mebibytes = run(command)
                found[name].append((report["first_frame_seconds"], report["seconds"], mebibytes))
                with open(out, "rb") as video:
                    videos.append(video.read())
            if videos[0] != videos[1]:
                raise SystemExit("the videos differ")
    columns = ("first_frame_seconds", "seconds", "peak_mib")
    medians = {name: dict(zip(columns, map(statistics.median, zip(*runs)))) for name, runs in found.items()}
    print(json.dumps(medians))


if __name__ == "__main__":
    main()
