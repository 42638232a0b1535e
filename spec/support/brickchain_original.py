#!/usr/bin/env python3
"""A server of the tunneling proxy as the original is, for specs of clients: led line by line, with the frames that were
recorded of the original, byte for byte. Knows nothing of sluice; signatures are checked by the openssl program.

    brickchain_original.py [PING_SECONDS] [REFUSAL]

With REFUSAL that text is the answer to every registration.
Reads a JSON object per line: {"do": "text", "text": …}, {"do": "close"}, {"do": "abort"}; they concern the newest client.
Writes a JSON object per line: {"got": "port", "port": …}, {"got": "open", "path": …}, {"got": "registered", "keyID": …,
"payload": {…}, "header": {…}}, {"got": "text", …}, {"got": "binary"}, {"got": "close", "code": …}.
"""
import asyncio
import base64
import datetime
import hashlib
import json
import subprocess
import sys
import tempfile

import websockets
from websockets.asyncio.server import serve

BASE = "https://proxy.brickchain.com/v1/"
PING = '{"@type":"' + BASE + 'ping.json"}\n'
P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
PING_SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 10
REFUSAL = sys.argv[2] if len(sys.argv) > 2 else None
newest = None


def say(**fields):
    print(json.dumps(fields), flush=True)


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def der(tag, content):
    return bytes([tag, len(content)]) + content


def der_signature(raw):
    integers = (int.from_bytes(raw[at : at + 32], "big") for at in (0, 32))
    return der(0x30, b"".join(der(2, n.to_bytes(n.bit_length() // 8 + 1, "big")) for n in integers))


def verify(token):
    """Header and payload of a compact JWS; its signature must be right."""
    head, body, signature = token.split(".")
    header = json.loads(unb64(head))
    jwk = header["jwk"]
    public = P256 + b"\x04" + unb64(jwk["x"]).rjust(32, b"\0") + unb64(jwk["y"]).rjust(32, b"\0")
    with tempfile.NamedTemporaryFile() as key, tempfile.NamedTemporaryFile() as sig:
        key.write(public)
        sig.write(der_signature(unb64(signature)))
        key.flush()
        sig.flush()
        words = ["openssl", "dgst", "-sha256", "-verify", key.name, "-keyform", "DER", "-signature", sig.name]
        subprocess.run(words, input=f"{head}.{body}".encode(), check=True, capture_output=True)
    return header, json.loads(unb64(body))


def base32(data):
    return base64.b32encode(data).decode().rstrip("=").lower()


def key_id_of(jwk, session):
    text = '{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}' % (jwk["x"], jwk["y"])
    key_id = base32(hashlib.sha256(text.encode()).digest())
    return base32(hashlib.sha256((key_id + session).encode()).digest()) if session else key_id


def timestamp():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f") + "492Z"


def answer(document):
    """The answer to a registration, its fields in the original's order."""
    if REFUSAL:
        return REFUSAL
    header, payload = verify(document["mandateToken"])
    key_id = key_id_of(header["jwk"], document.get("session"))
    say(got="registered", keyID=key_id, header=header, payload=payload, document=document)
    return '{"@type":"%sregistration-response.json","@timestamp":"%s","@id":"%s","keyID":"%s","hostname":"%s"}' % (
        BASE, timestamp(), document["@id"], key_id, key_id + ".tunnel.test",
    )


async def ping(ws):
    while True:
        await asyncio.sleep(PING_SECONDS)
        await ws.send(PING)


async def attend(ws):
    global newest
    newest = ws
    say(got="open", path=ws.request.path)
    pinging = asyncio.create_task(ping(ws))
    try:
        async for message in ws:
            if isinstance(message, bytes):
                say(got="binary")
                continue
            document = json.loads(message)
            if document["@type"] == BASE + "registration-request.json":
                await ws.send(answer(document))
            else:
                say(got="text", text=message)
                if document["@type"] == BASE + "disconnect.json":
                    await ws.close()
    except websockets.ConnectionClosed:
        pass
    pinging.cancel()
    say(got="close", code=ws.close_code)


async def main():
    reader = asyncio.StreamReader(limit=64 * 1024 * 1024)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    server = await serve(attend, "127.0.0.1", 0, compression=None, max_size=None, ping_interval=None)
    say(got="port", port=server.sockets[0].getsockname()[1])
    while line := await reader.readline():
        command = json.loads(line)
        if command["do"] == "text":
            await newest.send(command["text"])
        elif command["do"] == "close":
            await newest.close(1001, "going")
        elif command["do"] == "abort":
            newest.transport.abort()


asyncio.run(main())
