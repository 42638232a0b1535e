"""The load generators: each puts one kind of load on a port and says how many requests were answered well."""
import dataclasses
import re
import signal
import socket
import ssl
import subprocess
import time

from harness import LOAD_CORE

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


@dataclasses.dataclass
class Load:
    count: int
    seconds: float
    p99: str = "-"
    note: str = ""


def on_load_core(argv, seconds=None):
    """Runs a program beside the origin; one that does not end by itself is stopped after a while."""
    proc = subprocess.Popen(
        ["taskset", "-c", str(LOAD_CORE), *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        return proc.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        proc.send_signal(signal.SIGTERM)
        return proc.communicate()[0]


def wrk(port, path, connections, seconds, close=False):
    header = ["-H", "Connection: close"] if close else []
    out = on_load_core(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", *header, f"https://localhost:{port}{path}"]
    )
    done = re.search(r"(\d+) requests in", out)
    if not done:
        raise SystemExit(f"wrk: {out}")
    p99 = re.search(r"^\s+99%\s+(\S+)$", out, re.M)
    bad = re.search(r"Non-2xx[^\n]*|Socket errors[^\n]*", out)
    return Load(int(done[1]), seconds, p99[1] if p99 else "-", bad[0].strip() if bad else "")


def h2load(port, path, connections, seconds, program="h2load", http3=False):
    version = "--h3" if http3 else "--alpn-list=h2"
    where = f"--connect-to=127.0.0.1:{port}"
    out = on_load_core(
        [program, version, where, "-t1", f"-c{connections}", "-m8", "-D", str(seconds), f"https://localhost:{port}{path}"]
    )
    done = re.search(r"(\d+) succeeded, (\d+) failed", out)
    if not done:
        raise SystemExit(f"{program}: {out}")
    p99 = re.search(r"^request\s*:(?:\s+\S+){4}\s+(\S+)", out, re.M)
    return Load(int(done[1]), seconds, p99[1] if p99 else "-", "" if done[2] == "0" else f"{done[2]} failed")


def curl_h3(port, path, connections, seconds):
    """HTTP/3 without an h2load that speaks it: slower, but what is measured is the proxy's time per request."""
    out = on_load_core(
        ["stdbuf", "-oL", "curl", "-sk", "--http3-only", "-Z", "--parallel-max", str(connections)]
        + ["-o", "/dev/null", "-w", "%{http_code} %{time_total}\n"]
        + [f"https://localhost:{port}{path}?[1-10000000]", "--connect-to", f"::127.0.0.1:{port}"],
        seconds,
    )
    answers = [line.split() for line in out.splitlines()[:-1]]
    times = sorted(float(time_s) for code, time_s in answers if code == "200")
    if not times:
        raise SystemExit(f"curl: {out[-500:]}")
    bad = len(answers) - len(times)
    return Load(len(times), seconds, f"{times[len(times) * 99 // 100] * 1000:.2f}ms", f"{bad} failed" if bad else "")


def client_context():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def connect(context, port, session=None):
    raw = socket.create_connection(("127.0.0.1", port), 10)
    return context.wrap_socket(raw, server_hostname="localhost", session=session)


def read_all(sock):
    data = bytearray()
    try:
        while chunk := sock.recv(65536):
            data += chunk
    except OSError:
        pass  # ended without a TLS close; the status line says whether it was served
    return bytes(data)


def resume(port, seconds):
    """One connection after the other, each resumed with the ticket of the one before it, one request each."""
    context, session, count, full, failed = client_context(), None, 0, 0, 0
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        try:
            with connect(context, port, session) as sock:
                sock.sendall(REQUEST + b"Connection: close\r\n\r\n")
                good = read_all(sock).startswith(b"HTTP/1.1 200")
                full += not sock.session_reused
                session = sock.session
        except OSError:
            good, session = False, None
        count += good
        failed += not good
    notes = [f"{full - 1} not resumed"] * (full > 1) + [f"{failed} failed"] * (failed > 0)
    return Load(count, time.monotonic() - begun, "-", ", ".join(notes))


def hold_idle(port, connections):
    """Opens connections, has one request answered on each, and returns them open."""
    context, held = client_context(), []
    for _ in range(connections):
        sock = connect(context, port)
        sock.sendall(REQUEST + b"\r\n")
        if not sock.recv(4096).startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"port {port} did not answer 200")
        held.append(sock)
    return held
