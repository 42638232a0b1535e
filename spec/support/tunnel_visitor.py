#!/usr/bin/env python3
"""Visitors of a public port, led by a spec (talk.py), who may live in another network namespace than it.

Commands:
  open  id, port, address, from, bytes: connects, and sends the bytes
  send  id, bytes or size, end
  udp   id, port, address, from, bytes: a datagram, from the same source each time
Events: opened, data (of the first 64 KiB), response (all that came, at its end), lost, datagram.
"""
import asyncio
import socket

import talk
from talk import tell


class Visitors:
    def __init__(self):
        self.writers, self.datagrams = {}, {}

    async def do_open(self, id, port, address="127.0.0.1", bytes=None, **words):
        local = (words["from"], 0) if "from" in words else None
        reader, self.writers[id] = await asyncio.open_connection(address, port, local_addr=local)
        tell("opened", id=id)
        if bytes:
            await self.do_send(id, bytes)
        response = talk.Response(id)
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


class Source(asyncio.DatagramProtocol):
    def __init__(self, id):
        self.id = id

    def datagram_received(self, data, _):
        tell("datagram", id=self.id, bytes=data.hex())


if __name__ == "__main__":
    asyncio.run(talk.listen(Visitors()))
