#!/usr/bin/env python3
"""The other end of a tunnel over TLS that a spec leads (talk.py): a fake edge or a fake hub, which may break the rules.

    tunnel_peer.py edge PORT [JSON OPTIONS]        begins with `connect`
    tunnel_peer.py hub CERT KEY [JSON OPTIONS]     listens on the option `port`, or a free one, and says which

Options: hold (grants nothing by itself), deaf (answers no PING), echo (hub: streams and sessions get back what they say),
answer (hub: its line; none: it says nothing).
Commands:
  connect  id, secret, or bytes: a greeting that is none; pause: seconds between its bytes
  frame    kind (a name or a number), stream, bytes, length (what the header says instead), count (ids count up)
  udp_open stream, from, from_port, to, to_port
  data     stream, bytes or size; greedy: whatever the window
  wrong    id, count, at_once: so many connections with secrets that are not right; tells how long the answers took
  raw      bytes
  cut      ends the connection without a word
Events: listening, connected, greeting, answer, frame, data (of the first 64 KiB of a stream), response (a stream's
end), sent, wrong, ended.
"""
import asyncio
import json
import secrets
import socket
import ssl
import struct
import sys
import time

import talk
import tunnel_frames as tf
from talk import tell

EDGE = {"data": "DATA", "close": "CLOSE", "credit": "WINDOW_UPDATE"}
HUB = {"data": "DATA_BACK", "close": "CLOSE_BACK", "credit": "WINDOW_UPDATE_BACK"}
BATCH = 1000  # frames to a write


def client_context():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Peer:
    """What both sides do once the lines are said."""

    def __init__(self, ours, theirs, options):
        self.ours, self.theirs, self.options = ours, theirs, options
        self.reader = self.writer = None
        self.forget()

    def forget(self):
        self.received, self.senders = {}, {}

    async def carry(self):
        """Takes frames until the connection ends."""
        try:
            while True:
                self.on_frame(*await tf.read_frame(self.reader))
                await self.writer.drain()
        except (asyncio.IncompleteReadError, OSError) as error:
            tell("ended", why=type(error).__name__)

    def on_frame(self, kind, stream, payload):
        if kind == self.theirs["data"]:
            self.on_data(stream, payload)
        elif kind == self.theirs["credit"]:
            self.sender(stream).grant(struct.unpack("!I", payload[:4])[0])
        elif kind == "PING" and not self.options.get("deaf"):
            self.send("PONG", stream, payload)
        elif kind == self.theirs["close"]:
            self.stream(stream).on_end()
        if kind not in (self.theirs["data"], self.theirs["credit"]):
            tell("frame", kind=kind, id=stream, bytes=payload.hex())

    def on_data(self, stream, payload):
        response = self.stream(stream)
        response.live = response.size + len(payload) <= talk.KEPT  # bulk is only counted
        response.on_data(payload)
        if not self.options.get("hold"):
            self.send(self.ours["credit"], stream, struct.pack("!I", len(payload)))

    def stream(self, stream):
        return self.received.setdefault(stream, talk.Response(stream))

    def sender(self, stream):
        return self.senders.setdefault(stream, tf.Sender())

    def send(self, kind, stream=0, payload=b"", length=None):
        self.writer.write(tf.frame(kind, stream, payload, length))

    # --- commands ---

    async def do_frame(self, kind, stream=0, bytes="", length=None, count=1):
        payload = talk.bytes_of(bytes)
        try:
            for first in range(stream, stream + count, BATCH):
                ids = range(first, min(first + BATCH, stream + count))
                self.writer.write(b"".join(tf.frame(kind, i, payload, length) for i in ids))
                await self.writer.drain()
        except OSError:
            pass  # the other side has had enough: `ended` says so
        if count > 1:
            tell("sent", id=stream)

    async def do_udp_open(self, stream, to_port, from_port=4000, to="127.0.0.1", **words):
        self.send("UDP_OPEN", stream, tf.proxy_v2(words.get("from", "192.0.2.7"), from_port, to, to_port))

    async def do_data(self, stream, bytes=None, size=None, greedy=False):
        loop, sender = asyncio.get_running_loop(), self.sender(stream)
        try:
            for block in talk.body_of(bytes, size):
                for i in range(0, len(block), tf.PIECE):
                    piece = block[i : i + tf.PIECE]
                    if not greedy:
                        await sender.spend(len(piece), loop)
                    self.send(self.ours["data"], stream, piece)
                    await self.writer.drain()
        except OSError:
            pass
        tell("sent", id=stream)

    async def do_raw(self, bytes):
        self.writer.write(talk.bytes_of(bytes))

    async def do_cut(self):
        self.writer.transport.abort()


class Edge(Peer):
    def __init__(self, port, options):
        super().__init__(EDGE, HUB, options)
        self.port = port

    async def dial(self):
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=client_context(), limit=1 << 21)

    async def do_connect(self, id=None, secret=None, bytes=None, pause=0):
        self.forget()
        self.reader, self.writer = await self.dial()
        tell("connected")
        greeting = talk.bytes_of(bytes) if bytes is not None else f"EDGE {id} {secret}\n".encode()
        answered = asyncio.ensure_future(self.reader.readline())
        for piece in [greeting[i : i + 1] for i in range(len(greeting))] if pause else [greeting]:
            if not answered.done():
                self.writer.write(piece)
                await asyncio.wait([answered], timeout=pause) if pause else None
        try:
            line = await answered
        except (OSError, ValueError) as error:
            return tell("ended", why=type(error).__name__)
        tell("answer", line=line.decode("latin-1").strip())
        await self.carry()

    async def do_wrong(self, id, count, at_once):
        """The answers, and the seconds from the greeting to the answer of each."""
        turns, answers, times = asyncio.Semaphore(at_once), set(), []

        async def one():
            async with turns:
                reader, writer = await self.dial()
                began = time.monotonic()
                writer.write(f"EDGE {id} {secrets.token_hex(8)}\n".encode())
                try:
                    answers.add((await reader.readline()).decode().strip())
                except OSError as error:
                    answers.add(type(error).__name__)
                times.append(time.monotonic() - began)
                writer.transport.abort()

        await asyncio.gather(*(one() for _ in range(count)))
        times.sort()
        tell("wrong", answers=sorted(answers), least=times[0], median=times[len(times) // 2], most=times[-1])


class Hub(Peer):
    def __init__(self, options):
        super().__init__(HUB, EDGE, options)

    async def listen(self, cert, key):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        self.server = await asyncio.start_server(
            self.on_edge, "127.0.0.1", self.options.get("port", 0), ssl=context, limit=1 << 21, family=socket.AF_INET
        )
        tell("listening", port=self.server.sockets[0].getsockname()[1])

    async def on_edge(self, reader, writer):
        """The newest edge is the one that commands are about."""
        self.forget()
        self.reader, self.writer = reader, writer
        try:
            line = await reader.readline()
        except OSError as error:
            return tell("ended", why=type(error).__name__)
        tell("greeting", line=line.decode("latin-1").strip())
        if "answer" in self.options:
            writer.write(self.options["answer"].encode() + b"\n")
        await self.carry()

    def on_frame(self, kind, stream, payload):
        super().on_frame(kind, stream, payload)
        if not self.options.get("echo"):
            return
        back = {"DATA": "DATA_BACK", "CLOSE": "CLOSE_BACK", "UDP_DATA": "UDP_DATA_BACK"}.get(kind)
        if back:
            self.send(back, stream, payload)


async def main(role, *words):
    if role == "edge":
        peer = Edge(int(words[0]), json.loads(words[1] if len(words) > 1 else "{}"))
    else:
        peer = Hub(json.loads(words[2] if len(words) > 2 else "{}"))
        await peer.listen(words[0], words[1])
    await talk.listen(peer)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
