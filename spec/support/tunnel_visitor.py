#!/usr/bin/env python3
"""Visitors of a public port, led by a spec (talk.py), who may live in another network namespace than it.

Commands:
  open  id, port, address, from, bytes: connects, and sends the bytes
  send  id, bytes or size, end
  udp   id, port, address, from, bytes: a datagram, from the same source each time
  flood id, port, seconds: sends to an ECHO for so long, all that it can, while it hears what comes back
  sizes how much has come on each connection that was opened
Events: opened, data (of the first 64 KiB), response (all that came, at its end), lost, datagram; flooded (size, whether what
came back is what was sent, and the longest pause in seconds), sizes.
"""
import asyncio
import hashlib
import socket

import pattern
import talk
from talk import tell


class Visitors:
    def __init__(self):
        self.writers, self.datagrams, self.responses = {}, {}, {}

    async def do_open(self, id, port, address="127.0.0.1", bytes=None, **words):
        local = (words["from"], 0) if "from" in words else None
        reader, self.writers[id] = await asyncio.open_connection(address, port, local_addr=local)
        tell("opened", id=id)
        if bytes:
            await self.do_send(id, bytes)
        response = self.responses[id] = talk.Response(id)
        try:
            while data := await reader.read(65536):
                response.live = response.size + len(data) <= talk.KEPT
                response.on_data(data)
            response.on_end()
        except OSError as error:
            tell("lost", id=id, why=type(error).__name__, size=response.size)

    async def do_send(self, id, bytes=None, size=None, end=False):
        writer = self.writers[id]
        try:
            for piece in talk.body_of(bytes, size):
                writer.write(piece)
                await writer.drain()
            if end:
                writer.write_eof()
        except OSError:
            pass  # the reader has noticed, too

    async def do_udp(self, id, port, bytes, address="127.0.0.1", **words):
        if id not in self.datagrams:
            self.datagrams[id], _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: Source(id), local_addr=(words.get("from", "0.0.0.0"), 0), family=socket.AF_INET
            )
        self.datagrams[id].sendto(talk.bytes_of(bytes), (address, port))

    async def do_sizes(self):
        tell("sizes", sizes={id: response.size for id, response in self.responses.items()})

    async def do_flood(self, id, port, seconds, address="127.0.0.1"):
        reader, writer = await asyncio.open_connection(address, port)
        writer.write(b"ECHO\n")
        await reader.readline()
        sending = asyncio.ensure_future(send_for(writer, seconds))
        now = asyncio.get_running_loop().time
        heard, size, pause, last = hashlib.sha256(), 0, 0, now()
        while data := await reader.read(65536):
            heard.update(data)
            size, pause, last = size + len(data), max(pause, now() - last), now()
        is_same = await sending == heard.hexdigest()
        writer.close()
        tell("flooded", id=id, size=size, is_same=is_same, pause=max(pause, now() - last))


async def send_for(writer, seconds):
    """Sends the pattern for so long, then says that this was all; the hash of what was sent."""
    now, hasher = asyncio.get_running_loop().time, hashlib.sha256()
    until = now() + seconds
    for block in pattern.blocks(1 << 40):
        if now() >= until:
            break
        hasher.update(block)
        writer.write(block)
        await writer.drain()
    writer.write_eof()
    return hasher.hexdigest()


class Source(asyncio.DatagramProtocol):
    def __init__(self, id):
        self.id = id

    def datagram_received(self, data, _):
        tell("datagram", id=self.id, bytes=data.hex())


if __name__ == "__main__":
    asyncio.run(talk.listen(Visitors()))
