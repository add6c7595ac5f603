#!/usr/bin/env python3
"""What every component of a model needs as a TensorRT-RTX engine, for several sizes of video and cards, without a GPU.

  trt_rtx_table.py --ltxc target/release/ltxc --header headers/2b.json [--sm 89]... [--size 1920x1088x257]...
                   [--quant fp16 | --quant fp16+fp8]... [--layers 2] [--json OUT]

A checkpoint with the first blocks of the model is synthesised, compiled for the target tensorrt-rtx, and each component
is put before the builder. Activations do not depend on the number of blocks, since a block uses the memory of the one
before; the weights are those of the whole model as `ltxc plan` counts them. Prints a table in Markdown; a component that
the builder refuses has its first error instead of a figure. Recipes that need ranges of inputs get invented ones, on which
no figure here depends.
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

from ranges import linear, scales

HERE = pathlib.Path(__file__).resolve().parent
GB = 1e9


def plan(model, sm, dims, size):
    """The builder's report; `dims` fixes what is dynamic, and the encoder encodes a whole video of `size`."""
    options = [text for name, value in dims.items() for text in ("--dim", f"{name}={value}")]
    width, height, frames = map(int, size.split("x"))
    options += ["--shape", f"video=1x3x{frames}x{height}x{width}", "--shape", f"noise=1x128x{(frames + 7) // 8}x{height // 32}x{width // 32}"]
    call = [sys.executable, HERE / "trt_rtx_plan.py", model, "--sm", sm, *options]
    done = subprocess.run(call, capture_output=True, text=True)
    return json.loads(done.stdout) if done.stdout.startswith("{") else {"errors": [done.stderr.strip()[-200:]]}


def write_scales(header, layers, out):
    """A range for every linear layer of the transformer's first blocks."""
    tensors = json.loads(pathlib.Path(header).read_text())["tensors"]
    block = lambda key: int((re.search(r"transformer_blocks\.(\d+)\.", key) or [0, 0])[1])
    tensors = {key: shape for key, shape in tensors.items() if block(key) < layers}
    out.write_text(json.dumps(scales(linear(tensors), 8.0)))


def recipes(quant, scales):
    """The options for recipes joined by `+`."""
    options = [text for recipe in quant.split("+") for text in ("--quant", recipe)]
    return options + (["--scales", scales] if {"fp8", "fp8-attention", "int8", "nvfp4"} & set(quant.split("+")) else [])


def compile_bundle(args, checkpoint, encoder, size, quant, out):
    """Compiles the first blocks for one size; one row of the transformer."""
    call = [args.ltxc, "compile", "ltxv", "--checkpoint", checkpoint, "--target", "tensorrt-rtx", "--size", size, "--rows", "1",
            "--set", "defaults.skip_block_list=[0]", *recipes(quant, out.parent / "scales.json"), "-o", out]
    for component in args.component:
        call += ["--only", component]
    if encoder:
        call += ["--text-encoder", encoder, "--tokenizer", HERE / "../../examples/shapes/weights/tokenizer"]
    subprocess.run(call, check=True, capture_output=True, text=True)


def planned(args, size, quant, folder):
    """What the compiler's memory plan says of every part of the whole model."""
    call = [args.ltxc, "plan", "ltxv", "--checkpoint", args.header, "--text-encoder", HERE / "headers/t5xxl.json", "--target", "tensorrt-rtx",
            "--size", size, "--rows", "1", *recipes(quant, folder / "scales-all.json"), "--json"]
    for component in args.component:
        call += ["--only", component]
    return json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--ltxc", default="target/release/ltxc")
    p.add_argument("--header", default=str(HERE / "headers/2b.json"))
    p.add_argument("--layers", default="2")
    p.add_argument("--sm", action="append")
    p.add_argument("--size", action="append")
    p.add_argument("--quant", action="append")
    p.add_argument("--component", action="append")
    p.add_argument("--json")
    args = p.parse_args()
    args.component = args.component or ["transformer"]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        checkpoint, encoder = folder / "model.safetensors", None
        synthesise = lambda header, out: subprocess.run([sys.executable, HERE / "synth_checkpoint.py", header, out, "--layers", args.layers], check=True, capture_output=True)
        synthesise(args.header, checkpoint)
        write_scales(args.header, int(args.layers), folder / "scales.json")
        write_scales(args.header, 1 << 30, folder / "scales-all.json")
        if "text_encoder" in args.component:
            encoder = folder / "t5.safetensors"
            synthesise(HERE / "headers/t5xxl.json", encoder)
        print("| size | format | sm | part | weights, GB | activations planned, GB | built, GB | attention in | builds in, s |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
        for size in args.size or ["1920x1088x257"]:
            for quant in args.quant or ["fp16"]:
                bundle = folder / "bundle"
                subprocess.run(["rm", "-rf", bundle])
                compile_bundle(args, checkpoint, encoder, size, quant, bundle)
                plans = {stage["component"].replace(", ", "."): stage for stage in planned(args, size, quant, folder)["stages"]}
                for sm in args.sm or ["89"]:
                    for model in sorted(bundle.glob("*.onnx")):
                        report = plan(model, sm, {"B": 1, "T": 1, "M": 1}, size)
                        row = {"size": size, "quant": quant, "sm": sm, "part": model.stem, "planned": plans.get(model.stem, {}), **report}
                        rows.append(row)
                        cell = lambda value: "" if value is None else f"{value / GB:.2f}"
                        said = report["errors"][0][:80] if report["errors"] else cell(report["activation_bytes"])
                        weights, expected = (cell(row["planned"].get(key)) for key in ("weights", "activations"))
                        print(f"| {size} | {quant} | {sm} | {model.stem} | {weights} | {expected} | {said} | {', '.join(report.get('attention', []))} | {report.get('build_seconds', '')} |", flush=True)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
