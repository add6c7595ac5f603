#!/usr/bin/env python3
"""Asks three judges about every ONNX file of a bundle: the ONNX checker, strict shape inference, and ONNX Runtime.

  check_onnx.py BUNDLE_DIR [--log-severity 0] [--log FILE]

checker  onnx.checker.check_model(path, full_check=True)
shapes   onnx.shape_inference.infer_shapes_path(path, strict_mode=True, data_prop=True)
runtime  onnxruntime loads it on the CPU provider; every line it logs as a warning, error or worse is a problem

Each judgement runs in a process of its own, so that one crash is one finding. JSON goes to stdout; exit 1 if there is
any problem or no ONNX file at all.
"""
import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

JUDGES = ("checker", "shapes", "runtime")
SERIOUS = re.compile(r"\[([WEF]):onnxruntime[^ ]* ")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def judge_checker(path, severity):
    import onnx

    onnx.checker.check_model(path, full_check=True)


def judge_shapes(path, severity):
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        onnx.shape_inference.infer_shapes_path(path, str(Path(folder) / "inferred.onnx"), check_type=True, strict_mode=True, data_prop=True)


def judge_runtime(path, severity):
    import onnxruntime as ort

    ort.set_default_logger_severity(severity)
    options = ort.SessionOptions()
    options.log_severity_level = severity
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def judge(name, path, severity):
    """The part that runs in its own process: silence and status 0, or the complaint on stdout and status 1."""
    try:
        {"checker": judge_checker, "shapes": judge_shapes, "runtime": judge_runtime}[name](path, severity)
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
        return 1
    return 0


def ask(name, path, severity, timeout):
    """(problems, everything the process logged) of one judge about one file."""
    command = [sys.executable, __file__, "--judge", name, str(path), str(severity)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout)
    except subprocess.TimeoutExpired:
        return [f"no answer after {timeout} s"], ""
    log = COLOUR.sub("", done.stderr)
    problems = [line[found.start():].strip() for line in log.splitlines() if (found := SERIOUS.search(line))]
    if done.returncode:
        problems.append(done.stdout.strip() or f"ended with code {done.returncode}: {log.strip()[-300:]}")
    return problems, log


def examine(path, root, args):
    """One file's entry of the report."""
    entry, logs = {"file": str(path.relative_to(root)), "bytes": path.stat().st_size}, []
    for name in JUDGES:
        problems, log = ask(name, path, args.log_severity, args.timeout)
        entry[name] = problems or "ok"
        logs.append(f"== {entry['file']} {name}\n{log}")
    return entry, logs


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="folder with *.onnx at any depth, or one file")
    parser.add_argument("--log-severity", type=int, choices=(0, 1, 2), default=2, help="of ONNX Runtime: 0 verbose, 1 info, 2 warnings")
    parser.add_argument("--log", type=Path, help="where to put all that the judges logged")
    parser.add_argument("--timeout", type=float, default=900, help="seconds for one judgement")
    return parser.parse_args()


def main():
    if sys.argv[1:2] == ["--judge"]:
        return judge(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    args = parse_arguments()
    if not args.bundle.exists():
        print(f"{args.bundle}: no such file or folder", file=sys.stderr)
        return 2
    root = args.bundle if args.bundle.is_dir() else args.bundle.parent
    files = sorted(args.bundle.rglob("*.onnx")) if args.bundle.is_dir() else [args.bundle]
    examined = [examine(path, root, args) for path in files]
    entries = [entry for entry, _ in examined]
    if args.log:
        args.log.write_text("\n".join(line for _, logs in examined for line in logs))
    fine = bool(entries) and all(entry[name] == "ok" for entry in entries for name in JUDGES)
    print(json.dumps({"ok": fine, "files": entries}, indent=1))
    if not entries:
        print(f"{args.bundle}: no *.onnx below it", file=sys.stderr)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
