#!/usr/bin/env python3
"""Visitors of the tunneling proxy who go when they like, for specs: in the middle of an answer, of an upload, of the opening
of a WebSocket, with a FIN or with a reset.

    brickchain_visitors.py PORT HOST COUNT

The local server is origin.py. Prints "done" when all have gone.
"""
import random
import socket
import struct
import sys
import threading

PORT, HOST, COUNT = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
THREADS = 12
UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


def head(line, fields=""):
    return f"{line} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n".encode()


def read_some(sock, n):
    sock.recv(n)


def read_all(sock):
    while sock.recv(65536):
        pass


def download(sock, dice):
    sock.sendall(head("GET /bytes/3000000"))
    read_some(sock, dice.choice([1, 1000, 100000]))


def download_all(sock, _):
    sock.sendall(head("GET /bytes/200000?chunked", "Connection: close\r\n"))
    read_all(sock)


def upload(sock, dice):
    sock.sendall(head("POST /upload", "Content-Length: 1000000\r\n") + b"x" * dice.choice([0, 10, 70000, 500000]))


def wait(sock, _):
    sock.sendall(head("GET /slow?0.05"))


def websocket(sock, _):
    sock.sendall(head("GET /chat", UPGRADE))


def be_one(dice):
    with socket.create_connection(("127.0.0.1", PORT)) as sock:
        sock.settimeout(30)
        dice.choice([download, download_all, upload, upload, upload, wait, websocket])(sock, dice)
        if dice.random() < 0.5:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def be_many(seed):
    dice = random.Random(seed)
    for _ in range(COUNT // THREADS):
        try:
            be_one(dice)
        except ConnectionError:
            pass  # the server may be the first to go


threads = [threading.Thread(target=be_many, args=(seed,)) for seed in range(THREADS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("done", flush=True)
