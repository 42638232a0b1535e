"""How a spec leads a client that is written in Python: one JSON object a line, commands on stdin, events on stdout.

A command is {"do": NAME, …}, which calls the method do_NAME of the client with the rest; an event is {"event": NAME, …}.
Bytes travel as hexadecimal digits.
"""
import asyncio
import hashlib
import json
import os
import sys

import pattern

KEPT = 65536  # of a body, to be shown in the event


def tell(event, **fields):
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


async def listen(client):
    """Does what stdin says until it ends; a command that waits does not hold up the next one."""
    reader = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tasks = set()
    while line := await reader.readline():
        command = json.loads(line)
        task = asyncio.ensure_future(getattr(client, "do_" + command.pop("do"))(**command))
        tasks.add(task)
        task.add_done_callback(check)


def check(task):
    """A client that fails must not leave its spec waiting for it."""
    if not task.cancelled() and task.exception():
        tell("failed", error=repr(task.exception()))
        sys.stderr.write(f"{task.exception()!r}\n")
        os._exit(1)


class Response:
    """What has come on one stream; says so when it is whole. With `live` each piece is told as it comes."""

    def __init__(self, tag, live=False):
        self.tag, self.live = tag, live
        self.status, self.headers, self.trailers = None, [], []
        self.hasher, self.size, self.kept = hashlib.sha256(), 0, bytearray()

    def on_headers(self, fields):
        if self.status is not None:
            self.trailers = fields
            return
        status = int(dict(fields)[":status"])
        headers = [field for field in fields if field[0] != ":status"]
        if status < 200:
            tell("interim", id=self.tag, status=status, headers=headers)
            return
        self.status, self.headers = status, headers
        tell("head", id=self.tag, status=status, headers=headers)

    def on_data(self, data):
        self.hasher.update(data)
        self.size += len(data)
        if len(self.kept) < KEPT:
            self.kept += data[:KEPT]
        if self.live and data:
            tell("data", id=self.tag, bytes=data.hex())

    def on_end(self):
        tell(
            "response",
            id=self.tag,
            status=self.status,
            headers=self.headers,
            trailers=self.trailers,
            size=self.size,
            sha256=self.hasher.hexdigest(),
            body=self.kept.hex() if self.size <= KEPT else None,
        )


def body_of(bytes=None, size=None):
    """The pieces of what a command says is to be sent: the given bytes, or so many of the pattern."""
    if bytes is not None:
        return [bytes_of(bytes)]
    return pattern.blocks(size or 0)


def bytes_of(text):
    return bytes.fromhex(text)
