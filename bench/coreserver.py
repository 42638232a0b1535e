#!/usr/bin/env python3
"""Measures what those who use a core-server wait for.

  add       from `add` to the first 200 over HTTPS, and how much of that is mkcert
  names     a request among 10 names and among 10,000: median and rate; and how long an `add` takes to be live there
  takeover  five takeovers under 2,000 requests a second: failed requests must be 0
  shutdown  how long the ports are taken after another program has said `shutdown`: the original waits for 10 ms
"""
import argparse
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import tempfile
import time

from harness import HERE, ORIGIN_PORT, Field, require_free

BINARY = os.environ.get("SLUICE_BIN", "build/release/sluice")
HTTP_PORT, HTTPS_PORT, COMMAND_PORT = 8426, 8427, 8428
# wrk has no rate of its own: 40 connections with a pause of 19 ms each make 2,000 requests in a second.
PAUSE = 'wrk.headers["Host"] = "app.test"\nfunction delay() return 19 end\n'

# mkcert makes an RSA key, which takes from 0.1 s to several: what it took is taken off each time.
TIMED_MKCERT = """#!/bin/sh
[ "$1" = -key-file ] || exec mkcert "$@"
began=$(date +%s%N)
mkcert "$@" || exit
echo $(($(date +%s%N) - began)) >>{times}
"""


class Server:
    def __init__(self, home, mkcert="off"):
        self.home = home
        self.env = {
            **os.environ,
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "CAROOT": str(home / "ca"),
            "CORE_SERVER_HTTP_PORT": str(HTTP_PORT),
            "CORE_SERVER_HTTPS_PORT": str(HTTPS_PORT),
            "CORE_SERVER_COMMAND_PORT": str(COMMAND_PORT),
            "CORE_SERVER_CERTS": str(home / "certs"),
            "CORE_SERVER_MKCERT": mkcert,
        }
        self.log = open(home / "log", "a")
        self.start()

    def start(self):
        before = (self.home / "log").read_text().count('"msg":"ready"')
        command = [BINARY, "run", "scripts/core-server.lua", "--workers", "2"]
        self.proc = subprocess.Popen(command, cwd=HERE.parent, env=self.env, stderr=self.log, stdout=self.log)
        while (self.home / "log").read_text().count('"msg":"ready"') == before:
            if self.proc.poll() is not None:
                raise SystemExit((self.home / "log").read_text())
            time.sleep(0.005)

    def command(self, *lines):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.home / "config/core-web-server/control.sock"))
            file = sock.makefile("rw")
            for line in lines:
                file.write(line + "\n")
                file.flush()
                if file.readline() != "ok\n":
                    raise SystemExit(f"{line} did not work")

    def stop(self):
        self.proc.send_signal(signal.SIGTERM)
        self.proc.wait(60)


def datagram(text):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(text.encode(), ("127.0.0.1", COMMAND_PORT))


def try_https(name):
    """True when the answer is 200; the name may not be known yet."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        raw = socket.create_connection(("127.0.0.1", HTTPS_PORT))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(raw, server_hostname=name) as sock:
            sock.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            return sock.recv(4096).startswith(b"HTTP/1.1 200")
    except (ssl.SSLError, ConnectionError):
        return False


def add(home, args):
    wrapper = home / "mkcert"
    wrapper.write_text(TIMED_MKCERT.format(times=home / "times"))
    wrapper.chmod(0o755)
    server = Server(home, str(wrapper))
    whole = []
    for i in range(args.rounds + 1):
        name, began = f"fresh{i}.localhost", time.perf_counter()
        datagram(f"add {name} {ORIGIN_PORT}")
        while not try_https(name):
            pass
        whole.append((time.perf_counter() - began) * 1000)
        time.sleep(0.2)
    server.stop()
    alone = [int(line) / 1e6 for line in (home / "times").read_text().split()]
    ours = sorted(a - b for a, b in list(zip(whole, alone))[1:])  # the first makes the CA
    print(
        f"add: {statistics.median(whole[1:]):.0f} ms to the first 200 over HTTPS, mkcert {statistics.median(alone[1:]):.0f} ms; "
        f"ours: median {statistics.median(ours):.0f} ms, max {ours[-1]:.0f} ms"
    )


def wrk(home, name, seconds):
    command = ["wrk", "-t1", "-c16", f"-d{seconds}s", "--latency", "-H", f"Host: {name}", f"http://127.0.0.1:{HTTP_PORT}/"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        raise SystemExit(out)
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]), re.search(r"50%\s+(\S+)", out)[1]


def names(home, args):
    server = Server(home)
    for count in (10, 10000):
        server.command(*(f"add n{i}.test {ORIGIN_PORT}" for i in range(0 if count == 10 else 10, min(count, 10))))
        if count > 10:
            server.stop()
            lines = [f"n{i}.test {ORIGIN_PORT}" for i in range(count)]
            (home / "config/core-web-server/forward_targets.txt").write_text("\n".join(lines))
            server.start()
        times = []
        for i in range(args.rounds):
            time.sleep(0.2)
            began = time.perf_counter()
            server.command(f"add more{i}.test {ORIGIN_PORT}")
            times.append((time.perf_counter() - began) * 1000)
        rates = [wrk(home, f"n{count - 1}.test", args.seconds) for _ in range(3)]
        rate, median = sorted(rates)[1]
        print(
            f"names: {count:6} names: {rate:.0f} requests/s, median {median}; "
            f"an add is live and written after {statistics.median(times):.1f} ms (max {max(times):.1f})"
        )
    server.stop()


def takeover(home, args):
    server = Server(home)
    server.command(f"add app.test {ORIGIN_PORT}")
    script = home / "pause.lua"
    script.write_text(PAUSE)
    seconds = 3 * args.takeovers + 4
    load = subprocess.Popen(
        ["wrk", "-t1", "-c40", f"-d{seconds}s", "-s", script, f"http://127.0.0.1:{HTTP_PORT}/"],
        stdout=subprocess.PIPE,
        text=True,
    )
    time.sleep(2)
    for _ in range(args.takeovers):
        before = server.proc
        server.start()
        if before.wait(60) != 0:
            raise SystemExit("the one before did not end well")
        time.sleep(2)
    out = load.communicate()[0]
    bad = [line.strip() for line in out.splitlines() if "Non-2xx" in line or "Socket errors" in line]
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)[1]
    print(f"takeover: {args.takeovers} takeovers at {rate} requests/s, failed: {bad or 0}")
    server.stop()


def try_bind(kind, port, address="0.0.0.0"):
    sock = socket.socket(socket.AF_INET, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1 if kind == socket.SOCK_STREAM else 0)
    try:
        sock.bind((address, port))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        return True
    except OSError:
        return False
    finally:
        sock.close()


def shutdown(home, args):
    times = []
    for _ in range(args.rounds):
        server = Server(home)
        began = time.perf_counter()
        datagram("shutdown")
        while not try_bind(socket.SOCK_DGRAM, COMMAND_PORT) or not try_bind(socket.SOCK_STREAM, HTTP_PORT):
            pass
        times.append((time.perf_counter() - began) * 1000)
        server.proc.wait(60)
    print(f"shutdown: the ports are free after {statistics.median(times):.1f} ms (median of {args.rounds}, max {max(times):.1f})")


CASES = {"add": add, "names": names, "takeover": takeover, "shutdown": shutdown}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", help=" ".join(CASES))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--takeovers", type=int, default=5)
    args = parser.parse_args()
    for port in (HTTP_PORT, HTTPS_PORT):
        require_free(port)
    with Field() as field:
        field.start_origin()
        for case in args.case or CASES:
            home = pathlib.Path(tempfile.mkdtemp(prefix="sluice-bench-"))
            try:
                CASES[case](home, args)
            finally:
                shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
