#!/usr/bin/env python3
"""What decoding or encoding in pieces needs on a GPU, by TensorRT-RTX's own planner, without one: every step of every
stage is built.

  decode_plan.py --bundle decoder.bundle --size 1920x1088x257 [--component vae_decoder] [--tiles 1x1] [--units 1] [--sm 89] [--json OUT]

The bundle holds the component, compiled for tensorrt-rtx and any size. --tiles: of a frame, along rows and columns, in
every stage, each with the margin the stage asks for. --units: units of time of a step; a first one has as many as it
needs. Prints GB (10^9 bytes): weights of all stages, states of all stages and tiles, and of the step that needs the most
its activations, what comes in, and what goes out; waiting is a piece for each stage, since something must be left for
the last step. The sum is what is there at once, but for the video itself.
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys

import onnx

HERE = pathlib.Path(__file__).resolve().parent
BYTES = {1: 4, 10: 2, 16: 2}


def window(total, tiles, halo):
    """Rows or columns of a tile with its margin; all of them are as long."""
    return -(-(total + 2 * halo * (tiles - 1)) // tiles)


def value(text, sizes):
    """The value of a size such as `8*frames - 7`."""
    return eval(re.sub(r"[A-Za-z_]\w*", lambda name: str(sizes[name[0]]), text), {"__builtins__": {}})


def shape(port, sizes):
    return [dim.dim_value or value(dim.dim_param, sizes) for dim in port.type.tensor_type.shape.dim]


def nbytes(port, sizes):
    count = BYTES[port.type.tensor_type.elem_type]
    for size in shape(port, sizes):
        count *= size
    return count


def built(model, ports, sizes, sm):
    """The builder's report."""
    options = [text for port in ports for text in ("--shape", port.name + "=" + "x".join(map(str, shape(port, sizes))))]
    done = subprocess.run([sys.executable, HERE / "trt_rtx_plan.py", model, "--sm", sm, *options], capture_output=True, text=True)
    if not done.stdout.startswith("{"):
        raise SystemExit(f"{model}: {done.stderr[-400:]}")
    report = json.loads(done.stdout)
    if report["errors"]:
        raise SystemExit(f"{model}: {report['errors'][0]}")
    return report


def stage(args, described, rows, columns):
    """(a row for every step, weights, states of all tiles, rows and columns that it makes)."""
    folder, frames, made = pathlib.Path(args.bundle), described["frames"][0]["name"], described["outputs"][0]["name"]
    sides, sizes, grown = described["sides"], {"B": 1}, []
    for side, total, tiles in zip(sides, (rows, columns), args.tiles):
        units = total // side["along"][frames]["rate"]
        sizes[side["size"]] = window(units, tiles, side["halo"])
        grown.append(units * side["along"][made]["rate"])
    states = {state["input"] for state in described["states"]} | {state["output"] for state in described["states"]}
    steps = []
    for kind in args.kind:
        sizes[described["memory"]["unit"]] = described["least"] + args.units - 1 if kind == "first" else args.units
        path = folder / described["models"][kind]
        graph = onnx.load(path, load_external_data=False).graph
        report = built(path, graph.input, sizes, args.sm)
        comes = sum(nbytes(port, sizes) for port in graph.input if port.name not in states)
        goes = sum(nbytes(port, sizes) for port in graph.output)
        kept = sum(nbytes(port, sizes) for port in graph.output if port.name in states)
        step = {"model": path.name, "activations": report["activation_bytes"], "comes": comes, "goes": goes, "states": kept * args.tiles[0] * args.tiles[1], "weights": report["weight_bytes"]}
        steps.append({**step, "step": step["activations"] + comes + goes})
        print(json.dumps(steps[-1]), file=sys.stderr, flush=True)
    return steps, max(step["weights"] for step in steps), max(step["states"] for step in steps), grown


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bundle", required=True)
    p.add_argument("--size", required=True, metavar="WIDTHxHEIGHTxFRAMES")
    p.add_argument("--component", default="vae_decoder", choices=["vae_decoder", "vae_encoder"])
    p.add_argument("--tiles", default=[1, 1], type=lambda text: [int(n) for n in text.split("x")])
    p.add_argument("--units", type=int, default=1)
    p.add_argument("--kind", nargs="+", default=["first", "next", "last"])
    p.add_argument("--sm", default="89")
    p.add_argument("--json")
    args = p.parse_args()
    manifest = json.loads((pathlib.Path(args.bundle) / "manifest.json").read_text())
    width, height, _ = map(int, args.size.split("x"))
    side = manifest["model"]["pixels_per_latent"]
    latents = [-(-height // side), -(-width // side)]
    extent = latents if args.component == "vae_decoder" else [side * n for n in latents]
    steps, weights, states = [], 0, 0
    for described in manifest["components"][args.component]["stream"]["stages"]:
        of_stage, heavy, kept, extent = stage(args, described, *extent)
        steps, weights, states = steps + of_stage, weights + heavy, states + kept
    waiting = sum(step["comes"] for step in steps if ".next." in step["model"])
    largest = max(steps, key=lambda step: step["step"])
    gb = lambda n: round(n / 1e9, 3)
    total = {"component": args.component, "size": args.size, "tiles": args.tiles, "weights": gb(weights), "states": gb(states), "step": gb(largest["step"]), "activations": gb(largest["activations"]),
             "at": largest["model"], "waiting": gb(waiting), "without_weights": gb(states + waiting + largest["step"]), "all": gb(weights + states + waiting + largest["step"])}
    print(json.dumps(total))
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps({**total, "steps": steps}, indent=1))


if __name__ == "__main__":
    main()
