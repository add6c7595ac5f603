#!/usr/bin/env python3
"""Times several programs in turn, round after round, so that a slow minute of the machine hits all of them alike.

  paired.py --rounds 9 --child torch='python dit_step.py --peer eager ...' --once ours='ltxc exec ... --repeat 3 --json'

Every contestant is a process of its own, so its peak memory is its own. There are three protocols:

child  The program loads, warms up, and prints one JSON object on one line: {"ready": true, ...anything to report}, or
       {"error": "why not"}. Then, for each line it reads on stdin, it does the work once and prints {"seconds": x} on
       one line. It leaves at end of file. Load time is outside the figures.
once   Each round runs the program anew. It prints, as JSON and nothing else, its own timings in seconds: {"seconds": x},
       {"seconds": [..]} or a bare [x, y, ..]. Of several timings the first is a warm-up and is dropped; the round's
       figure is the median of the others. Load time is outside as far as the program leaves it out.
wall   Each round runs the program anew and counts from its start to its exit.

Only the figures of a round go into a ratio: contestant / reference, so below 1 is faster than the reference. The
order rotates from round to round. JSON goes to stdout (or --json FILE), the table to stderr. All times are seconds,
all memory is bytes. This file imports nothing big: a child's ru_maxrss starts at the size of the process that forked.
"""
import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time


class Unavailable(Exception):
    """A contestant that cannot take part; the text says why."""


class Contestant:
    """A named command. `argv` runs without a shell, so that the process we measure is the program itself."""

    protocol = ""

    def __init__(self, name, argv, env=None):
        self.name = name
        self.argv = shlex.split(argv) if isinstance(argv, str) else list(argv)
        self.env = {**os.environ, **(env or {})}
        self.info = {}
        self.peak_rss_bytes = None
        self.log = tempfile.TemporaryFile()

    def start(self):
        """Gets ready for rounds; raises Unavailable."""

    def round(self):
        """Does the work once and returns seconds; raises Unavailable."""
        raise NotImplementedError

    def stop(self):
        """Lets the process go and notes its memory."""

    def complaint(self, what):
        """`what` with the end of the program's stderr."""
        self.log.seek(0)
        tail = self.log.read().decode(errors="replace").strip().splitlines()[-3:]
        return Unavailable(": ".join([what, *filter(None, ["; ".join(tail)])]))

    def popen(self, **streams):
        try:
            return subprocess.Popen(self.argv, env=self.env, stderr=self.log, **streams)
        except OSError as error:
            raise Unavailable(f"cannot start {self.argv[0]}: {error.strerror}") from None


class Child(Contestant):
    """Protocol `child`: one process for all rounds."""

    protocol = "child"
    process = None

    def start(self):
        begin = time.perf_counter()
        self.process = self.popen(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.info = self.reply()
        if not self.info.pop("ready", False):
            raise Unavailable(self.info.get("error", "its first line has no \"ready\""))
        self.info["load_seconds"] = round(time.perf_counter() - begin, 3)

    def reply(self):
        line = self.process.stdout.readline()
        if not line:
            raise self.complaint(f"ended with code {self.process.wait()}")
        try:
            return dict(json.loads(line))
        except (ValueError, TypeError):
            raise self.complaint(f"printed no JSON object but {line.strip()[:120]!r}") from None

    def round(self):
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        answer = self.reply()
        if "seconds" not in answer:
            raise Unavailable(answer.get("error", "its answer has no \"seconds\""))
        return float(answer["seconds"])

    def stop(self):
        if self.process is None:
            return
        memory = process_memory(self.process.pid)
        self.peak_rss_bytes = memory.get("VmHWM")
        self.info["rss_anon_bytes"] = memory.get("RssAnon")
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                pipe.close()
            except BrokenPipeError:
                pass
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Once(Contestant):
    """Protocol `once`: a new process each round, which prints its own timings."""

    protocol = "once"

    def round(self):
        _, text = self.run()
        try:
            return figure_of(json.loads(text))
        except (ValueError, TypeError):
            raise self.complaint(f"printed no timings but {text.strip()[:120]!r}") from None

    def run(self):
        """Runs the program; returns (wall seconds, what it printed)."""
        with tempfile.TemporaryFile() as out:
            begin = time.perf_counter()
            process = self.popen(stdin=subprocess.DEVNULL, stdout=out)
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - begin
            process.returncode = os.waitstatus_to_exitcode(status)
            self.peak_rss_bytes = max(self.peak_rss_bytes or 0, usage.ru_maxrss * 1024)
            if process.returncode:
                raise self.complaint(f"ended with code {process.returncode}")
            out.seek(0)
            return wall, out.read().decode(errors="replace")


class Wall(Once):
    """Protocol `wall`: a new process each round, timed from outside."""

    protocol = "wall"

    def round(self):
        return self.run()[0]


def figure_of(answer):
    """Seconds of one round out of what a `once` program printed."""
    seconds = answer["seconds"] if isinstance(answer, dict) else answer
    if not isinstance(seconds, list):
        return float(seconds)
    if not seconds:
        raise ValueError("no timings")
    return float(statistics.median(seconds[1:] or seconds))


def process_memory(pid):
    """Memory of a live process in bytes: VmHWM (peak resident) and RssAnon (resident now, not backed by a file)."""
    fields = {}
    try:
        with open(f"/proc/{pid}/status") as status:
            for line in status:
                key, _, value = line.partition(":")
                if key in ("VmHWM", "RssAnon"):
                    fields[key] = int(value.split()[0]) * 1024
    except OSError:
        pass
    return fields


def machine():
    """What the figures were taken on."""
    model = platform.processor()
    try:
        with open("/proc/cpuinfo") as info:
            model = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), model)
    except OSError:
        pass
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "system": platform.platform(terse=True)}


def guarded(contestant, act, failures):
    """`act()`, or None with the reason noted if the contestant cannot take part."""
    try:
        return act()
    except Unavailable as reason:
        failures[contestant.name] = str(reason)
        return None


def run_paired(contestants, rounds, reference=None, settle=0.1):
    """Starts all contestants, interleaves `rounds` rounds with `settle` idle seconds between, and returns the report.

    Before the first round every child does one that is not counted: the loading of the others has chilled its caches."""
    names = [c.name for c in contestants]
    if len(set(names)) != len(names):
        raise SystemExit(f"two contestants have one name: {names}")
    failures, rows, load_before = {}, [], os.getloadavg()[0]
    try:
        for contestant in contestants:
            guarded(contestant, contestant.start, failures)
        one_round([c for c in contestants if c.protocol == "child"], failures, settle)
        for index in range(rounds):
            rows.append(one_round(rotated(contestants, index), failures, settle))
    finally:
        for contestant in contestants:
            contestant.stop()
    report = {"machine": machine(), "rounds": rounds, "load_average": [load_before, os.getloadavg()[0]]}
    return {**report, **summary(contestants, rows, failures, reference)}


def rotated(items, by):
    """`items` starting at position `by`, round and round."""
    at = by % max(len(items), 1)
    return items[at:] + items[:at]


def one_round(contestants, failures, settle):
    """Seconds by name of one round; whoever has failed before sits out."""
    row = {}
    for contestant in contestants:
        if contestant.name in failures:
            continue
        time.sleep(settle)
        seconds = guarded(contestant, contestant.round, failures)
        if seconds is not None:
            row[contestant.name] = seconds
    return row


def summary(contestants, rows, failures, reference):
    """Median, extremes and ratios by contestant."""
    alive = [c.name for c in contestants if c.name not in failures]
    if reference not in alive:
        reference = alive[0] if alive else None
    peers = {}
    for contestant in contestants:
        name = contestant.name
        entry = {"protocol": contestant.protocol, "command": shlex.join(contestant.argv), **contestant.info}
        if name in failures:
            peers[name] = {**entry, "unavailable": failures[name]}
            continue
        entry["peak_rss_bytes"] = contestant.peak_rss_bytes
        entry["seconds"] = spread([row[name] for row in rows])
        entry["ratio"] = spread([row[name] / row[reference] for row in rows])
        peers[name] = entry
    return {"reference": reference, "peers": peers, "by_round": rows}


def spread(values):
    """Median and extremes, rounded to a tenth of a millisecond (or of a thousandth)."""
    if not values:
        return {}
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {key: round(value, 4) for key, value in found.items()}


def table(report):
    """The report as aligned text: seconds, ratio to the reference, peak memory."""
    lines = [("", "median s", "min s", "max s", f"x {report['reference']}", "peak MiB", "")]
    for name, peer in report["peers"].items():
        if "unavailable" in peer:
            lines.append((name, "-", "-", "-", "-", "-", peer["unavailable"][:160]))
            continue
        seconds = [f"{peer['seconds'][key]:.4f}" if peer["seconds"] else "-" for key in ("median", "min", "max")]
        ratio = f"{peer['ratio']['median']:.3f}" if peer["ratio"] else "-"
        memory = f"{peer['peak_rss_bytes'] / 2**20:.0f}" if peer["peak_rss_bytes"] else "-"
        error = f"max |d| {peer['max_abs_error']:.1e}" if "max_abs_error" in peer else ""
        lines.append((name, *seconds, ratio, memory, error))
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    return "\n".join(format_row(line, widths) for line in lines)


def format_row(line, widths):
    """Name to the left, figures to the right, remark at the end."""
    cells = [line[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(line[1:6], widths[1:])]
    return ("  ".join(cells) + "  " + line[6]).rstrip()


def publish(report, path=None):
    """Writes the report to `path` or stdout and the table to stderr."""
    text = json.dumps(report, indent=1)
    if path:
        with open(path, "w") as out:
            out.write(text + "\n")
    else:
        print(text)
    print(table(report), file=sys.stderr)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--reference", help="name the ratios are taken against (default: the first that runs)")
    parser.add_argument("--settle", type=float, default=0.1, help="idle seconds before each figure")
    parser.add_argument("--json", help="write the report there instead of to stdout")
    for kind in (Child, Once, Wall):
        parser.add_argument(f"--{kind.protocol}", action="append", default=[], metavar="NAME=CMD", help=f"protocol {kind.protocol}")
    return parser.parse_args()


def main():
    args = parse_arguments()
    contestants = []
    for kind in (Child, Once, Wall):
        for spec in getattr(args, kind.protocol):
            name, equals, command = spec.partition("=")
            if not equals or not command.strip():
                raise SystemExit(f"--{kind.protocol} wants NAME=CMD, not {spec!r}")
            contestants.append(kind(name, command))
    report = run_paired(contestants, args.rounds, args.reference, args.settle)
    publish(report, args.json)
    return 1 if any("unavailable" in peer for peer in report["peers"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
