"""HTTP/3 while everything around it changes: routes, the script, the address of a client, and strangers at the door."""
import hashlib
import json
import pathlib
import re
import signal
import subprocess
import threading
import time

from harness import HERE

SUPPORT = HERE.parent / "spec" / "support"
CONNECTIONS, WORKERS, PUTS, RELOADS, STRANGERS = 1000, 4, 100, 20, 10_000
DOWNLOAD = 20_000_000


class Client:
    """A client on aioquic that is led step by step (spec/support/talk.py)."""

    def __init__(self, port, host):
        command = ["python3", str(SUPPORT / "quic_client.py"), str(port), host]
        self.proc = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.wait("connected")

    def tell(self, what, **fields):
        self.proc.stdin.write(json.dumps({"do": what, **fields}) + "\n")
        self.proc.stdin.flush()

    def wait(self, name):
        for line in self.proc.stdout:
            event = json.loads(line)
            if event["event"] == name:
                return event
        raise SystemExit(f"h3-swap: the client ended while waiting for {name}")

    def get(self, number, host, path):
        head = [(":method", "GET"), (":scheme", "https"), (":authority", host), (":path", path)]
        self.tell("request", id=number, headers=head)

    def close(self):
        self.proc.terminate()
        self.proc.wait(10)


def memory_mib(pid):
    """Resident memory of the program and its children."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    text = "".join(pathlib.Path(f"/proc/{one}/status").read_text() for one in [pid, *children])
    return sum(int(kib) for kib in re.findall(r"VmRSS:\s*(\d+)", text)) / 1024


def change_all(sluice, directory, routes):
    """The last of the routes changes with each PUT; now and then the script is reloaded."""
    for i in range(PUTS):
        routes[-1]["action"]["targets"][0]["port"] = 20000 + i
        sluice.put(routes)
        if i % (PUTS // RELOADS) == 0:
            reload_script(sluice, directory, i * RELOADS // PUTS + 1)


def reload_script(sluice, directory, count):
    """Returns when the new one runs."""
    log = directory / "sluice.log"
    sluice.proc.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 30
    while log.read_text().count('"msg":"script reloaded"') < count:
        if time.monotonic() > deadline:
            raise SystemExit("h3-swap: no reload in 30 s:\n" + log.read_text()[-1000:])
        time.sleep(0.01)


def move(port, host, expected):
    """Downloads, and comes from another port in the middle of it; fails unless all comes."""
    client = Client(port, host)
    try:
        client.get(1, host, "/bulk")
        client.wait("head")
        client.tell("rebind", new_id=True)
        answer = client.wait("response")
    finally:
        client.close()
    if answer["sha256"] != expected:
        raise SystemExit(f"h3-swap: a client that moved got {answer['status']} and {answer['size']} bytes")


def knock(sluice, port, host):
    """First packets from addresses that are made up: what came back, and MiB that it cost."""
    command = ["python3", str(SUPPORT / "quic_attacks.py"), str(port), host, "spoofed", str(STRANGERS)]
    before = memory_mib(sluice.proc.pid)
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return said, memory_mib(sluice.proc.pid) - before


def show_strangers(which, said, grown):
    print(
        f"  {which} first packets of strangers: {grown:+.1f} MiB, {said['kinds'].get('retry', 0)} of them saw a "
        f"Retry, at most {said['worst']:.2f} bytes sent for each of theirs"
    )


class Load:
    """The clients that must not notice anything."""

    def __init__(self, port, host, seconds):
        target = f"https://{host}:{port}/"
        command = ["build/release/h3load", "-c", str(CONNECTIONS), "-m1", "-D", str(seconds)]
        self.proc = subprocess.Popen(
            [*command, f"--connect-to=127.0.0.1:{port}", target],
            cwd=HERE.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )

    def result(self):
        out = self.proc.communicate()[0]
        found = re.search(r"(\d+) succeeded, (\d+) failed.*?(\d+) refused, (\d+) lost", out, re.S)
        if not found:
            raise SystemExit(f"h3load: {out}")
        return [int(number) for number in found.groups()]


def run(directory, sluice, routes, port, host):
    """`sluice` serves `routes`, the first of which is the host's, over QUIC."""
    bulk = bytes(range(256)) * (DOWNLOAD // 256)
    (directory / "www" / "bulk").write_bytes(bulk)
    (directory / "www" / "bulk").chmod(0o644)
    expected = hashlib.sha256(bulk).hexdigest()
    load = Load(port, host, 60)
    thread = threading.Thread(target=change_all, args=(sluice, directory, routes))
    thread.start()
    move(port, host, expected)
    thread.join()
    first = knock(sluice, port, host)  # costs the handshakes that are let in before a Retry is demanded
    second = knock(sluice, port, host)
    good, failed, refused, lost = load.result()
    said = sluice.statistics()
    print(f"h3-swap: {CONNECTIONS} connections, {WORKERS} workers, {PUTS} swaps, {RELOADS} reloads: {good} requests answered")
    print(f"  failed: {failed}, connections refused: {refused}, lost: {lost}; a client that moved got all of its {DOWNLOAD} bytes")
    show_strangers(f"{STRANGERS}", *first)
    show_strangers("as many again,", *second)
    print(f"  statistics: {json.dumps(said['quic'])}")
    if failed or refused or lost:
        raise SystemExit("h3-swap: not all were served")
