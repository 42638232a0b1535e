#!/usr/bin/env python3
"""Measures the tunneling proxy: a server and one client, both sluices, in front of a local server.

  requests   1 KB answers, 64 visitors at a time: requests a second, and what one costs server and client
  idle       1,000 registered clients and 10,000 WebSockets of visitors, none of which says anything: memory of the server
  stream     1 GB down and 1 GB up through server and client: MB/s, equal hashes, and their highest memory

--workers: of the server (2); --size: GB of `stream`.
"""
import argparse
import asyncio
import base64
import hashlib
import http.server
import json
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import tempfile
import threading
import time

from harness import HERE, parents, require_free, ticks_of

SLUICE = str(HERE.parent / "build/release/sluice")
ORIGIN, PORT = 8461, 8462
BASE = f"http://127.0.0.1:{PORT}"
CLIENTS, VISITORS = 1000, 10000
TYPE = "https://proxy.brickchain.com/v1/%s.json"


running = []


class Program:
    """A sluice and its runtime, whose memory and time are read."""

    def __init__(self, directory, name, script, workers, env=None, args=()):
        self.log = open(directory / f"{name}.log", "w")
        command = [SLUICE, "run", script, "--workers", str(workers), *args]
        self.proc = subprocess.Popen(
            command, cwd=HERE.parent, env={**os.environ, **(env or {})}, stdout=self.log, stderr=self.log
        )
        while '"msg":"ready"' not in pathlib.Path(self.log.name).read_text():
            time.sleep(0.01)
        running.append(self)
        self.pid = next(pid for pid, parent in parents().items() if parent == self.proc.pid)

    def ticks(self):
        return ticks_of(self.pid)

    def memory(self, field="VmRSS"):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"{field}:\s+(\d+)", status).group(1)) / 1024

    def stop(self):
        running.remove(self)
        self.proc.send_signal(signal.SIGTERM)
        self.proc.wait()
        self.log.close()


def start_server(directory, workers):
    require_free(PORT)
    env = {"ADDR": f":{PORT}", "BASE": BASE, "DOMAIN": "tunnel.test", "RATE_LIMIT": "0"}
    return Program(directory, "server", "scripts/brickchain.lua", workers, env)


def start_client(directory):
    state = directory / "state.json"
    env = {
        "PROXY_ENDPOINT": BASE,
        "LOCAL": f"http://127.0.0.1:{ORIGIN}",
        "KEY": str(directory / "key.pem"),
        "STATE": str(state),
    }
    client = Program(directory, "client", "scripts/brickchain-client.lua", 1, env)
    while not state.exists():
        time.sleep(0.01)
    return client, json.loads(state.read_text())["hostname"]


# --- requests ---


def start_small_origin(directory):
    require_free(ORIGIN)
    action = {"type": "reply", "statusCode": 200, "body": "x" * 1024, "contentType": "text/plain"}
    config = {"routes": [{"name": "origin", "match": {"ports": ORIGIN}, "action": action}]}
    return Program(directory, "origin", "spec/fixtures/routes.lua", 1, args=[json.dumps(config)])


def load(host, seconds):
    out = subprocess.run(
        ["wrk", "-t1", "-c64", f"-d{seconds}s", "--latency", "-H", f"Host: {host}", BASE + "/"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        raise SystemExit(out)
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)), re.search(r"99%\s+(\S+)", out).group(1)


def requests(directory, options):
    origin = start_small_origin(directory)
    server = start_server(directory, options.workers)
    client, host = start_client(directory)
    load(host, 1)
    before, began = [server.ticks(), client.ticks()], time.time()
    rate, p99 = load(host, 10)
    total = rate * (time.time() - began)
    cost = [
        (after - earlier) * 1e6 / os.sysconf("SC_CLK_TCK") / total
        for earlier, after in zip(before, [server.ticks(), client.ticks()])
    ]
    print(f"requests: {rate:.0f}/s, p99 {p99}, CPU per request: server {cost[0]:.0f} us, client {cost[1]:.0f} us")
    for program in (client, server, origin):
        program.stop()


# --- idle ---


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def make_token():
    """One token is good for all: the sessions make the names."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    key = ec.generate_private_key(ec.SECP256R1())
    point = key.public_key().public_numbers()
    jwk = {"kty": "EC", "crv": "P-256", "x": b64(point.x.to_bytes(32, "big")), "y": b64(point.y.to_bytes(32, "big"))}
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    payload = {"@timestamp": stamp, "uri": BASE, "ttl": 3600}
    signed = b64(json.dumps({"alg": "ES256", "jwk": jwk}).encode()) + "." + b64(json.dumps(payload).encode())
    r, s = utils.decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return signed + "." + b64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


async def upgrade(path, host):
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 101"):
        raise SystemExit(f"{path} {host}: {head.decode()}")
    return reader, writer


async def receive(reader):
    first = await reader.readexactly(2)
    length = first[1]
    if length == 126:
        length = int.from_bytes(await reader.readexactly(2), "big")
    return first[0] & 15, await reader.readexactly(length)


def send(writer, document):
    data = json.dumps(document).encode()
    length = bytes([0x80 | len(data)]) if len(data) < 126 else bytes([0xFE]) + len(data).to_bytes(2, "big")
    writer.write(b"\x81" + length + bytes(4) + data)


async def answer_all(reader, writer):
    while True:
        opcode, data = await receive(reader)
        if opcode == 9:
            writer.write(bytes([0x8A, 0x80 | len(data)]) + bytes(4) + data)
        elif opcode == 1 and b"ws-request" in data:
            send(writer, {"@type": TYPE % "ws-response", "@id": json.loads(data)["@id"], "ok": True})


async def become_client(token, number):
    reader, writer = await upgrade("/proxy/subscribe", "localhost")
    request = {"@type": TYPE % "registration-request", "@id": "x", "mandateToken": token, "session": f"s{number}"}
    send(writer, request)
    _, data = await receive(reader)
    return json.loads(data)["hostname"], asyncio.create_task(answer_all(reader, writer)), writer


async def be_idle(server):
    token, clients, visitors = make_token(), [], []
    bare = server.memory()
    for number in range(CLIENTS):
        clients.append(await become_client(token, number))
    registered = server.memory()
    for first in range(0, VISITORS, 100):
        names = [clients[number % CLIENTS][0] for number in range(first, first + 100)]
        visitors += await asyncio.gather(*(upgrade("/", name) for name in names))
    await asyncio.sleep(3)
    full = server.memory()
    print(
        f"idle: {full:.0f} MiB with {CLIENTS} clients and {VISITORS} WebSockets; {bare:.0f} MiB bare, "
        f"{(registered - bare) * 1024 / CLIENTS:.1f} KiB a client, {(full - registered) * 1024 / VISITORS:.1f} KiB a WebSocket"
    )


def idle(directory, options):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = start_server(directory, options.workers)
    asyncio.run(be_idle(server))
    server.stop()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- stream ---

BLOCK = os.urandom(1 << 20)


class Origin(http.server.BaseHTTPRequestHandler):
    """Gives as many blocks as the path says, and says the hash of what it gets."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        blocks = int(self.path[1:])
        self.send_response(200)
        self.send_header("Content-Length", str(blocks * len(BLOCK)))
        self.end_headers()
        for _ in range(blocks):
            self.wfile.write(BLOCK)

    def do_PUT(self):
        left, digest = int(self.headers["Content-Length"]), hashlib.sha256()
        while left > 0:
            piece = self.rfile.read(min(left, 1 << 20))
            digest.update(piece)
            left -= len(piece)
        text = digest.hexdigest().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def hash_of(blocks):
    digest = hashlib.sha256()
    for _ in range(blocks):
        digest.update(BLOCK)
    return digest.hexdigest()


def read_all(sock):
    data = b""
    while piece := sock.recv(1 << 20):
        data += piece
    return data


def download(host, blocks):
    with socket.create_connection(("127.0.0.1", PORT)) as sock:
        sock.sendall(f"GET /{blocks} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        stream = sock.makefile("rb")
        status = stream.readline()
        while stream.readline() != b"\r\n":
            pass
        digest = hashlib.sha256()
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest() if b" 200 " in status else status.decode()


def upload(host, blocks):
    with socket.create_connection(("127.0.0.1", PORT)) as sock:
        length = blocks * len(BLOCK)
        sock.sendall(f"PUT / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n".encode())
        for _ in range(blocks):
            sock.sendall(BLOCK)
        return read_all(sock).rsplit(b"\r\n\r\n", 1)[-1].decode()


def stream(directory, options):
    require_free(ORIGIN)
    origin = http.server.ThreadingHTTPServer(("127.0.0.1", ORIGIN), Origin)
    threading.Thread(target=origin.serve_forever, daemon=True).start()
    server = start_server(directory, options.workers)
    client, host = start_client(directory)
    blocks = int(options.size * 1024)
    expected, before = hash_of(blocks), [server.memory(), client.memory()]
    for name, way in (("down", download), ("up", upload)):
        began = time.time()
        got = way(host, blocks)
        rate = blocks * len(BLOCK) / 1e6 / (time.time() - began)
        if got != expected:
            raise SystemExit(f"{name}: the hash is {got[:200]}, not {expected}")
        print(f"stream {name}: {rate:.0f} MB/s, hashes are equal")
    print(
        f"stream: memory of server {before[0]:.0f} MiB, at most {server.memory('VmHWM'):.0f}; "
        f"of client {before[1]:.0f} MiB, at most {client.memory('VmHWM'):.0f}"
    )
    client.stop()
    server.stop()
    origin.shutdown()


CASES = {"requests": requests, "idle": idle, "stream": stream}


def main():
    global SLUICE
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", choices=[[], *CASES])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--size", type=float, default=1)
    parser.add_argument("--sluice", default=SLUICE, help="the program that is measured")
    options = parser.parse_args()
    SLUICE = options.sluice
    for name in options.cases or CASES:
        with tempfile.TemporaryDirectory() as directory:
            try:
                CASES[name](pathlib.Path(directory), options)
            finally:
                for program in list(running):
                    program.stop()


main()
