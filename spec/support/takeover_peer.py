"""Newcomers to a takeover that do not do what they should, at the Unix socket of an offer.

    takeover_peer.py PATH garbage N    N connections that say something else; the answers, one a line
    takeover_peer.py PATH silent       connects and says nothing; "connected", then waits for a line
"""

import socket
import sys

PATH, WHAT = sys.argv[1:3]


def connect():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.settimeout(20)
    s.connect(PATH)
    return s


def answer(s):
    """What it says before it closes."""
    while True:
        try:
            return s.recv(1000)[1:].decode()
        except ConnectionResetError:  # told once; its last words come behind that
            pass


def garbage(n):
    for i in range(n):
        s = connect()
        s.sendmsg([bytes([i % 256]) * (i * 7 + 1)])
        print(answer(s))
        s.close()


if WHAT == "garbage":
    garbage(int(sys.argv[3]))
else:
    held = connect()
    print("connected", flush=True)
    sys.stdin.readline()
