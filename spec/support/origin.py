#!/usr/bin/env python3
"""An origin for specs that is not sluice: says in JSON what it was asked.

    origin.py NAME [CERTIFICATE KEY]

Prints its port, then serves until it is ended; over TLS with a certificate. NAME is in each answer.
/slow waits for the seconds in the query; /status/503 answers so.
"""
import http.server
import json
import ssl
import sys
import time

NAME = sys.argv[1]


class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length).decode("latin-1") if length else ""
        path, _, query = self.path.partition("?")
        if path == "/slow":
            time.sleep(float(query))
        status = int(path.split("/")[2]) if path.startswith("/status/") else 200
        headers = {}
        for name, value in self.headers.items():
            headers.setdefault(name.lower(), []).append(value)
        said = {"origin": NAME, "method": self.command, "path": self.path, "headers": headers, "body": body}
        reply = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(reply)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = answer

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


server = Server(("127.0.0.1", 0), Echo)
if len(sys.argv) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2], sys.argv[3])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
