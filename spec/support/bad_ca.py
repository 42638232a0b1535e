"""A CA that is not well: python3 bad_ca.py; prints its port.

The path says how: /ok (a directory and nothing behind it), /429, /500, /garbage, /truncated, /silent, /slow-headers.
GET /count tells how many requests came.
"""

import http.server
import json
import threading
import time

count = 0


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body, kind="application/json", **headers):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("replay-nonce", "abc")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def serve(self):
        global count
        if self.path == "/count":
            return self.answer(200, str(count).encode())
        count += 1
        self.rfile.read(int(self.headers.get("content-length", 0)))
        how = self.path.split("/")[1]
        if how == "429":
            problem = {"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many\nof you"}
            return self.answer(429, json.dumps(problem).encode(), "application/problem+json", retry_after="3600")
        if how == "500":
            return self.answer(500, b"oops", "text/plain")
        if how == "garbage":
            return self.answer(200, b"\x00\xff{[" * 1000)
        if how == "truncated":
            self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{")
            self.close_connection = True
            return None
        if how == "silent":
            time.sleep(3600)
        return self.answer(404, b"")

    do_GET = do_POST = do_HEAD = serve

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print(server.server_address[1], flush=True)
threading.Thread(target=server.serve_forever).start()
