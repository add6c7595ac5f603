#!/usr/bin/env python3
"""What it costs to turn a checkpoint into an ONNX file: torch.onnx.export, `cp` as the floor, and ours.

  compile_peers.py --layers 2 --dtype bfloat16 --copy FILE --rounds 3
  compile_peers.py --ours 'ltxc compile ... --checkpoint c.safetensors --out DIR' --ours-output DIR --checkpoint c.safetensors

Each contestant is a new process in each round. Seconds: `wall_seconds` from its start to its exit, `sync_seconds` for
fsync of everything it wrote, `seconds` both together. Memory: `peak_rss_bytes` of the process. The export peer reads
the same checkpoint (dit_step.py writes it: --layers of the 28 blocks of the 2B transformer) and reports its own share
for importing, loading and exporting. Whatever a round wrote is deleted after it. Sources are read once beforehand, so
that all read from the page cache. Memory below about 16 MiB cannot be told: a process inherits the peak of this one.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import paired

SCRIPT = Path(__file__).with_name("dit_step.py")


def export_part(checkpoint, output, arguments):
    """The timed process of the export peer: checkpoint in, ONNX out, seconds of each stage on stdout."""
    marks = [("start", time.perf_counter())]
    import torch

    import dit_step
    import peers

    args = dit_step.parser().parse_args(arguments)
    files = peers.Files(checkpoint=checkpoint, inputs=checkpoint.with_name("inputs.safetensors"), expected=None, onnx=output / "model.onnx")
    peers.torch_settings(args.threads)
    marks.append(("import", time.perf_counter()))
    module, inputs = peers.load(dit_step.CASE, args, files, getattr(torch, args.dtype))
    if args.dtype != "float32":
        inputs |= {name: inputs[name].to(getattr(torch, args.dtype)) for name in ("latents", "text")}
    marks.append(("load", time.perf_counter()))
    output.mkdir(parents=True, exist_ok=True)
    peers.export_onnx(module, inputs, dit_step.CASE.output, files.onnx)
    marks.append(("export", time.perf_counter()))
    print(json.dumps({f"{name}_seconds": round(at - before, 3) for (_, before), (name, at) in zip(marks, marks[1:])}))


def measure(contestant, output):
    """One round: runs the command on an empty output and returns its figures."""
    remove(output)
    wall, text = contestant.run()
    if not output.exists():
        raise paired.Unavailable(f"wrote nothing at {output}")
    begin = time.perf_counter()
    size = sync(output)
    synced = time.perf_counter() - begin
    remove(output)
    stages = json.loads(text.strip().splitlines()[-1]) if contestant.name == "torch.onnx.export" else {}
    return {"seconds": wall + synced, "wall_seconds": wall, "sync_seconds": synced, "output_bytes": size, **stages}


def remove(path):
    """Deletes a file or folder if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(path):
    """Forces a file, or all files below a folder, to the disk; returns their bytes."""
    size = 0
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        if not file.is_file():
            continue
        with open(file, "rb") as handle:
            os.fsync(handle.fileno())
            size += os.fstat(handle.fileno()).st_size
    return size


def read_once(path):
    """Brings a file into the page cache."""
    with open(path, "rb") as handle:
        while handle.read(1 << 20):
            pass


def contestants(args, work, checkpoint):
    """(contestant, output path) pairs."""
    environment = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(args.threads)}
    exported, copied, source = work / "exported", work / "copied", args.copy or checkpoint
    export = [sys.executable, __file__, "--export-part", str(checkpoint), str(exported), *dit_arguments(args)]
    pairs = [] if args.no_export else [(paired.Wall("torch.onnx.export", export, environment), exported)]
    pairs.append((paired.Wall("cp", ["cp", "--reflink=never", str(source), str(copied)]), copied))
    if args.ours:
        pairs.append((paired.Wall("ours", args.ours, environment), args.ours_output))
    return pairs


def dit_arguments(args):
    """The sizes, as dit_step.py takes them."""
    flags = {"--layers": args.layers, "--heads": args.heads, "--head-dim": args.head_dim, "--caption": args.caption,
             "--tokens": args.tokens, "--text-tokens": args.text_tokens, "--dtype": args.dtype, "--threads": args.threads}
    return [part for flag, value in flags.items() for part in (flag, str(value))]


def prepare(args, work):
    """Writes checkpoint and inputs unless the checkpoint is there already; returns the checkpoint's path."""
    checkpoint = (args.checkpoint or work / "checkpoint.safetensors").resolve()
    inputs = checkpoint.with_name("inputs.safetensors")
    if not (checkpoint.exists() and inputs.exists()):
        files = ["--write-checkpoint", str(checkpoint), "--write-inputs", str(inputs)]
        subprocess.run([sys.executable, str(SCRIPT), *dit_arguments(args), *files], check=True)
    return checkpoint


def run(args, work):
    """All rounds, interleaved; returns the report."""
    checkpoint = prepare(args, work)
    for path in {checkpoint, args.copy or checkpoint}:
        read_once(path)
    pairs, failures = contestants(args, work, checkpoint), {}
    rows = {contestant.name: [] for contestant, _ in pairs}
    for index in range(args.rounds):
        for contestant, output in paired.rotated(pairs, index):
            if contestant.name in failures:
                continue
            figures = paired.guarded(contestant, lambda: measure(contestant, output), failures)
            rows[contestant.name] += [figures] if figures else []
    source = args.copy or checkpoint
    sizes = {"checkpoint_bytes": checkpoint.stat().st_size, "copied_bytes": source.stat().st_size}
    peers = {contestant.name: entry(contestant, rows[contestant.name], failures) for contestant, _ in pairs}
    return {"machine": paired.machine(), "rounds": args.rounds, "dtype": args.dtype, "layers": args.layers, **sizes, "peers": peers}


def entry(contestant, rows, failures):
    """Spread of every figure of one contestant, with its peak memory."""
    if contestant.name in failures:
        return {"unavailable": failures[contestant.name]}
    figures = {key: paired.spread([row[key] for row in rows]) for key in rows[0] if key != "output_bytes"}
    return {**figures, "output_bytes": rows[0]["output_bytes"], "peak_rss_bytes": contestant.peak_rss_bytes,
            "bytes_per_second": round(rows[0]["output_bytes"] / statistics.median(row["seconds"] for row in rows))}


def parse_arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--layers", type=int, default=2)
    p.add_argument("--heads", type=int, default=32)
    p.add_argument("--head-dim", type=int, default=64)
    p.add_argument("--caption", type=int, default=4096)
    p.add_argument("--tokens", type=int, default=1536)
    p.add_argument("--text-tokens", type=int, default=256)
    p.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of checkpoint and exported graph")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--checkpoint", type=Path, help="where the checkpoint is or shall be, with inputs.safetensors beside it")
    p.add_argument("--copy", type=Path, metavar="FILE", help="what `cp` copies (default: the checkpoint)")
    p.add_argument("--no-export", action="store_true", help="leave torch out: only cp and ours")
    p.add_argument("--ours", metavar="CMD")
    p.add_argument("--ours-output", type=Path, metavar="PATH", help="what CMD writes; deleted before and after each round")
    p.add_argument("--work", type=Path, help="folder on the disk to be measured (default: a temporary one)")
    p.add_argument("--json", type=Path, help="write the report there instead of to stdout")
    args = p.parse_args()
    if bool(args.ours) != bool(args.ours_output):
        p.error("--ours and --ours-output go together")
    if args.ours_output and args.ours_output.exists():
        p.error(f"{args.ours_output} exists; name a path that only the benchmark writes, for it is deleted between rounds")
    return args


def main():
    if sys.argv[1:2] == ["--export-part"]:
        return export_part(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
    args = parse_arguments()
    with tempfile.TemporaryDirectory(prefix="ltxc-compile-") as temporary:
        work = (args.work or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        text = json.dumps(run(args, work), indent=1)
    if args.json:
        args.json.write_text(text + "\n")
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
