#!/usr/bin/env python3
"""A WebSocket that is led line by line, for specs of the tunneling proxy: clients that behave and clients that do not, and
visitors. Knows nothing of sluice; keys and signatures are made by the openssl program.

Reads a JSON object per line: {"do": "connect", "url": …, "headers": {…}, "protocols": […]}, {"do": "text", "text": …},
{"do": "binary", "hex": …}, {"do": "close", "code": …, "reason": …}, {"do": "abort"}, {"do": "token", "key": PEM path,
"payload": {…} or text, "alg": …, "header": {…}, "form": "compact"|"flattened"|"general", …}.
Writes a JSON object per line: {"got": "open", "protocol": …, "headers": {…}}, {"got": "refused", "status": …, "body": …},
{"got": "text", "text": …}, {"got": "binary", "hex": …}, {"got": "close", "code": …, "reason": …}, {"got": "token", …}.
"""
import asyncio
import base64
import json
import subprocess
import sys

import websockets
from websockets.asyncio.client import connect


def say(**fields):
    print(json.dumps(fields), flush=True)


# --- tokens ---


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*words, data=None):
    return subprocess.run(["openssl", *words], input=data, capture_output=True, check=True).stdout


CURVES = {65: ("P-256", 32, "ES256"), 97: ("P-384", 48, "ES384"), 133: ("P-521", 66, "ES512")}


def public_point(key):
    """The uncompressed point at the end of a SubjectPublicKeyInfo; its length says which curve it is."""
    der = openssl("pkey", "-in", key, "-pubout", "-outform", "DER")
    for length, curve in CURVES.items():
        at = len(der) - length
        if at > 0 and der[at] == 4 and der[at - 1] == 0 and der[at - 2] == length + 1:
            return der[at + 1 :], curve
    return None, None


def jwk_of(key):
    point, curve = public_point(key)
    if curve:
        name, size, alg = curve
        return {"kty": "EC", "crv": name, "x": b64(point[:size]), "y": b64(point[size:])}, alg
    text = openssl("rsa", "-in", key, "-noout", "-modulus").decode()
    n = bytes.fromhex(text.strip().split("=")[1])
    return {"kty": "RSA", "n": b64(n), "e": "AQAB"}, "RS256"


def der_integer(der, at):
    size = der[at + 1]
    return int.from_bytes(der[at + 2 : at + 2 + size], "big"), at + 2 + size


def raw_signature(der, size):
    r, after = der_integer(der, 3 if der[1] & 0x80 else 2)
    s, _ = der_integer(der, after)
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def sign(key, alg, data):
    words = ["dgst", "-sha" + alg[2:], "-sign", key]
    if alg.startswith("PS"):
        words += ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"]
    signature = openssl(*words, data=data)
    return raw_signature(signature, {"ES256": 32, "ES384": 48, "ES512": 66}[alg]) if alg.startswith("ES") else signature


def token(command):
    jwk, alg = jwk_of(command["key"])
    alg = command.get("alg", alg)
    jwk = {**jwk, **command.get("jwk", {})}
    header = {"alg": alg, "jwk": jwk, **command.get("header", {})}
    header = {name: value for name, value in header.items() if value is not None}
    unprotected = None
    if command.get("unprotected"):
        unprotected = {"jwk": header.pop("jwk")}
    payload = command["payload"]
    payload = payload if isinstance(payload, str) else json.dumps(payload)
    head, body = b64(json.dumps(header).encode()), b64(payload.encode())
    real = command.get("sign_alg", alg)
    signature = b64(sign(command["key"], real, f"{head}.{body}".encode()))
    if command.get("padded"):
        head, body, signature = (part + "=" * (-len(part) % 4) for part in (head, body, signature))
    form = command.get("form", "compact")
    if form == "compact":
        return f"{head}.{body}.{signature}"
    one = {"protected": head, "signature": signature}
    if unprotected:
        one["header"] = unprotected
    if form == "flattened":
        return json.dumps({"payload": body, **one})
    return json.dumps({"payload": body, "signatures": [one] * command.get("signatures", 1)})


# --- the WebSocket ---


async def listen(ws):
    try:
        async for message in ws:
            if isinstance(message, str):
                say(got="text", text=message)
            else:
                say(got="binary", hex=message.hex())
    except websockets.ConnectionClosed:
        pass
    say(got="close", code=ws.close_code, reason=ws.close_reason)


async def open_socket(command):
    options = {"additional_headers": command.get("headers"), "subprotocols": command.get("protocols"), "max_size": None}
    if command.get("address"):
        options["host"], options["port"] = command["address"]
    if command.get("origin"):
        options["origin"] = command["origin"]
    try:
        ws = await connect(command["url"], ping_interval=None, compression=None, proxy=None, **options)
    except websockets.InvalidStatus as refused:
        say(got="refused", status=refused.response.status_code, body=(refused.response.body or b"").decode())
        return None
    except (websockets.InvalidHandshake, OSError) as refused:
        say(got="refused", status=0, body=str(refused))
        return None
    say(got="open", protocol=ws.subprotocol, headers=dict(ws.response.headers.raw_items()))
    return ws


async def main():
    reader = asyncio.StreamReader(limit=64 * 1024 * 1024)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    ws, tasks = None, set()
    while line := await reader.readline():
        command = json.loads(line)
        what = command["do"]
        if what == "connect":
            ws = await open_socket(command)
            if ws:
                tasks.add(asyncio.create_task(listen(ws)))
        elif what == "token":
            say(got="token", token=token(command), jwk=jwk_of(command["key"])[0])
        elif what == "text":
            await ws.send(command["text"])
        elif what == "binary":
            await ws.send(bytes.fromhex(command["hex"]))
        elif what == "close":
            await ws.close(command.get("code", 1000), command.get("reason", ""))
        elif what == "abort":
            ws.transport.abort()


asyncio.run(main())
