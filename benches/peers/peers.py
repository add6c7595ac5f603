"""What dit_step.py and vae_decode.py have in common: weights, files, the four peers, and the order of a run.

A run has three parts, each in processes of their own so that no part's memory counts for another:
prepare  builds the module with seeded weights and writes checkpoint, inputs and the eager output;
export   torch.onnx.export of the same weights (only if a peer needs the file);
peers    one process each, driven by paired.py with its `child` protocol.

This module imports torch only inside functions: the process that drives the others must stay small.
"""
import argparse
import dataclasses
import inspect
import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable

import paired

PEERS = ("eager", "compile", "onnxruntime", "openvino")
ONNX_PEERS = ("onnxruntime", "openvino")


@dataclasses.dataclass(frozen=True)
class Case:
    """One benchmark. `build(args)` makes an fp32 module whose forward takes the inputs by name and in order and returns
    one tensor named `output`; `inputs(args)` makes those inputs; `original_key` turns a state_dict key into the key
    of the original single file; `extra(args)` are tensors that only the file has; `config(args)` is its metadata."""

    script: str
    output: str
    build: Callable
    inputs: Callable
    original_key: Callable
    config: Callable
    extra: Callable = lambda args: {}


@dataclasses.dataclass(frozen=True)
class Files:
    """Where a run keeps its files."""

    checkpoint: Path
    inputs: Path
    expected: Path
    onnx: Path


def parser(doc):
    """The options both scripts have."""
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the checkpoint; peers compute in float32")
    p.add_argument("--write-checkpoint", type=Path, metavar="FILE")
    p.add_argument("--write-inputs", type=Path, metavar="FILE")
    p.add_argument("--write-expected", type=Path, metavar="FILE")
    p.add_argument("--rounds", type=int, help="default 7; with a --write option 0, that is, only write")
    p.add_argument("--peers", default=",".join(PEERS), help="comma separated, the first is the reference (default %(default)s)")
    p.add_argument("--ours", metavar="CMD", help="our candidate, protocol `once` of paired.py")
    p.add_argument("--ours-child", metavar="CMD", help="our candidate, protocol `child` of paired.py")
    p.add_argument("--work", type=Path, help="folder for the files of the run, kept (default: a temporary one)")
    p.add_argument("--json", help="write the report there instead of to stdout")
    p.add_argument("--peer", choices=("prepare", "export", *PEERS), help=argparse.SUPPRESS)
    return p


def main(case, args):
    """Plays the part that the arguments ask for; returns the exit status."""
    if args.peer:
        return play(case, args)
    writes = [args.write_checkpoint, args.write_inputs, args.write_expected]
    rounds = (0 if any(writes) else 7) if args.rounds is None else args.rounds
    wanted = [name for name in args.peers.split(",") if name]
    unknown = set(wanted) - set(PEERS)
    if unknown:
        raise SystemExit(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    with tempfile.TemporaryDirectory(prefix="ltxc-peers-") as temporary:
        work = args.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        return drive(case, args, work, wanted, rounds)


def drive(case, args, work, wanted, rounds):
    """Prepares the files and runs the paired benchmark."""
    run_part(case, args, work, "prepare")
    if rounds == 0:
        return 0
    if any(name in ONNX_PEERS for name in wanted):
        try:
            run_part(case, args, work, "export")
        except paired.Unavailable as reason:
            print(f"export: {reason}", file=sys.stderr)
    environment = thread_environment(args.threads)
    contestants = [paired.Child(name, part_command(case, work, name), environment) for name in wanted]
    contestants += [paired.Once("ours", args.ours, environment)] if args.ours else []
    contestants += [paired.Child("ours-child", args.ours_child, environment)] if args.ours_child else []
    report = paired.run_paired(contestants, rounds)
    paired.publish({"case": settings(args), **report}, args.json)
    return 0


def settings(args):
    """The arguments that decide what is computed."""
    hidden = ("write_checkpoint", "write_inputs", "write_expected", "work", "json", "peer", "ours", "ours_child", "peers", "rounds")
    return {key: value for key, value in vars(args).items() if key not in hidden}


def thread_environment(threads):
    """Caps the thread pools of every library; an idle pool must not spin while others are timed."""
    count = str(threads)
    return {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "OMP_WAIT_POLICY": "passive", "HF_HUB_OFFLINE": "1"}


def part_command(case, work, part):
    """The command line that plays one part with the same settings."""
    return [sys.executable, case.script, *sys.argv[1:], "--work", str(work), "--peer", part]


def run_part(case, args, work, part):
    """Runs a part that is not timed, to its end."""
    paired.Wall(part, part_command(case, work, part), thread_environment(args.threads)).round()


def play(case, args):
    """One part, in this process."""
    files = files_of(args)
    if args.peer not in ONNX_PEERS:
        torch_settings(args.threads)
    if args.peer == "prepare":
        return prepare(case, args, files)
    if args.peer == "export":
        return export(case, args, files)
    try:
        step, info = PREPARE_PEER[args.peer](case, args, files)
        info |= difference(step(), files.expected, case.output)
    except Exception as error:
        say({"error": one_line(error)})
        return 0
    return serve(step, info)


def torch_settings(threads):
    """Inference only; a peer that runs the ONNX file never imports torch, for the sake of its memory figure."""
    import torch

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)


def files_of(args):
    """The files of this run: those named by --write options, the others in the work folder."""
    return Files(
        checkpoint=args.write_checkpoint or args.work / "checkpoint.safetensors",
        inputs=args.write_inputs or args.work / "inputs.safetensors",
        expected=args.write_expected or args.work / "expected.safetensors",
        onnx=args.work / "onnx" / "model.onnx",
    )


def one_line(error):
    """An exception in one line of at most 300 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def say(message):
    """One line of the `child` protocol."""
    print(json.dumps(message), flush=True)


def serve(step, info):
    """The timed half of the `child` protocol."""
    say({"ready": True, **info})
    for _ in sys.stdin:
        begin = time.perf_counter()
        step()
        say({"seconds": time.perf_counter() - begin})
    return 0


def prepare(case, args, files):
    """Writes checkpoint, inputs and, computed from them by diffusers, the expected output."""
    import torch
    from safetensors.torch import save_file

    module = case.build(args).eval()
    randomise(module, torch.Generator().manual_seed(args.seed))
    inputs = case.inputs(args)
    save_file(inputs, files.inputs)
    write_checkpoint(case, args, module, files.checkpoint)
    if args.dtype != "float32":
        module.to(getattr(torch, args.dtype)).float()
    save_file({case.output: module(**inputs).contiguous()}, files.expected)
    return 0


def randomise(module, generator):
    """Gives every weight a value that keeps activations near unit size and that a wrong port would not survive."""
    for name, weight in module.state_dict().items():
        leaf = name.rsplit(".", 1)[-1]
        if leaf in ("timestep_scale_multiplier", "latents_mean", "latents_std"):
            continue
        weight.normal_(generator=generator)
        if leaf == "scale_shift_table":
            weight.mul_(0.3)
        elif leaf == "bias":
            weight.mul_(0.1)
        elif weight.ndim == 1:
            weight.mul_(0.25).add_(1.0)
        else:
            weight.mul_(1 / math.sqrt(math.prod(weight.shape[1:])))


def write_checkpoint(case, args, module, path):
    """Saves the weights under the key names and with the metadata of the original single file."""
    import torch
    from safetensors.torch import save_file

    dtype = getattr(torch, args.dtype)
    tensors = {case.original_key(key): value for key, value in module.state_dict().items()}
    tensors |= case.extra(args)
    tensors = {key: value.to(dtype).contiguous() for key, value in tensors.items()}
    save_file(tensors, path, metadata={"config": json.dumps(case.config(args))})


def load(case, args, files, dtype=None):
    """(module with the checkpoint's weights, inputs by name); `dtype` defaults to float32."""
    import torch
    from safetensors.torch import load_file

    with torch.device("meta"):
        module = case.build(args).eval()
    tensors = load_file(files.checkpoint)
    weights = {key: tensors[case.original_key(key)].to(dtype or torch.float32) for key in module.state_dict()}
    module.load_state_dict(weights, assign=True)
    return module, ordered(load_file(files.inputs), module)


def ordered(inputs, module):
    """The inputs in the order of `forward`; a safetensors file has its own order."""
    return {name: inputs[name] for name in inspect.signature(module.forward).parameters}


def export(case, args, files):
    """torch.onnx.export (the dynamo exporter) with fixed shapes, which is what favours the peers that run the file."""
    module, inputs = load(case, args, files)
    files.onnx.parent.mkdir(parents=True, exist_ok=True)
    export_onnx(module, inputs, case.output, files.onnx)
    return 0


def export_onnx(module, inputs, output, path):
    """Writes `path` and its external data."""
    import torch

    torch.onnx.export(module, tuple(inputs.values()), str(path), input_names=list(inputs), output_names=[output],
                      dynamo=True, external_data=True, verbose=False)


def prepare_eager(case, args, files):
    """diffusers, as it comes."""
    import torch

    info = about(f"torch {torch.__version__}, diffusers {version('diffusers')}")
    module, inputs = load(case, args, files)
    return lambda: module(**inputs), info


def prepare_compile(case, args, files):
    """torch.compile with inductor, default mode."""
    import torch

    info = about(f"torch {torch.__version__}, inductor")
    module, inputs = load(case, args, files)
    compiled = torch.compile(module, backend="inductor", dynamic=False)
    return lambda: compiled(**inputs), info


def prepare_onnxruntime(case, args, files):
    """The exported graph on ONNX Runtime's CPU provider with all its optimisations."""
    import onnxruntime as ort
    from safetensors.numpy import load_file

    info = about(f"onnxruntime {ort.__version__}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = args.threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    session = ort.InferenceSession(str(exported(files)), options, providers=["CPUExecutionProvider"])
    inputs = used_inputs(load_file(files.inputs), [value.name for value in session.get_inputs()])
    return lambda: session.run(None, inputs)[0], info


def prepare_openvino(case, args, files):
    """The same graph on OpenVINO's CPU plugin, held to float32."""
    import openvino
    from safetensors.numpy import load_file

    info = about(f"openvino {openvino.__version__}")
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": args.threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(str(exported(files)), "CPU", config)
    inputs = used_inputs(load_file(files.inputs), [value.any_name for value in compiled.inputs])
    request = compiled.create_infer_request()
    return lambda: request.infer(inputs, share_inputs=True, share_outputs=True)[0], info


PREPARE_PEER = {
    "eager": prepare_eager,
    "compile": prepare_compile,
    "onnxruntime": prepare_onnxruntime,
    "openvino": prepare_openvino,
}


def exported(files):
    """The ONNX file; its absence means that the export failed, which drive() has reported."""
    if not files.onnx.exists():
        raise FileNotFoundError("torch.onnx.export wrote no file (its error is on stderr of the run)")
    return files.onnx


def used_inputs(inputs, names):
    """The inputs that the graph kept."""
    return {name: inputs[name] for name in names}


def about(text):
    """What a peer is, and its peak memory in bytes with the library imported and no model loaded yet."""
    return {"version": text, "imports_rss_bytes": paired.process_memory("self").get("VmHWM")}


def version(package):
    """The installed version of a package."""
    from importlib.metadata import version as installed

    return installed(package)


def difference(found, expected, name):
    """How far a peer's output is from eager's: a peer that computes something else is no peer."""
    import numpy
    from safetensors.numpy import load_file

    want = load_file(expected)[name]
    have = numpy.asarray(found)
    if have.shape != want.shape:
        raise ValueError(f"{name} has shape {have.shape}, expected {want.shape}")
    if not numpy.isfinite(have).all():
        raise ValueError(f"{name} is not finite")
    gap = have - want
    return {"max_abs_error": float(abs(gap).max()), "relative_error": float(numpy.linalg.norm(gap) / numpy.linalg.norm(want))}
