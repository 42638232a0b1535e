"""Starts the origin and the proxies of a benchmark, each on its core, and reads what they cost."""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ORIGIN_PORT = 8430
PROXY_CORE, LOAD_CORE = 0, min(1, os.cpu_count() - 1)
NGINX = ["nginx", "-p", "./", "-e", "stderr", "-c"]


class Peer:
    """One proxy: how it is started, and where it listens."""

    def __init__(self, port, command, env=None, http3=True):
        self.port, self.command, self.env, self.http3 = port, command, env or {}, http3


PEERS = {
    "nginx": Peer(8443, NGINX + ["nginx.conf"]),
    "nginx-lua": Peer(8446, NGINX + ["nginx-lua.conf"]),
    "haproxy": Peer(8444, ["haproxy", "-f", "haproxy.cfg"], http3=False),
    "caddy": Peer(
        8445,
        ["caddy", "run", "--config", "Caddyfile", "--adapter", "caddyfile"],
        {"GOMAXPROCS": "1", "HOME": "/tmp"},
    ),
    "sluice": Peer(
        8440,
        "build/release/sluice run bench/policy.lua --workers 1",
        {"SMARTPROXY_CONFIG": "{config}"},
    ),
    "sluice-plain": Peer(
        8441,
        "build/release/sluice run scripts/coretraffic.lua --workers 1",
        {
            "CORETRAFFIC_MODE": "standalone",
            "SMARTPROXY_CONFIG": "{config}",
            "SMARTPROXY_ADMIN_PORT": "8439",
        },
    ),
}


def ticks_of(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return sum(int(field) for field in fields[11:15])  # own and waited-for children's, user and system


def parents():
    """Process id -> parent's, of all processes."""
    found = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = stat.read_text().split(" (", 1)
        except OSError:
            continue
        found[int(pid)] = int(rest.rsplit(") ", 1)[1].split()[1])
    return found


def require_free(port):
    """Fails unless nobody listens: with SO_REUSEPORT a second program would quietly get half of the load."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise SystemExit(f"port {port} is in use: is a proxy of another benchmark still running?")


def route_on(port, certificate):
    """The route of the benchmark as a standalone configuration has it."""
    return {
        "name": "bench",
        "match": {"ports": port, "domains": "localhost", "transport": "all"},
        "action": {
            "type": "forward",
            "targets": [{"host": "127.0.0.1", "port": ORIGIN_PORT}],
            "tls": {"mode": "terminate", "certificate": certificate},
        },
    }


class Field:
    """The running programs of one benchmark, and the folder that they share."""

    def __init__(self, tickets=False):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="sluice-bench-"))
        self.dir.chmod(0o755)
        self.procs = {}
        self._write_files(tickets)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for name in list(self.procs):
            self.stop(name)
        shutil.rmtree(self.dir, ignore_errors=True)

    def stop(self, name):
        proc = self.procs.pop(name)
        if proc.poll() is not None:
            return
        os.killpg(proc.pid, signal.SIGTERM)
        try:
            proc.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(proc.pid, signal.SIGKILL)
            proc.wait()

    def _write_files(self, tickets):
        words = {
            "@TICKETS@": "on" if tickets else "off",
            "@HAPROXY_TICKETS@": "" if tickets else "no-tls-tickets",
        }
        for file in (HERE / "peers").iterdir():
            text = file.read_text()
            for word, value in words.items():
                text = text.replace(word, value)
            (self.dir / file.name).write_text(text)
        self._make_certificate()
        (self.dir / "www").mkdir()
        (self.dir / "www" / "64k").write_bytes(os.urandom(65536))
        for path in self.dir.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)  # workers run as another user

    def _make_certificate(self):
        key, cert = self.dir / "key.pem", self.dir / "cert.pem"
        subprocess.run(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost "
            "-addext subjectAltName=DNS:localhost".split() + ["-keyout", key, "-out", cert],
            check=True,
            capture_output=True,
        )
        pair = {"key": key.read_text(), "cert": cert.read_text()}
        (self.dir / "full.pem").write_text(pair["cert"] + pair["key"])
        for name in PEERS:
            (self.dir / f"{name}.json").write_text(json.dumps({"routes": [route_on(PEERS[name].port, pair)]}))

    def start_origin(self):
        self._start("origin", NGINX + ["origin.conf"], LOAD_CORE, self.dir, {}, ORIGIN_PORT)

    def start(self, name, command=None):
        """Starts a peer; a string runs in the checkout through a shell, with {config} filled in."""
        peer = PEERS[name]
        command = command or peer.command
        fill = lambda text: text.replace("{config}", str(self.dir / f"{name}.json"))
        where = self.dir
        if isinstance(command, str):
            command, where = ["sh", "-c", "exec env " + fill(command)], HERE.parent
        env = {key: fill(value) for key, value in peer.env.items()}
        self._start(name, command, PROXY_CORE, where, env, peer.port)

    @staticmethod
    def _answers(port):
        """With SO_REUSEPORT a second program would share the port, and the load, in silence."""
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except OSError:
            return False

    def _start(self, name, command, core, where, env, port):
        require_free(port)
        if self._answers(port):
            raise SystemExit(f"{name}: something listens on port {port} already; another benchmark?")
        self.launch(name, command, core, lambda: self._answers(port), where, env)

    def launch(self, name, command, core, is_ready, where=HERE.parent, env=()):
        """Starts a program on its core and waits until it is ready."""
        log = self.dir / f"{name}.log"
        with open(log, "w") as out:
            self.procs[name] = subprocess.Popen(
                ["taskset", "-c", str(core), *command],
                stdout=out,
                stderr=out,
                cwd=where,
                env={**os.environ, **dict(env)},
                start_new_session=True,
            )
        deadline = time.monotonic() + 30
        while not is_ready():
            if self.procs[name].poll() is not None:
                raise SystemExit(f"{name} did not start:\n{log.read_text()[-2000:]}")
            if time.monotonic() > deadline:
                raise SystemExit(f"{name} does not get ready:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)

    def _tree(self, name):
        """The process ids of a started program and of all that descends from it."""
        above = parents()
        out, todo = [], [self.procs[name].pid]
        while todo:
            pid = todo.pop()
            out.append(pid)
            todo += [child for child, parent in above.items() if parent == pid]
        return out

    def cpu_seconds(self, name):
        total = 0
        for pid in self._tree(name):
            try:
                total += ticks_of(pid)
            except OSError:
                pass  # it has just ended; its parent holds its time
        return total / os.sysconf("SC_CLK_TCK")

    def memory_kib(self, name):
        """Memory that would be free without the program: shared pages are counted by their share."""
        total = 0
        for pid in self._tree(name):
            try:
                rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
                total += int(re.search(r"^Pss:\s+(\d+)", rollup, re.M)[1])
            except (OSError, TypeError):
                pass
        return total
