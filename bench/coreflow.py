"""The case `coreflow` of operations.py: pushes of many hosts, from a Coreflow that is a plain WebSocket server.

What it sends is what the real one sends (docs/coreflow.md); written out here so that the time of its libraries is not
measured along.
"""
import base64
import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import time

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
HTTP_PORT, HTTPS_PORT = 8436, 8437
APPLIED = '"msg":"routes are live"'


class Coreflow:
    """Takes one connection, waits for its tag, and pushes."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.count = 0

    def accept(self):
        self.sock = self.listener.accept()[0]
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.sock.makefile("rb")
        key = b""
        while (line := self.file.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            key = value.strip() if name.lower() == b"sec-websocket-key" else key
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        self.sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        tag = self.read()
        tag["correlation"]["phase"] = "response"
        self.send(json.dumps({**tag, "request": None, "response": {"success": True}}).encode())

    def send(self, payload):
        n = len(payload)
        size = bytes([n]) if n < 126 else b"\x7e" + struct.pack(">H", n) if n < 65536 else b"\x7f" + struct.pack(">Q", n)
        self.sock.sendall(b"\x81" + size + payload)

    def read_frame(self):
        first, second = self.file.read(2)
        n = second & 127
        if n >= 126:
            n = int.from_bytes(self.file.read(2 if n == 126 else 8), "big")
        key, body = self.file.read(4), self.file.read(n)
        return first & 15, bytes(b ^ key[i % 4] for i, b in enumerate(body))

    def read(self):
        while True:
            opcode, body = self.read_frame()
            if opcode == 9:
                self.sock.sendall(b"\x8a" + bytes([len(body)]) + body)
            elif opcode == 1:
                return json.loads(body)

    def envelope(self, hosts):
        self.count += 1
        return json.dumps(
            {
                "method": "updateRouting",
                "request": {"reverseConfigs": hosts},
                "response": None,
                "requestInstanceId": f"uni_i{self.count}",
                "correlation": {"id": f"uni_{self.count}", "phase": "request"},
            }
        ).encode()

    def push(self, hosts):
        """Seconds from the first byte to the answer."""
        payload = self.envelope(hosts)
        began = time.perf_counter()
        self.send(payload)
        self.expect_ok()
        return time.perf_counter() - began

    def expect_ok(self):
        answer = self.read()["response"]
        if answer["status"] != "ok":
            raise SystemExit("a push was answered " + json.dumps(answer)[:300])


def host(i, pair, port):
    return {
        "hostName": f"host{i}.test",
        "destinationIps": ["127.0.0.1"],
        "destinationPorts": [port],
        "privateKey": pair["key"],
        "publicKey": pair["cert"],
    }


def start(directory, workers, coreflow):
    env = {
        "CORETRAFFIC_MODE": "coreflow",
        "COREFLOW_URL": f"http://127.0.0.1:{coreflow.port}",
        "CORETRAFFIC_HTTP_PORT": str(HTTP_PORT),
        "CORETRAFFIC_HTTPS_PORT": str(HTTPS_PORT),
    }
    command = [os.environ.get("SLUICE_BIN", "build/release/sluice"), "run", "scripts/coretraffic.lua", "--workers", str(workers)]
    log = open(directory / "coreflow.log", "w")
    return subprocess.Popen(command, env={**os.environ, **env}, stderr=log, stdout=log)


def burst(coreflow, log, hosts, origin_port):
    """100 pushes, one each 10 ms, of which the last must be served; how often they were applied."""
    before = log.read_text().count(APPLIED)
    began = time.perf_counter()
    for i in range(100):
        hosts[0]["destinationPorts"] = [origin_port + i]
        coreflow.send(coreflow.envelope(hosts))
        time.sleep(max(0, began + (i + 1) / 100 - time.perf_counter()))
    for _ in range(100):
        coreflow.expect_ok()
    return log.read_text().count(APPLIED) - before, time.perf_counter() - began


def run(directory, args, pairs, origin_port):
    hosts = [host(i, pair, origin_port) for i, pair in enumerate(pairs)]
    coreflow = Coreflow()
    proc = start(directory, args.workers, coreflow)
    try:
        coreflow.accept()
        megabytes = len(coreflow.envelope(hosts)) / 1e6
        print(f"  first push of {args.routes} hosts ({megabytes:.0f} MB)  {coreflow.push(hosts) * 1000:7.0f} ms")
        times = []
        for i in range(args.rounds):
            time.sleep(0.6)  # a storm is gathered; these are single pushes
            for j in range(10):
                hosts[j]["destinationPorts"] = [origin_port + 1 + i]
            times.append(coreflow.push(hosts) * 1000)
        times.sort()
        print(f"  push with 10 changed hosts         {times[len(times) // 2]:7.0f} ms (median of {args.rounds}, max {times[-1]:.0f})")
        time.sleep(0.6)
        coreflow.push(hosts[:100])
        time.sleep(0.6)
        applied, took = burst(coreflow, directory / "coreflow.log", hosts[:100], origin_port)
        print(f"  100 pushes of 100 hosts in 1 s     applied {applied} times, all answered after {took:.2f} s")
    finally:
        proc.send_signal(signal.SIGTERM)
        proc.wait(40)
