#!/usr/bin/env python3
"""Measures what an operator waits for: the start, and changes of routes while requests run.

  ready   from exec to the first answer of the admin API, with an empty configuration
  swap    10,000 routes with 10,000 certificates: the first PUT /routes, then PUTs of the set with one changed host, while
          one connection asks without a pause
  puts    200 PUTs of 1,000 routes under load: failed requests must be 0
  h3-swap 1,000 HTTP/3 connections under load, 100 swaps of routes and 20 reloads: failed requests must be 0
  coreflow  Coreflow mode: the first push of 10,000 hosts, pushes with 10 changed ones, and 100 pushes in a second;
          --chain 4 gives each certificate a chain of four more, with which the push has 90 MB
"""
import argparse
import datetime
import http.client
import json
import os
import pathlib
import signal
import ssl
import statistics
import subprocess
import threading
import time
import urllib.request

import coreflow
import h3_swap
from harness import HERE, Field, PEERS, ORIGIN_PORT, require_free

ADMIN_PORT, PORT = 8439, PEERS["sluice-plain"].port
PROBE = """
import json, socket, ssl, sys, time
port, name, stop = int(sys.argv[1]), sys.argv[2], sys.argv[3]
import os
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
sock = context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname=name)
sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
request = f"GET / HTTP/1.1\\r\\nHost: {name}\\r\\n\\r\\n".encode()
times = []
while not os.path.exists(stop):
    began = time.perf_counter()
    sock.sendall(request)
    answer = sock.recv(65536)
    if not answer.startswith(b"HTTP/1.1 200"):
        sys.exit("failed: " + repr(answer[:200]))
    times.append(time.perf_counter() - began)
json.dump(times, sys.stdout)
"""


def make_certificates(count):
    """Self-signed P-256 certificates for host0.test, host1.test, …"""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.datetime.now(datetime.timezone.utc)
    pairs = []
    for i in range(count):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"host{i}.test")])
        cert = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(i + 1)
            .not_valid_before(now)
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(f"host{i}.test")]), False)
            .sign(key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        form = serialization.PrivateFormat.PKCS8
        pairs.append(
            {
                "cert": cert.public_bytes(pem).decode(),
                "key": key.private_bytes(pem, form, serialization.NoEncryption()).decode(),
            }
        )
    return pairs


def make_chain(count):
    """Certificates as authorities have them (RSA, 4096 bits), to stand behind each host's own."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    now = datetime.datetime.now(datetime.timezone.utc)
    chain = ""
    for i in range(count):
        key = rsa.generate_private_key(65537, 4096)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"Authority {i}")])
        cert = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(i + 1)
            .not_valid_before(now)
            .not_valid_after(now + datetime.timedelta(days=3650))
            .sign(key, hashes.SHA256())
        )
        chain += cert.public_bytes(serialization.Encoding.PEM).decode()
    return chain


def route(i, certificate, target_port=ORIGIN_PORT):
    return {
        "name": f"host{i}",
        "match": {"ports": PORT, "domains": f"host{i}.test"},
        "action": {
            "type": "forward",
            "targets": [{"host": "127.0.0.1", "port": target_port}],
            "tls": {"mode": "terminate", "certificate": certificate},
        },
    }


class Sluice:
    """One sluice in standalone mode with an empty configuration."""

    def __init__(self, directory, workers):
        self.directory = directory
        env = {
            "CORETRAFFIC_MODE": "standalone",
            "SMARTPROXY_CONFIG": str(directory / "none.json"),
            "SMARTPROXY_ADMIN_PORT": str(ADMIN_PORT),
        }
        command = ["build/release/sluice", "run", "scripts/coretraffic.lua", "--workers", str(workers)]
        for port in (ADMIN_PORT, PORT):
            require_free(port)
        self.began = time.perf_counter()
        self.log = open(directory / "sluice.log", "w")
        self.proc = subprocess.Popen(command, cwd=HERE.parent, env={**os.environ, **env}, stderr=self.log, stdout=self.log)
        while self.ask("GET", "/ready", tolerant=True) != 200:
            time.sleep(0.001)
        self.ready_after = time.perf_counter() - self.began

    def ask(self, method, path, body=None, tolerant=False):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", ADMIN_PORT)
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            answer = connection.getresponse()
            text = answer.read()
        except OSError:
            if tolerant:
                return None
            raise
        if answer.status != 200 and not tolerant:
            raise SystemExit(f"{method} {path}: {answer.status} {text[:300]}")
        return answer.status

    def statistics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{ADMIN_PORT}/statistics") as answer:
            return json.load(answer)

    def put(self, routes):
        body = json.dumps(routes)
        began = time.perf_counter()
        self.ask("PUT", "/routes", body)
        return time.perf_counter() - began

    def stop(self):
        self.proc.send_signal(signal.SIGTERM)
        self.proc.wait(40)
        self.log.close()


class Probe:
    """Asks over one connection, one request after the other, from a process of its own."""

    def __init__(self, directory):
        self.stop_file = directory / "stop"
        self.stop_file.unlink(missing_ok=True)
        self.proc = subprocess.Popen(
            ["python3", "-c", PROBE, str(PORT), "host0.test", str(self.stop_file)], stdout=subprocess.PIPE
        )
        time.sleep(0.5)

    def times_ms(self):
        self.stop_file.touch()
        return sorted(second * 1000 for second in json.loads(self.proc.communicate()[0]))


def show_times(label, times):
    at = lambda share: times[min(len(times) - 1, int(len(times) * share))]
    print(f"  {label:28} {len(times):7} requests  median {at(0.5):6.2f} ms  99.9 % {at(0.999):6.2f} ms  max {times[-1]:6.2f} ms")


def ready(directory, args):
    times = []
    for _ in range(args.rounds):
        sluice = Sluice(directory, args.workers)
        times.append(sluice.ready_after * 1000)
        sluice.stop()
    print(f"ready: {statistics.median(times):.0f} ms from exec to 200 of /ready (median of {args.rounds}, max {max(times):.0f})")


def swap(directory, args):
    print(f"swap: making {args.routes} certificates", flush=True)
    pairs = make_certificates(args.routes)
    routes = [route(i, pair) for i, pair in enumerate(pairs)]
    sluice = Sluice(directory, args.workers)
    print(f"  first PUT of {args.routes} routes        {sluice.put(routes) * 1000:7.0f} ms")
    probe = Probe(directory)
    time.sleep(2)
    show_times("requests without PUTs", probe.times_ms())
    probe = Probe(directory)
    changed = []
    for i in range(args.rounds):
        routes[-1] = route(args.routes - 1, pairs[-1], ORIGIN_PORT + 1 + i)
        changed.append(sluice.put(routes) * 1000)
    times = probe.times_ms()
    print(f"  PUT with one changed host     {statistics.median(changed):7.0f} ms (median of {args.rounds}, max {max(changed):.0f})")
    show_times("requests during the PUTs", times)
    memory = pathlib.Path(f"/proc/{sluice.proc.pid}/task/{sluice.proc.pid}/children").read_text().split()[0]
    rss = [line for line in pathlib.Path(f"/proc/{memory}/status").read_text().splitlines() if "VmRSS" in line][0]
    print(f"  memory of the runtime: {rss.split(':')[1].strip()}")
    sluice.stop()


def puts(directory, args):
    pair = make_certificates(1)[0]
    routes = [route(i, pair) for i in range(1000)]
    routes[0]["match"]["domains"] = "localhost"
    sluice = Sluice(directory, args.workers)
    sluice.put(routes)
    result = {}

    def load():
        command = ["wrk", "-t1", "-c32", "-d60s", f"https://localhost:{PORT}/"]
        result["proc"] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        result["out"] = result["proc"].communicate()[0]

    thread = threading.Thread(target=load)
    thread.start()
    time.sleep(1)
    times = []
    for i in range(200):
        routes[500] = route(500, pair, 20000 + i)
        times.append(sluice.put(routes) * 1000)
    result["proc"].send_signal(signal.SIGINT)
    thread.join()
    bad = [line.strip() for line in result["out"].splitlines() if "Non-2xx" in line or "Socket errors" in line]
    done = [line.strip() for line in result["out"].splitlines() if "requests in" in line]
    print(f"puts: 200 PUTs of 1,000 routes, median {statistics.median(times):.0f} ms; {done[0] if done else '?'}; failed: {bad or 0}")
    sluice.stop()


def swap_h3(directory, args):
    pair = make_certificates(1)[0]
    routes = [route(i, pair) for i in range(100)]
    routes[0]["match"]["transport"] = "all"
    (directory / "none.json").write_text(json.dumps({"routes": routes}))  # which a reload goes back to
    sluice = Sluice(directory, h3_swap.WORKERS)
    try:
        h3_swap.run(directory, sluice, routes, PORT, "host0.test")
    finally:
        sluice.stop()


def pushes(directory, args):
    pairs = make_certificates(args.routes)
    chain = make_chain(args.chain)
    for pair in pairs:
        pair["cert"] += chain
    coreflow.run(directory, args, pairs, ORIGIN_PORT)


CASES = {"ready": ready, "swap": swap, "puts": puts, "h3-swap": swap_h3, "coreflow": pushes}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="+", choices=CASES)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--routes", type=int, default=10000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--chain", type=int, default=0)
    args = parser.parse_args()
    with Field() as field:
        field.start_origin()
        for case in args.case:
            CASES[case](field.dir, args)


if __name__ == "__main__":
    main()
