#!/usr/bin/env python3
"""Starts and ends as go-core-server does, and serves "original" to everybody.

    original_core_server.py HTTP_PORT COMMAND_PORT MILLISECONDS

Binds the command port on all addresses; when it cannot, says `shutdown` to whoever has it, waits for 10 ms (the third
argument, for machines that are slower than those of people) and goes on: without commands when the port is still taken,
not at all when that of HTTP is. Says what it got: "commands", "no commands", "fatal". Told `shutdown`, it is gone at once.
"""
import http.server
import os
import socket
import sys
import threading
import time

HTTP_PORT, COMMAND_PORT, MILLISECONDS = (int(word) for word in sys.argv[1:])


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "8")
        self.end_headers()
        self.wfile.write(b"original")

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


def bind_commands():
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", COMMAND_PORT))
    return sock


def take_commands(sock):
    while True:
        if sock.recv(1024).split(b" ")[0] == b"shutdown":
            os._exit(0)


def take_over():
    try:
        return bind_commands()
    except OSError:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"shutdown", ("0.0.0.0", COMMAND_PORT))
        time.sleep(MILLISECONDS / 1000)
    try:
        return bind_commands()
    except OSError:
        return None


commands = take_over()
try:
    server = Server(("::", HTTP_PORT), Answer)
except OSError:
    print("fatal", flush=True)
    sys.exit(1)
print("commands" if commands else "no commands", flush=True)
if commands:
    threading.Thread(target=take_commands, args=(commands,), daemon=True).start()
server.serve_forever()
