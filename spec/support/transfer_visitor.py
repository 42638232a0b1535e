#!/usr/bin/env python3
"""Sends or fetches a long body and compares hashes: transfer_visitor.py down|up PORT HOST MIB (spec/support/transfer_origin.py)"""
import hashlib
import socket
import sys

from transfer_origin import BLOCK

way, port, host, blocks = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
expected = hashlib.sha256()
for _ in range(blocks):
    expected.update(BLOCK)

with socket.create_connection(("127.0.0.1", port)) as sock:
    if way == "down":
        sock.sendall(f"GET /{blocks} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    else:
        length = blocks * len(BLOCK)
        sock.sendall(f"PUT / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n".encode())
        for _ in range(blocks):
            sock.sendall(BLOCK)
    stream = sock.makefile("rb")
    status = stream.readline()
    if b" 200 " not in status:
        sys.exit(status.decode())
    while stream.readline() != b"\r\n":
        pass
    if way == "down":
        digest = hashlib.sha256()
        while piece := stream.read(1 << 20):
            digest.update(piece)
        got = digest.hexdigest()
    else:
        got = stream.read().decode()

print("the hashes are equal" if got == expected.hexdigest() else f"got {got}, not {expected.hexdigest()}")
