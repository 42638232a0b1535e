"""Clients that ask all the time and check every answer, while the servers behind a port change.

    steady_load.py PORT KEPT FRESH

KEPT clients use their connection for as long as the server lets them, FRESH ones have a new one for
each request. A connection is used once more unless the last answer said "Connection: close" or the
server has closed it by then; nothing is tried twice. Each failure is one: a refused or reset
connection, an answer that is cut or wrong. A line on the standard input ends it, and a line of JSON
says what there was: how many answers of whom, and the failures.
"""

import asyncio
import collections
import json
import random
import sys

PORT, KEPT, FRESH = (int(word) for word in sys.argv[1:])

names = {"kept": collections.Counter(), "fresh": collections.Counter()}
failures = []
asked = 0
over = asyncio.Event()


async def read_answer(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    status, *lines = head.decode().rstrip().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines)
    body = await reader.readexactly(int(fields["content-length"]))
    return status, body.decode(), fields.get("connection") == "close"


async def ask(reader, writer, kind):
    """True when the connection may be used again."""
    global asked
    asked += 1
    path = f"/slow/{asked}" if asked % 50 == 0 else f"/{asked}"
    last = "Connection: close\r\n" if kind == "fresh" else ""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: app\r\n{last}\r\n".encode())
    status, body, closes = await read_answer(reader)
    name, _, said = body.partition(" ")
    if status != "HTTP/1.1 200 OK" or said != path:
        raise ValueError(f"{path} was answered with {status} {body}")
    names[kind][name] += 1
    return not closes and kind == "kept"


async def one_connection(kind):
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    try:
        n = 0
        while not over.is_set() and not reader.at_eof() and await ask(reader, writer, kind):
            n += 1
            await asyncio.sleep(random.random() * 0.02)
    finally:
        writer.close()


async def client(kind):
    while not over.is_set():
        try:
            await one_connection(kind)
        except Exception as why:
            failures.append(f"{kind}: {type(why).__name__}: {why}")
            await asyncio.sleep(0.1)
        await asyncio.sleep(random.random() * 0.005)


async def main():
    asyncio.get_running_loop().add_reader(sys.stdin, over.set)
    kinds = ["kept"] * KEPT + ["fresh"] * FRESH
    print("asking", flush=True)
    await asyncio.gather(*(client(kind) for kind in kinds))
    print(json.dumps({**names, "n": asked, "n_failures": len(failures), "failures": failures[:20]}))


asyncio.run(main())
