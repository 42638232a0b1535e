#!/usr/bin/env python3
"""A slow line from a hub to its edges over TLS, for specs about what goes first when not everything can.

    tunnel_link.py HUB_PORT BYTES_PER_SECOND

Prints its port, then carries connections to the hub until it is ended. What comes from the hub passes at this rate; next to
nothing is kept here, so that the hub decides what waits.
"""
import asyncio
import socket
import sys

PIECE = 16384


async def carry(reader, writer, rate=None):
    now = asyncio.get_running_loop().time
    due = now()
    try:
        while data := await reader.read(PIECE):
            writer.write(data)
            await writer.drain()
            if rate:
                # What was lost while the machine was busy is not made up for, but for an instant.
                due = max(due, now() - 0.05) + len(data) / rate
                await asyncio.sleep(max(0, due - now()))
    except OSError:
        pass  # the other direction ends, too
    writer.close()


async def connect(port):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 * PIECE)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return await asyncio.open_connection(sock=sock, limit=PIECE)


async def main(hub_port, rate):
    async def serve(reader, writer):
        from_hub, to_hub = await connect(int(hub_port))
        await asyncio.gather(carry(reader, to_hub), carry(from_hub, writer, float(rate)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
