#!/usr/bin/env python3
"""Measures edge and hub beside two HAProxys that speak TLS to each other, on the same work, in one run.

  stream     one stream down: MB/s, and the CPU time of both programs for each GB
  streams    the same with 100 streams
  memory     10,000 streams that have had one echo and stay open: KiB each, edge and hub together
  latency    1 byte to the origin and back through an idle tunnel
  mixed      100 bytes to the origin and back every 10 ms, beside 16 streams that take all they can get
  udp        100,000 datagrams a second of 100 bytes: how many are lost
  sessions   10,000 visitors with datagrams: memory, and how many are lost
  reconnect  5,000 edges after a restart of the hub: seconds until all are up
  loss       50 streams over 15 ms in each direction and 1 % loss: MB/s over TLS (TCP with CUBIC, with BBR) and QUIC

Edge and hub share a core, as the HAProxys do; origin and clients have the other (bench/pipeload).
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import time
import urllib.request

from compare import take_turn
from harness import HERE, LOAD_CORE, PROXY_CORE, Field

PIPELOAD = str(HERE.parent / "build/release/pipeload")
SLUICE = str(HERE.parent / "build/release/sluice")
ORIGIN = 8451
HAPROXY = 8452  # the port of its visitors; its hub has the next one
TLS, QUIC = 8454, 8456  # likewise
STORM, ADMIN = 8458, 8459  # the hub whose edges connect again
EDGES = 5000


class Way:
    """One way from visitors to the origin: the port that they call, and the programs that it is made of."""

    def __init__(self, port, *programs):
        self.port, self.programs = port, programs


WAYS = {
    "direct": Way(ORIGIN),
    "haproxy": Way(HAPROXY, "haproxy-hub", "haproxy-edge"),
    "tls": Way(TLS, "tls-hub", "tls-edge"),
    "quic": Way(QUIC, "quic-hub", "quic-edge"),
}


def start_origin(field, prefix=()):
    field.launch("origin", [*prefix, PIPELOAD, "serve", str(ORIGIN)], LOAD_CORE, lambda: True)


def start_way(field, name):
    """The hub, then the edge, whose port is open when its tunnel is up."""
    port = WAYS[name].port
    for program in WAYS[name].programs:
        kind, end = program.split("-")
        if kind == "haproxy":
            command, where, env = ["haproxy", "-f", program + ".cfg"], field.dir, {}
        elif end == "hub":
            command, where, env = hub_command(field, port), HERE.parent, {}
        else:
            command, where, env = EDGE_COMMAND, HERE.parent, edge_env(kind, port)
        at = port if end == "edge" else port + 1
        field.launch(program, command, PROXY_CORE, lambda: field._answers(at), where, env)


EDGE_COMMAND = [SLUICE, "run", "scripts/edge.lua", "--workers", "1"]


def hub_command(field, port, edges=None):
    edges = edges or [{"id": "bench", "secret": "bench", "listenPorts": [port], "listenPortsUdp": [port]}]
    words = [str(port + 1), str(ORIGIN), json.dumps(edges), str(field.dir)]
    return [SLUICE, "run", "bench/tunnel_hub.lua", "--workers", "1", *words]


def edge_env(transport, port, host="127.0.0.1"):
    return {
        "EDGE_HUB_HOST": host,
        "EDGE_HUB_PORT": str(port + 1),
        "EDGE_ID": "bench",
        "EDGE_SECRET": "bench",
        "EDGE_TRANSPORT": transport,
        "EDGE_STUN": "off",
    }


def pipeload(*words, prefix=()):
    """What the load generator has measured."""
    argv = ["taskset", "-c", str(LOAD_CORE), *prefix, PIPELOAD, *map(str, words)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(argv)}: exit {done.returncode}")
    return json.loads(done.stdout)


def cpu(field, way):
    return sum(field.cpu_seconds(program) for program in way.programs)


def memory(field, way):
    return sum(field.memory_kib(program) for program in way.programs)


def in_rounds(field, args, measure):
    """What each way has measured, round by round, so that a machine that drifts drifts for all."""
    found = {name: [] for name in args.ways}
    for _ in range(args.rounds):
        for name in args.ways:
            found[name].append(measure(field, WAYS[name]))
    return {name: {key: statistics.median(row[key] for row in rows) for key in rows[0]} for name, rows in found.items()}


def tunnels(args):
    return [name for name in args.ways if name in ("tls", "quic")]


def with_datagrams(args):
    return [name for name in args.ways if name != "haproxy"]


def row(name, *cells):
    print(f"  {name:10}" + "".join(f"{cell:>27}" for cell in cells), flush=True)


# --- cases ---


def throughput(n_streams):
    def measure(field, way):
        before = cpu(field, way)
        got = pipeload("streams", way.port, "--bulk", n_streams, "--seconds", 4)
        spent = cpu(field, way) - before
        return {"rate": got["bytes"] / got["seconds"] / 1e6, "cpu": spent / got["bytes"] * 1e9, "fair": got["least"] / got["most"]}

    def case(field, args):
        found = in_rounds(field, args, measure)
        print(f"{'stream' if n_streams == 1 else 'streams'}: {n_streams} down, median of {args.rounds}; least / most of a stream")
        for name, m in found.items():
            peer = found.get("haproxy")
            ratio = f"CPU {m['cpu'] / peer['cpu']:.2f}x of haproxy" if peer and name != "direct" else ""
            row(name, f"{m['rate']:.0f} MB/s", f"{m['cpu']:.2f} CPU s/GB", ratio, f"{m['fair']:.2f}")

    return case


def latency(field, args):
    found = in_rounds(field, args, lambda _, way: pipeload("streams", way.port, "--echo", 1, "--seconds", 2))
    direct = found.get("direct", {"median_us": 0})
    print(f"latency: 1 byte there and back, median of {args.rounds}")
    for name, m in found.items():
        row(name, f"median {m['median_us']:.0f} us", f"p99 {m['p99_us']:.0f} us", f"+{m['median_us'] - direct['median_us']:.0f} us")


def mixed(field, args):
    words = "--bulk 16 --echo 1 --every 10 --size 100 --seconds 5".split()
    found = in_rounds(field, args, lambda _, way: pipeload("streams", way.port, *words))
    print(f"mixed: 100 bytes there and back every 10 ms beside 16 streams, median of {args.rounds}")
    for name, m in found.items():
        rate = m["bytes"] / m["seconds"] / 1e6
        row(name, f"median {m['median_us'] / 1e3:.2f} ms", f"p99 {m['p99_us'] / 1e3:.2f} ms", f"beside {rate:.0f} MB/s")


def held(way, n):
    """Streams that are open as long as the result."""
    argv = ["taskset", "-c", str(LOAD_CORE), PIPELOAD, "streams", str(way.port), "--echo", str(n), "--hold"]
    proc = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    if not proc.stdout.readline().startswith("holding"):
        raise SystemExit(f"{n} streams could not be opened")
    return proc


def streams_held(field, args):
    n = 10000
    print(f"memory: {n} streams held")
    for name in tunnels(args):
        way = WAYS[name]
        before = {program: field.memory_kib(program) for program in way.programs}
        proc = held(way, n)
        time.sleep(1)
        grown = {program: field.memory_kib(program) - before[program] for program in way.programs}
        proc.communicate("")
        row(name, *(f"{program} {kib / n:.2f} KiB each" for program, kib in grown.items()), f"{sum(grown.values()) / 1024:.0f} MiB")


def udp(field, args):
    print("udp: 100,000 datagrams a second of 100 bytes, 5 s, 100 visitors")
    for name in with_datagrams(args):
        way = WAYS[name]
        before = cpu(field, way)
        got = pipeload("datagrams", way.port, "--echo", 100, "--rate", 100000, "--size", 100, "--seconds", 5)
        spent = cpu(field, way) - before
        show_datagrams(name, got, f"{spent / got['seconds']:.0%} of the core")


def show_datagrams(name, got, *cells):
    sent = got["sent"] / got["seconds"]
    row(name, f"sent {sent:.0f}/s", f"lost {1 - got['got'] / max(1, got['sent']):.3%}", *cells)


def sessions(field, args):
    print("sessions: 10,000 visitors, 10,000 datagrams a second of 100 bytes, 5 s")
    for name in with_datagrams(args):
        way = WAYS[name]
        before = memory(field, way)
        got = pipeload("datagrams", way.port, "--echo", 10000, "--rate", 10000, "--size", 100, "--seconds", 5)
        grown = f"{(memory(field, way) - before) / 10000:.2f} KiB each" if way.programs else ""
        show_datagrams(name, got, f"{got['sessions']} sessions", grown)


def edges_up():
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{ADMIN}/status", timeout=30) as answer:
            return len(json.load(answer)["connectedEdges"])
    except OSError:
        return 0  # it is not there yet


def until_all_are_up(began):
    while edges_up() < EDGES:
        if time.monotonic() - began > 300:
            raise SystemExit(f"only {edges_up()} edges are up")
        time.sleep(0.2)
    return time.monotonic() - began


def start_storm_hub(field):
    edges = [{"id": f"edge-{i}", "secret": f"secret of {i}"} for i in range(1, EDGES + 1)]
    path = field.dir / "edges.json"
    path.write_text(json.dumps(edges))
    command = [SLUICE, "run", "scripts/hub.lua", "--workers", "1"]
    env = {"HUB_TUNNEL_PORT": str(STORM), "HUB_EDGES_FILE": str(path), "HUB_STATE_DIR": str(field.dir), "ADMIN_PORT": str(ADMIN)}
    field.launch("storm-hub", command, PROXY_CORE, lambda: field._answers(STORM), env=env)


def reconnect(field, args):
    print(f"reconnect: {EDGES} edges, each with a secret of its own, before and after the end of the hub")
    start_storm_hub(field)
    began = time.monotonic()
    command = [SLUICE, "run", "bench/tunnel_storm.lua", "--workers", "1", str(STORM), str(EDGES)]
    field.launch("storm-edges", command, LOAD_CORE, lambda: True)
    first = until_all_are_up(began)
    row("tls", f"at first {first:.1f} s")
    field.stop("storm-hub")
    start_storm_hub(field)
    again = until_all_are_up(time.monotonic())
    row("tls", f"again {again:.1f} s", f"CPU of the hub {field.cpu_seconds('storm-hub'):.1f} s")


class BadNetwork:
    """Two namespaces with a link that delays and loses: words to put before a command, for each side."""

    def __enter__(self):
        argv = ["taskset", "-c", str(LOAD_CORE), "python3", "spec/support/netlab.py", "15", "1"]
        self.proc = subprocess.Popen(argv, cwd=HERE.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        pids = self.proc.stdout.readline().split()
        if len(pids) != 2:
            raise SystemExit("loss needs root, namespaces and /dev/net/tun")
        self.public, self.private = (["nsenter", f"--net=/proc/{pid}/ns/net"] for pid in pids)
        return self

    def __exit__(self, *_):
        self.proc.kill()
        self.proc.wait()


def start_apart(field, net, name):
    """The hub and the origin on one side of the link, the edge and the visitors on the other."""
    port = WAYS[name].port
    hub, edge = WAYS[name].programs
    if name == "haproxy":
        for program in (hub, edge):
            path = field.dir / f"{program}.cfg"
            path.write_text(path.read_text().replace(f"127.0.0.1:{HAPROXY + 1}", f"10.99.0.2:{HAPROXY + 1}"))
        commands = ["haproxy", "-f", str(field.dir / f"{hub}.cfg")], ["haproxy", "-f", str(field.dir / f"{edge}.cfg")]
        where, env = field.dir, {}
    else:
        commands, where, env = (hub_command(field, port), EDGE_COMMAND), HERE.parent, edge_env(name, port, "10.99.0.2")
    field.launch(hub, [*net.private, *commands[0]], PROXY_CORE, lambda: True, where)
    field.launch(edge, [*net.public, *commands[1]], PROXY_CORE, lambda: is_open(net, port), where, env)


def is_open(net, port):
    probe = f"import socket; socket.create_connection(('127.0.0.1', {port}), 1)"
    return subprocess.run([*net.public, "python3", "-c", probe], stderr=subprocess.DEVNULL).returncode == 0


def set_congestion_control(net, name):
    """Of TCP between the namespaces."""
    for prefix in (net.public, net.private):
        argv = [*prefix, "ip", "-j", "route", "get", "10.99.0.2" if prefix is net.public else "10.99.0.1"]
        device = json.loads(subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout)[0]["dev"]
        subprocess.run([*prefix, *f"ip route replace 10.99.0.0/24 dev {device} congctl {name}".split()], check=True)


def loss(field, args):
    """TCP with both: Linux comes with CUBIC, and some set BBR. Our QUIC has BBR by itself."""
    print("loss: 50 streams down, 30 ms there and back, 1 % lost in each direction, 20 s")
    with BadNetwork() as net:
        start_origin(field, net.private)
        for name in args.ways:
            for control in {"direct": (), "quic": ("bbr",)}.get(name, ("cubic", "bbr")):
                set_congestion_control(net, control)
                start_apart(field, net, name)
                got = pipeload("streams", WAYS[name].port, "--bulk", 50, "--seconds", 20, prefix=net.public)
                slowest = got["least"] / got["seconds"] / 1e6
                row(name, control, f"{got['bytes'] / got['seconds'] / 1e6:.1f} MB/s", f"slowest stream {slowest:.2f} MB/s")
                for program in WAYS[name].programs:
                    field.stop(program)


CASES = {
    "stream": throughput(1),
    "streams": throughput(100),
    "memory": streams_held,
    "latency": latency,
    "mixed": mixed,
    "udp": udp,
    "sessions": sessions,
    "reconnect": reconnect,
    "loss": loss,
}
ALONE = ("reconnect", "loss")  # they start their own programs


def main():
    parser = argparse.ArgumentParser(
        prog="./dev bench tunnel", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help="all, unless some are named: " + ", ".join(CASES))
    parser.add_argument("--ways", type=lambda text: text.split(","), default=list(WAYS), help="of " + ",".join(WAYS))
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    unknown = [name for name in args.cases if name not in CASES] + [name for name in args.ways if name not in WAYS]
    if unknown:
        parser.error(f"unknown: {unknown[0]}")
    lock = take_turn()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for case in args.cases or CASES:
        with Field() as field:
            if case not in ALONE:
                start_origin(field)
                for name in args.ways:
                    start_way(field, name)
            CASES[case](field, args)
    lock.close()


if __name__ == "__main__":
    main()
