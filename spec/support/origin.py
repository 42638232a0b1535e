#!/usr/bin/env python3
"""An origin for specs that is not sluice: says in JSON what it was asked.

    origin.py NAME [CERTIFICATE KEY]

Prints its port, then serves until it is ended; over TLS with a certificate. NAME is in each answer.
/slow waits for the seconds in the query; /status/503 answers so; /bytes/N sends N bytes of the pattern, in chunks with
?chunked; /sha256/N says their hash; /trailers answers with some; /upload says the hash of the body instead of the body.
"""
import hashlib
import http.server
import json
import ssl
import sys
import time

import pattern

NAME = sys.argv[1]


class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def chunks(self):
        while size := int(self.rfile.readline().split(b";")[0], 16):
            while size > 0:
                piece = self.rfile.read(min(size, 65536))
                size -= len(piece)
                yield piece
            self.rfile.readline()
        self.trailers = []
        while (line := self.rfile.readline().strip()):
            self.trailers.append([part.strip() for part in line.decode("latin-1").split(":", 1)])

    def pieces(self):
        """The body of the request, whatever its framing."""
        if self.headers.get("transfer-encoding") == "chunked":
            yield from self.chunks()
            return
        left = int(self.headers.get("content-length") or 0)
        while left > 0:
            piece = self.rfile.read(min(left, 65536))
            if not piece:
                raise ConnectionError("the request was cut short")
            left -= len(piece)
            yield piece

    def take_body(self, path):
        if path != "/upload":
            return {"body": b"".join(self.pieces()).decode("latin-1")}
        hasher, size = hashlib.sha256(), 0
        for piece in self.pieces():
            hasher.update(piece)
            size += len(piece)
        return {"size": size, "sha256": hasher.hexdigest()}

    def send_pieces(self, pieces, length=None, trailers=b""):
        self.send_response(200)
        if length is None:
            self.send_header("transfer-encoding", "chunked")
        else:
            self.send_header("content-length", str(length))
        self.end_headers()
        for piece in pieces if self.command != "HEAD" else ():
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if length is None else piece)
        if length is None and self.command != "HEAD":
            self.wfile.write(b"0\r\n" + trailers + b"\r\n")

    def send_special(self, path, query):
        """Answers a path of its own kind; false for the rest."""
        words = path.split("/")
        if words[1] == "bytes":
            n = int(words[2])
            self.send_pieces(pattern.blocks(n), None if query == "chunked" else n)
        elif words[1] == "sha256":
            digest = pattern.sha256(int(words[2])).encode()
            self.send_pieces([digest], len(digest))
        elif words[1] == "trailers":
            self.send_pieces([b"hello"], trailers=b"X-Checksum: 1\r\n")
        elif path in ("/status/204", "/status/304"):
            self.send_response(int(words[2]))
            self.end_headers()
        else:
            return False
        return True

    def answer(self):
        path, _, query = self.path.partition("?")
        self.trailers = None
        said = self.take_body(path)
        if path == "/slow":
            time.sleep(float(query))
        if self.send_special(path, query):
            return
        status = int(path.split("/")[2]) if path.startswith("/status/") else 200
        headers = {}
        for name, value in self.headers.items():
            headers.setdefault(name.lower(), []).append(value)
        said |= {"origin": NAME, "method": self.command, "path": self.path, "headers": headers, "trailers": self.trailers}
        reply = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(reply)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = answer

    def handle(self):
        try:
            super().handle()
        except ConnectionError:
            pass  # a client that has gone is the business of specs, not of this

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Echo)
    if len(sys.argv) > 2:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[2], sys.argv[3])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    print(server.server_address[1], flush=True)
    server.serve_forever()
