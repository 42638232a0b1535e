#!/usr/bin/env python3
"""A bad network: two namespaces, and between them a link that delays and loses packets.

    netlab.py DELAY_MS LOSS_PERCENT [SEED]

Prints the process ids of two processes, one in each namespace, once they are up; `nsenter --net=/proc/PID/ns/net CMD` runs a
command there. The addresses are 10.99.0.1 and 10.99.0.2. Delay and loss are those of one direction; both have them. It
ends with this process, and nothing is left of it.

Lines on stdin change the link, each answered by itself: `cut` (nothing passes, and nobody is told), `block PORT` (no UDP
to or from that port), `heal` (all passes again).

Not every kernel can delay packets (netem), so they come through here: a TUN device in each namespace, whose other end is
read, held back and written by this program. Needs root and /dev/net/tun; exits with 77 without.
"""
import ctypes
import fcntl
import heapq
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import time

CLONE_NEWNET, PR_SET_PDEATHSIG = 0x40000000, 1
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
MOST = 10_000  # packets on their way: more are lost
LIBC = ctypes.CDLL(None, use_errno=True)


def enter_namespace():
    if LIBC.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def open_tun(address):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH", b"bad0", IFF_TUN | IFF_NO_PI))
    for command in ("link set lo up", "link set bad0 up txqueuelen 5000", f"addr add {address}/24 dev bad0"):
        subprocess.run(["ip", *command.split()], check=True)
    return fd


def make_side(address):
    """A process in a namespace of its own, and the TUN device of that namespace."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        try:
            enter_namespace()
            socket.send_fds(theirs, [b"x"], [open_tun(address)])
        except (OSError, subprocess.CalledProcessError) as error:
            print(error, file=sys.stderr)
            os._exit(1)
        os.close(1)  # whoever reads what we say must not wait for this one
        os.close(2)
        while True:
            signal.pause()
    theirs.close()
    data, fds, _, _ = socket.recv_fds(ours, 1, 1)
    if not data:
        sys.exit(77)
    return pid, fds[0]


class Link:
    """What of it is broken, by the commands of stdin."""

    def __init__(self):
        self.is_cut, self.blocked, self.inputs = False, None, [0]

    def take_commands(self):
        words = sys.stdin.readline().split()
        if not words:
            self.inputs = []  # nobody will say any more
            return
        self.is_cut = words[0] == "cut"
        self.blocked = struct.pack("!H", int(words[1])) if words[0] == "block" else None
        print(*words, flush=True)

    def passes(self, packet):
        return not self.is_cut and (self.blocked is None or not self.is_blocked(packet))

    def is_blocked(self, packet):
        if packet[0] >> 4 != 4 or packet[9] != socket.IPPROTO_UDP:
            return False
        ports = (packet[0] & 15) * 4
        return self.blocked in (packet[ports : ports + 2], packet[ports + 2 : ports + 4])


def carry(one, other, delay, loss, rng):
    to, waiting, count, link = {one: other, other: one}, [], 0, Link()
    while True:
        pause = max(0, waiting[0][0] - time.monotonic()) if waiting else None
        for fd in select.select([one, other, *link.inputs], [], [], pause)[0]:
            if fd == 0:
                link.take_commands()
                continue
            for packet in packets_of(fd):
                if link.passes(packet) and rng.random() >= loss and len(waiting) < MOST:
                    count += 1
                    heapq.heappush(waiting, (time.monotonic() + delay, count, to[fd], packet))
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, _, fd, packet = heapq.heappop(waiting)
            try:
                os.write(fd, packet)
            except BlockingIOError:
                pass  # a queue that is full loses what comes


def packets_of(fd):
    for _ in range(64):
        try:
            yield os.read(fd, 2048)
        except BlockingIOError:
            return


def main(delay_ms, loss_percent, seed="1"):
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    (pid_a, tun_a), (pid_b, tun_b) = make_side("10.99.0.1"), make_side("10.99.0.2")
    print(pid_a, pid_b, flush=True)
    carry(tun_a, tun_b, float(delay_ms) / 1000, float(loss_percent) / 100, random.Random(int(seed)))


if __name__ == "__main__":
    main(*sys.argv[1:])
