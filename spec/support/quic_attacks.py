#!/usr/bin/env python3
"""Datagrams to a QUIC server from strangers: quic_attacks.py PORT HOST ATTACK [COUNT]

Sends what it has to, waits until the server has seen all of it (it answers a packet of an unknown version at once), and
says in one line of JSON what came back: `kinds` (of packets, to count), `errors` (codes of CONNECTION_CLOSE in Initial
packets), `sent`, `received` (bytes), `largest` (of a datagram that came), `worst` (most that came for one that was sent).
"""
import collections
import json
import os
import random
import select
import socket
import sys
import time

from aioquic.buffer import Buffer
from aioquic.quic.crypto import CryptoError, CryptoPair
from aioquic.quic.packet import pull_quic_header

import quic_packets as packets

CLOSE = 0x1C
AT_ONCE = 400  # sockets that are open


class Attacker:
    def __init__(self, port, host):
        self.server, self.host = ("127.0.0.1", port), host
        self.kinds, self.errors = collections.Counter(), []
        self.sent, self.received, self.largest, self.worst, self.retry = 0, 0, 0, 0, None
        self.sock, self.keys = self.open(), {}  # scid -> the secret of its Initials
        _, self.scid, self.hello = packets.hello(host)

    def open(self, address="127.0.0.1"):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.bind((address, 0))
        sock.setblocking(False)
        return sock

    def send(self, data, sock=None):
        self.sent += len(data)
        (sock or self.sock).sendto(data, self.server)

    def initial(self, payload=None, sock=None, dcid=None, **options):
        """A first packet with a ClientHello, or with this payload instead."""
        dcid, scid = dcid or os.urandom(8), self.scid if payload is None else os.urandom(8)
        self.keys[scid] = dcid
        self.send(packets.initial(dcid, scid, payload or self.hello, **options), sock)

    # --- what comes back ---

    def take(self, data):
        self.received += len(data)
        self.largest = max(self.largest, len(data))
        if not data[0] & 0x80:
            self.kinds["short"] += 1
            return
        buf = Buffer(data=data)
        while not buf.eof() and data[buf.tell()] & 0x80:
            begin = buf.tell()
            header = pull_quic_header(buf)
            self.kinds[header.packet_type.name.lower()] += 1
            if header.packet_type.name == "INITIAL":
                self.look_inside(data[begin : begin + header.packet_length], buf.tell() - begin, header)
            if header.packet_type.name in ("RETRY", "VERSION_NEGOTIATION"):
                self.retry = header
                return
            buf.seek(begin + header.packet_length)

    def look_inside(self, packet, offset, header):
        crypto = CryptoPair()
        crypto.setup_initial(self.keys[header.destination_cid], is_client=True, version=1)
        try:
            payload = crypto.decrypt_packet(packet, offset, 0)[1]
        except CryptoError:
            return  # after a Retry the keys are others
        if payload[0] == CLOSE:
            self.errors.append(Buffer(data=payload[1:]).pull_uint_var())

    def drain(self, sock):
        n = 0
        while True:
            try:
                data = sock.recv(65536)
            except BlockingIOError:
                return n
            except ConnectionRefusedError:
                raise SystemExit("nobody listens")
            n += len(data)
            self.take(data)

    def settle(self, sock=None):
        """Until the server has come past all that was sent from here."""
        sock, cid = sock or self.sock, os.urandom(8)
        probe = packets.long_head(0xC0, 0x5A5A5A5A, cid, cid).ljust(1200, b"\0")
        for _ in range(100):
            sock.sendto(probe, self.server)
            while select.select([sock], [], [], 0.2)[0]:
                data = sock.recv(65536)
                if data[1:5] == bytes(4) and cid in data:
                    return
                self.take(data)
        raise SystemExit("the server does not answer any more")

    def report(self):
        said = {name: getattr(self, name) for name in ("sent", "received", "largest", "worst", "errors", "kinds")}
        print(json.dumps(said), flush=True)


def short_initial(attacker, _):
    """Q-01"""
    for size in (1199, 600, 400):
        attacker.initial(size=size)
    attacker.settle()


def bogus_token(attacker, _):
    """Q-02; the first byte of a token is the server's own business, so each is tried."""
    for first in range(256):
        attacker.initial(payload=bytes([packets.PING]), token=bytes([first]) + os.urandom(60))
    attacker.settle()


def token_past_end(attacker, _):
    """Q-02"""
    for length in (1180, 16000, 1 << 29, 1 << 61):
        attacker.initial(payload=bytes([packets.PING]), token_length=length)
    attacker.settle()


def unknown_version(attacker, count):
    """Q-04: each is answered once, with less than it brought, as long as there are not too many."""
    for _ in range(count):
        attacker.send(packets.long_head(0xC0, 0x1A2A3A4A, os.urandom(8), os.urandom(8)).ljust(1200, b"\0"))
    deadline = time.monotonic() + 0.5
    while (left := deadline - time.monotonic()) > 0 and select.select([attacker.sock], [], [], left)[0]:
        attacker.drain(attacker.sock)
    attacker.send(packets.long_head(0xC0, 0x1A2A3A4A, b"x" * 8, b"y" * 8).ljust(1199, b"\0"))  # too short for an answer


def spoofed(attacker, count):
    """Q-05: a handshake begins from each of so many addresses, and none goes on."""
    rng, opened = random.Random(1), collections.deque()

    def finish(entry):
        sock, sent = entry
        attacker.worst = max(attacker.worst, attacker.drain(sock) / sent)
        sock.close()

    for _ in range(count):
        sock = attacker.open(f"127.{rng.randrange(1, 250)}.{rng.randrange(250)}.{rng.randrange(1, 250)}")
        before = attacker.sent
        attacker.initial(sock=sock)
        opened.append((sock, attacker.sent - before))
        if len(opened) == AT_ONCE:
            finish(opened.popleft())
    while opened:
        finish(opened.popleft())


def noise(attacker, count):
    """Q-17: packets of connections that nobody knows."""
    rng = random.Random(2)
    for i in range(count):
        size = rng.choice((1200, 200, 43, 42, 41, 30, 21))
        attacker.send(bytes([0x40 | rng.randrange(64)]) + rng.randbytes(size - 1))
        if i % 100 == 0:
            attacker.drain(attacker.sock)


def garbage(attacker, count):
    """Bytes of all sorts."""
    rng = random.Random(3)
    for i in range(count):
        data = rng.randbytes(rng.choice((1, 2, 5, 20, 100, 1200, 1472)))
        if i % 2:
            data = packets.long_head(0xC0 | rng.randrange(64), 1, rng.randbytes(8), rng.randbytes(8)) + data
        attacker.send(data)


def crypto_gap(attacker, _):
    """Q-19; who does not begin with a ClientHello has to prove its address first."""
    gap = packets.crypto_frame(b"x" * 500, 1 << 20)
    attacker.initial(payload=gap)
    attacker.settle()
    if attacker.retry:
        attacker.initial(payload=gap, dcid=attacker.retry.source_cid, token=attacker.retry.token)
        attacker.settle()


ATTACKS = (short_initial, bogus_token, token_past_end, unknown_version, spoofed, noise, garbage, crypto_gap)

if __name__ == "__main__":
    run = {attack.__name__: attack for attack in ATTACKS}[sys.argv[3]]
    attacker = Attacker(int(sys.argv[1]), sys.argv[2])
    run(attacker, int(sys.argv[4]) if len(sys.argv) > 4 else 1)
    attacker.report()
