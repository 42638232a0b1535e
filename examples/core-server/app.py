#!/usr/bin/env python3
"""A web server that registers its own name with core-server: app.py NAME. It takes any port that is free."""
import http.server
import os
import socket
import sys

NAME = sys.argv[1]
COMMANDS = ("127.0.0.1", int(os.environ.get("CORE_SERVER_COMMAND_PORT", 40608)))


class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{NAME}, asked over {self.headers['X-Forwarded-Proto']}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.sendto(f"add {NAME} {server.server_port}".encode(), COMMANDS)
server.serve_forever()
