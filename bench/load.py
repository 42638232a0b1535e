"""The load generators: each puts one kind of load on a port and says how many requests were answered well."""
import contextlib
import dataclasses
import re
import socket
import ssl
import subprocess
import time

from harness import HERE, LOAD_CORE

H3LOAD = str(HERE.parent / "build/release/h3load")
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


@dataclasses.dataclass
class Load:
    count: int
    seconds: float
    p99: str = "-"
    note: str = ""


def on_load_core(argv):
    """Runs a program beside the origin; what it said."""
    return subprocess.run(
        ["taskset", "-c", str(LOAD_CORE), *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ).stdout


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


def report_of(program, out):
    """Reads what h2load says at its end, and h3load like it."""
    done = re.search(r"(\d+) succeeded, (\d+) failed", out)
    if not done:
        raise SystemExit(f"{program}: {out}")
    p99 = re.search(r"^request\s*:(?:\s+\S+){4}\s+(\S+)", out, re.M)
    lost = re.search(r"connections: (\d+) refused, (\d+) lost", out)
    notes = [f"{done[2]} failed"] * (done[2] != "0")
    if lost and lost.groups() != ("0", "0"):
        notes.append(f"connections {lost[1]} refused, {lost[2]} lost")
    return int(done[1]), p99[1] if p99 else "-", ", ".join(notes)


def h2load(port, path, connections, seconds):
    out = on_load_core(
        ["h2load", "--alpn-list=h2", f"--connect-to=127.0.0.1:{port}", "-t1", f"-c{connections}", "-m8"]
        + ["-D", str(seconds), f"https://localhost:{port}{path}"]
    )
    count, p99, note = report_of("h2load", out)
    return Load(count, seconds, p99, note)


def h3load(port, path, connections, seconds):
    out = on_load_core(
        [H3LOAD, f"--connect-to=127.0.0.1:{port}", f"-c{connections}", "-m8"]
        + ["-D", str(seconds), f"https://localhost:{port}{path}"]
    )
    count, p99, note = report_of("h3load", out)
    return Load(count, seconds, p99, note)


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


@contextlib.contextmanager
def hold_idle(port, connections):
    """Opens connections, has one request answered on each, and keeps them open."""
    context, held = client_context(), []
    for _ in range(connections):
        sock = connect(context, port)
        sock.sendall(REQUEST + b"\r\n")
        if not sock.recv(4096).startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"port {port} did not answer 200")
        held.append(sock)
    yield
    for sock in held:
        sock.close()


@contextlib.contextmanager
def hold_h3(port, connections):
    """The same over HTTP/3: h3load keeps them open until its input ends."""
    proc = subprocess.Popen(
        ["taskset", "-c", str(LOAD_CORE), H3LOAD, "--hold", f"-c{connections}"]
        + [f"--connect-to=127.0.0.1:{port}", f"https://localhost:{port}/"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if not proc.stdout.readline().startswith("holding"):
        raise SystemExit(f"h3load could not hold {connections} connections to port {port}")
    yield
    proc.communicate("")
