#!/usr/bin/env python3
"""Measures sluice beside nginx, HAProxy, Caddy and nginx with Lua, on the same work, in one run.

The proxies share one core, the load generator and the origin have the other. Rounds alternate between the proxies, so
that a machine that drifts drifts for all. The figure that decides is the CPU time of the proxy's processes per
request, which a busy neighbour moves least; the ratio is against the best of the other programs.
"""
import argparse
import fcntl
import json
import os
import resource
import statistics
import sys
import time

import load
from harness import LOAD_CORE, PEERS, Field

# What each case puts on a proxy: (kind, path, connections). README.md says what it tells.
CASES = {
    "h1-small": ("h1", "/", 64),
    "h1-64k": ("h1", "/64k", 32),
    "h2-small": ("h2", "/", 32),
    "h2-64k": ("h2", "/64k", 32),
    "h3-small": ("h3", "/", 32),
    "h3-64k": ("h3", "/64k", 32),
    "handshake": ("handshake", "/", 32),
    "resume": ("resume", "/", 1),
    "idle": ("idle", "/", 2000),
    "h3-idle": ("h3-idle", "/", 1000),
}
IDLE = ("idle", "h3-idle")


def run_load(kind, port, path, connections, args):
    if kind in ("h1", "handshake"):
        return load.wrk(port, path, connections, args.seconds, close=kind == "handshake")
    if kind == "resume":
        return load.resume(port, args.seconds)
    if kind == "h3":
        return load.h3load(port, path, connections, args.seconds)
    return load.h2load(port, path, connections, args.seconds)


def measure_idle(field, name, kind, connections, args):
    """What a held connection adds to a freshly started proxy: one that has served keeps memory for the next round."""
    field.stop(name)
    start(field, name, args)
    before = field.memory_kib(name)
    hold = load.hold_h3 if kind == "h3-idle" else load.hold_idle
    with hold(PEERS[name].port, connections):
        time.sleep(1)
        grown = field.memory_kib(name) - before
    return {"figure": grown / connections, "note": ""}


def measure(field, name, kind, path, connections, args):
    """One round for one proxy: the figure of the case, and the load that made it."""
    connections = args.connections or connections
    if kind in IDLE:
        return measure_idle(field, name, kind, connections, args)
    before = field.cpu_seconds(name)
    done = run_load(kind, PEERS[name].port, path, connections, args)
    spent = field.cpu_seconds(name) - before
    return {
        "figure": spent * 1e6 / max(done.count, 1),
        "rate": done.count / done.seconds,
        "core": spent / done.seconds,
        "p99": done.p99,
        "note": done.note,
    }


def start(field, name, args):
    field.start(name, args.sluice if name == "sluice" else None)


def run_case(case, args):
    kind, path, connections = CASES[case]
    names = [name for name in args.peers.split(",") if not kind.startswith("h3") or PEERS[name].http3]
    rows = {name: [] for name in names}
    with Field(tickets=kind == "resume") as field:
        field.start_origin()
        for name in names:
            start(field, name, args)
        for _ in range(args.rounds):
            for name in names:
                rows[name].append(measure(field, name, kind, path, connections, args))
    return rows


def medians(rows, key):
    return {name: statistics.median(round_[key] for round_ in rounds) for name, rounds in rows.items()}


def show(case, rows, rounds):
    idle = CASES[case][0] in IDLE
    figure = medians(rows, "figure")
    others = [value for name, value in figure.items() if not name.startswith("sluice")]
    print(f"{case}: {'KiB per connection' if idle else 'CPU us per request'}, median of {rounds}; ratio to the best other")
    for name in sorted(figure, key=figure.get):
        ratio = f"{figure[name] / min(others):5.2f}x" if others else ""
        last = rows[name][-1]
        rest = "" if idle else f"  {medians(rows, 'rate')[name]:8.0f}/s  {medians(rows, 'core')[name]:4.0%} of its core  p99 {last['p99']}"
        notes = "; ".join(sorted({round_["note"] for round_ in rows[name]} - {""}))
        print(f"  {name:12} {figure[name]:8.2f} {ratio}{rest}  {notes}".rstrip(), flush=True)


def arguments():
    parser = argparse.ArgumentParser(
        prog="./dev bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="+", choices=CASES, metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--peers", default="nginx,haproxy,caddy,nginx-lua,sluice", help="of " + ",".join(PEERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="length of one round")
    parser.add_argument("--connections", type=int, help="instead of the case's own number")
    parser.add_argument("--sluice", help="the command of `sluice`; {config} is a standalone configuration file")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    unknown = [name for name in args.peers.split(",") if name not in PEERS]
    if unknown:
        parser.error(f"unknown peer: {unknown[0]} (there are {', '.join(PEERS)})")
    return args


def take_turn():
    """Waits until no other benchmark runs here: two would share the cores and, by SO_REUSEPORT, the ports."""
    lock = open("/tmp/sluice-bench.lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("another benchmark is running, waiting for its end", file=sys.stderr)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def main():
    args = arguments()
    lock = take_turn()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.sched_setaffinity(0, {LOAD_CORE})
    for case in args.cases:
        rows = run_case(case, args)
        if args.json:
            print(json.dumps({"case": case, "rows": rows}), flush=True)
        else:
            show(case, rows, args.rounds)
    lock.close()


if __name__ == "__main__":
    main()
