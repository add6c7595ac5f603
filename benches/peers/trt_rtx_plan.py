#!/usr/bin/env python3
"""Builds a TensorRT-RTX engine for an ONNX file on a machine without a GPU and prints what the engine needs.

  trt_rtx_plan.py MODEL.onnx --sm 89 --dim S=67320 --dim L=256 [--save ENGINE] [--log]

TensorRT for RTX builds ahead of time for a named compute capability, so the real parser, the real fusions and the
real memory planner of NVIDIA judge an ONNX file here. Running the engine needs a GPU; building it does not.

sm: 75 Turing, 80/86 Ampere (RTX 3090), 89 Ada (RTX 4090, 4060 Ti), 120 Blackwell. Hopper (90) is not offered by RTX.
--dim NAME=N fixes a symbolic dimension by its name in the ONNX file; --shape INPUT=1x256x64 fixes one input's shape.
Prints one JSON object: seconds to build, bytes of activations, weights and engine, and what fused attention computes in,
as the kernels' text in the engine says (E4M3, FP16, BF16). Exit 1 if the parser or the
builder refuses.
"""
import argparse
import json
import re
import sys
import time


def make_logger(trt, echo):
    """A logger that keeps (severity, text) in its `lines`; the planner's figures appear nowhere but in the log."""

    class Log(trt.ILogger):
        def __init__(self):
            trt.ILogger.__init__(self)
            self.lines = []

        def log(self, severity, text):
            self.lines.append((severity, text))
            if echo:
                print(text, file=sys.stderr)

    return Log()


def fixed_shape(tensor, dims, shapes):
    """(shape without -1, whether there was one) of a network input."""
    shape = list(tensor.shape)
    dynamic = -1 in shape
    for axis in [axis for axis, size in enumerate(shape) if size == -1]:
        name = tensor.get_dimension_name(axis)
        if tensor.name in shapes:
            shape[axis] = shapes[tensor.name][axis]
        elif name in dims:
            shape[axis] = dims[name]
        else:
            raise SystemExit(f"input {tensor.name}: dimension {axis} ({name!r}) is dynamic; give --dim or --shape")
    return shape, dynamic


def configure(trt, builder, network, args):
    """(builder configuration for one compute capability and one set of shapes, inputs for the report)."""
    dims = {name: int(size) for name, size in (spec.split("=") for spec in args.dim)}
    shapes = {name: [int(size) for size in text.split("x")] for name, text in (spec.split("=") for spec in args.shape)}
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, "SM" + args.sm), 0)
    profile, any_dynamic, inputs = builder.create_optimization_profile(), False, {}
    for tensor in (network.get_input(index) for index in range(network.num_inputs)):
        shape, dynamic = fixed_shape(tensor, dims, shapes)
        profile.set_shape(tensor.name, shape, shape, shape)
        inputs[tensor.name] = [str(tensor.dtype).split(".")[-1], shape]
        any_dynamic |= dynamic
    if any_dynamic:
        config.add_optimization_profile(profile)
    return config, inputs


def last_figure(lines, label):
    """The last number after `label` in the log, or None."""
    found = re.findall(re.escape(label) + r": (\d+)", "\n".join(text for _, text in lines))
    return int(found[-1]) if found else None


def plan(args):
    """(the report, the engine or None)."""
    import tensorrt_rtx as trt

    log = make_logger(trt, args.log)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    report = {"model": args.model, "sm": int(args.sm), "trt_rtx": trt.__version__}
    if not parser.parse_from_file(args.model):
        return {**report, "errors": [str(parser.get_error(index)) for index in range(parser.num_errors)]}, None
    config, report["inputs"] = configure(trt, builder, network, args)
    begin = time.perf_counter()
    engine = builder.build_serialized_network(network, config)
    report["build_seconds"] = round(time.perf_counter() - begin, 2)
    report["activation_bytes"] = last_figure(log.lines, "Total Activation Memory")
    report["weight_bytes"] = last_figure(log.lines, "Total Weights Memory")
    report["engine_bytes"] = engine.nbytes if engine is not None else None
    kernels = re.findall(rb"initialize\(DATA_TYPE_(\w+),", bytes(engine)) if engine is not None else []
    report["attention"] = sorted({name.decode() for name in kernels})
    report["errors"] = [text for severity, text in log.lines if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR)]
    return report, engine


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--sm", default="89", choices=("75", "80", "86", "89", "120"))
    p.add_argument("--dim", action="append", default=[], metavar="NAME=N")
    p.add_argument("--shape", action="append", default=[], metavar="INPUT=AxBxC")
    p.add_argument("--save", metavar="ENGINE")
    p.add_argument("--log", action="store_true", help="the builder's log to stderr")
    args = p.parse_args()
    report, engine = plan(args)
    print(json.dumps(report, indent=1))
    if engine is not None and args.save:
        with open(args.save, "wb") as out:
            out.write(bytes(engine))
    return 0 if engine is not None and not report["errors"] else 1


if __name__ == "__main__":
    sys.exit(main())
