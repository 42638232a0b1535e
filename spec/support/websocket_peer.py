#!/usr/bin/env python3
"""The other end of a WebSocket for specs, on the websockets library; and one that breaks the rules, on bare sockets.

    websocket_peer.py serve [CERT KEY]   prints the ports of an echo server and of a rule breaker, then serves
    websocket_peer.py client URL         talks to an echo server and exits 0 when it did everything right
    websocket_peer.py attack URL         breaks the rules in many ways; the server must close with the right codes
"""
import asyncio
import base64
import hashlib
import ssl
import struct
import sys
import urllib.parse

import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


# --- the library's server ---


async def handle(ws):
    path = ws.request.path
    if path == "/close":
        await ws.close(4001, "have a nice day")
    elif path == "/fragments":
        await ws.send(["one ", "two ", "three"])
        await ws.send([b"\x00", b"\xff"])
    elif path == "/ping":
        pong = await ws.ping("are you there")
        await asyncio.wait_for(pong, 10)
        await ws.send("answered")
    elif path == "/header":
        await ws.send(ws.request.headers.get("x-token", "none"))
    elif path == "/slow":
        await asyncio.sleep(0.5)  # whoever sends meanwhile has to wait
    async for message in ws:
        await ws.send(message)


def select_subprotocol(_, offered):
    return "v2" if "v2" in offered else None


async def serve_well(tls):
    server = await serve(
        handle, "127.0.0.1", 0, ssl=tls, select_subprotocol=select_subprotocol, max_size=None, max_queue=1,
        ping_interval=None,
    )
    return server.sockets[0].getsockname()[1]


# --- the rule breaker ---


def frame(first, payload, masked=False):
    head = bytes([first])
    bit = 0x80 if masked else 0
    if len(payload) < 126:
        head += bytes([bit | len(payload)])
    elif len(payload) < 65536:
        head += bytes([bit | 126]) + struct.pack(">H", len(payload))
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", len(payload))
    if not masked:
        return head + payload
    mask = b"\x12\x34\x56\x78"
    return head + mask + bytes(c ^ mask[i % 4] for i, c in enumerate(payload))


def answer(key, accept=None, more=""):
    proof = accept or base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {proof}\r\n{more}\r\n"
    ).encode()


def wrongs(key):
    """What is answered to each path; None: nothing at all."""
    good = answer(key)
    return {
        "/silent": None,
        "/accept": answer(key, accept="AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        "/extension": answer(key, more="Sec-WebSocket-Extensions: permessage-deflate\r\n"),
        "/protocol": answer(key, more="Sec-WebSocket-Protocol: never-heard\r\n"),
        "/not-found": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        "/nonsense": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "/with-head": good + frame(0x81, b"at once") + frame(0x82, b"and more"),
        "/masked": good + frame(0x81, b"x", masked=True),
        "/reserved": good + frame(0xC1, b"x"),
        "/bad-text": good + frame(0x81, b"\xff"),
        "/too-long": good + frame(0x82, b"x" * 2000),
        "/cut": good + frame(0x81, b"cut short")[:5],
        "/deaf": good,
    }


async def break_rules(reader, writer):
    head = await reader.readuntil(b"\r\n\r\n")
    path = head.split(b" ")[1].decode()
    key = head.lower().split(b"sec-websocket-key:")[1]
    at = len(head) - len(key)
    reply = wrongs(head[at:].split(b"\r\n")[0].strip())[path]
    if reply is not None:
        writer.write(reply)
        await writer.drain()
    if path not in ("/cut", "/not-found", "/nonsense"):
        await reader.read()  # until the client gives up
        while path != "/deaf" and await reader.read(65536):
            pass
    if path == "/deaf":
        await asyncio.sleep(60)
    writer.close()


async def serve_badly():
    server = await asyncio.start_server(break_rules, "127.0.0.1", 0)
    return server.sockets[0].getsockname()[1]


async def serve_all(cert=None, key=None):
    tls = None
    if cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(cert, key)
    secure = await serve_well(tls) if tls else 0
    print(await serve_well(None), await serve_badly(), secure, flush=True)
    await asyncio.Future()


# --- clients ---


async def check_echo(ws, message):
    await ws.send(message)
    got = await asyncio.wait_for(ws.recv(), 30)
    whole = message if isinstance(message, (str, bytes)) else type(message[0])().join(message)
    assert got == whole, f"sent {str(whole)[:60]!r}, got {str(got)[:60]!r}"


async def close_code(ws):
    try:
        while True:
            await asyncio.wait_for(ws.recv(), 30)
    except websockets.ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 1006


async def behave(url):
    async with connect(url, max_size=None, compression=None, subprotocols=["x", "echo"]) as ws:
        assert ws.subprotocol == "echo", ws.subprotocol
        for message in ("", "hello", "grüß dich 🦆", b"", b"\x00\xff", "x" * 65535, b"y" * 65536, "z" * 5_000_000):
            await check_echo(ws, message)
        await check_echo(ws, ["one ", "two ", "three"])
        await asyncio.wait_for(await ws.ping("?"), 30)
        await asyncio.gather(*(ws.send(str(i)) for i in range(1000)))
        assert [await ws.recv() for _ in range(1000)] == [str(i) for i in range(1000)]
        await ws.close(4002, "enough")
    async with connect(url) as ws:  # offers compression, which is declined
        assert not ws.protocol.extensions
        await ws.send("return")
        assert await close_code(ws) == 1000
    async with connect(url) as ws:
        await ws.send("throw")
        assert await close_code(ws) == 1011


ATTACKS = [
    ("unmasked", frame(0x81, b"x"), 1002),
    ("rsv1", frame(0xC1, b"x", True), 1002),
    ("rsv2", frame(0xA1, b"x", True), 1002),
    ("rsv3", frame(0x91, b"x", True), 1002),
    ("opcode 3", frame(0x83, b"x", True), 1002),
    ("opcode 11", frame(0x8B, b"", True), 1002),
    ("ping of 126", frame(0x89, b"x" * 126, True), 1002),
    ("fragmented ping", frame(0x09, b"x", True), 1002),
    ("continuation of nothing", frame(0x80, b"x", True), 1002),
    ("message in a message", frame(0x01, b"x", True) + frame(0x81, b"x", True), 1002),
    ("close 1005", frame(0x88, struct.pack(">H", 1005), True), 1002),
    ("close 1006", frame(0x88, struct.pack(">H", 1006), True), 1002),
    ("close of one byte", frame(0x88, b"x", True), 1002),
    ("close with bad text", frame(0x88, b"\x03\xe8\xff", True), 1007),
    ("bad text", frame(0x81, b"\xc0\xaf", True), 1007),
    ("bad text in fragments", frame(0x01, b"\xe2", True) + frame(0x80, b"\x28", True), 1007),
    ("gigabyte announced", b"\x82\xff" + struct.pack(">Q", 1 << 30) + b"\x01\x02\x03\x04" + b"x" * 4096, 1009),
]


async def open_raw(url):
    at = urllib.parse.urlsplit(url)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    writer.write(
        f"GET / HTTP/1.1\r\nHost: {at.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head, head
    return reader, writer


async def code_of(reader):
    rest = await asyncio.wait_for(reader.read(), 30)
    assert rest[:1] == b"\x88", rest[:40]
    return struct.unpack(">H", rest[2:4])[0]


async def send_gigabyte(url):
    """In fragments; the limit of the server is 32 MiB. Pings see to it that less is on its way than the server swallows
    after it has closed: beyond that it resets the connection, and nobody learns the code."""
    reader, writer = await open_raw(url)
    fragment, n = frame(0x00, b"x" * 60000, True), 0
    head = b"\x8a\x00"
    writer.write(frame(0x02, b"x", True))
    while n < 1 << 30 and head == b"\x8a\x00":
        writer.write(fragment * 16 + frame(0x89, b"", True))
        n += len(fragment) * 16
        head = await asyncio.wait_for(reader.readexactly(2), 30)
    assert head[0] == 0x88, head
    assert struct.unpack(">H", await reader.readexactly(2))[0] == 1009
    assert 32 << 20 < n < 64 << 20, n


async def attack(url):
    for name, data, code in ATTACKS:
        reader, writer = await open_raw(url)
        writer.write(data)
        got = await code_of(reader)
        assert got == code, f"{name}: {got} instead of {code}"
        writer.close()
    await send_gigabyte(url)


COMMANDS = {"serve": serve_all, "client": behave, "attack": attack}
asyncio.run(COMMANDS[sys.argv[1]](*sys.argv[2:]))
