#!/usr/bin/env python3
"""Where the time of one call of a bundle's component goes, by operator, as ONNX Runtime's own profiler sees it.

  op_times.py BUNDLE COMPONENT INPUTS.safetensors [--threads 2] [--top 8] [--cold] [--json OUT]

All parts of the component are run once to warm up (unless --cold) and once for the figures; what a part gives out the
next one takes.
"""
import argparse
import collections
import json
import pathlib
import tempfile


def session(path, threads, folder):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_mem_pattern = False
    options.enable_profiling = True
    options.profile_file_prefix = str(pathlib.Path(folder) / path.stem)
    return onnxruntime.InferenceSession(str(path), options)


def main():
    from safetensors.numpy import load_file

    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("bundle")
    p.add_argument("component")
    p.add_argument("inputs")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--top", type=int, default=8)
    p.add_argument("--cold", action="store_true")
    p.add_argument("--json")
    args = p.parse_args()
    bundle = pathlib.Path(args.bundle)
    described = json.loads((bundle / "manifest.json").read_text())["components"][args.component]
    models = [part["model"] for part in described.get("parts", [])] + [described["model"]]
    values, seconds = load_file(args.inputs), collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            run = session(bundle / model, args.threads, folder)
            given = {port.name: values[port.name] for port in run.get_inputs()}
            for _ in range(0 if args.cold else 1):
                run.run(None, given)
            values |= dict(zip([port.name for port in run.get_outputs()], run.run(None, given)))
            events = [e for e in json.loads(pathlib.Path(run.end_profiling()).read_text()) if e["name"].endswith("_kernel_time")]
            for event in events[0 if args.cold else len(events) // 2:]:
                seconds[event["args"]["op_name"]] += event["dur"] / 1e6
    total = sum(seconds.values())
    for name, time in seconds.most_common(args.top):
        print(f"{name:24} {time:9.3f} s {time / total:6.1%}")
    print(f"{'all':24} {total:9.3f} s")
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(dict(seconds), indent=1))


if __name__ == "__main__":
    main()
