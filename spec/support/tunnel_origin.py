#!/usr/bin/env python3
"""What stands behind a hub in specs: an origin that says who it thinks the visitor is.

    tunnel_origin.py NAME [ADDRESS PORT]

Prints its port, then serves until it is ended. On TCP a PROXY v1 line may come first, and then
  HTTP, as origin.py has it; `proxy` in an answer is that line. /websocket echoes messages, /counts says how many
  connections there have been and are, how many sources of datagrams, and how many bytes BYE has heard last.
  ECHO and a line end: says the PROXY line, then all that it hears, until the visitor has said all.
  GIVE N: sends N bytes of the pattern, which is all.
  BYE: says a word and that this was all, and hears the visitor out.
  QUIT: resets the connection after one byte more; GONE: the same without waiting for it.
On UDP, on the same port, datagrams are echoed behind the visitor's address: the first one of each source may be a PROXY v2
header, which is kept and not answered.
"""
import base64
import hashlib
import ipaddress
import json
import socket
import struct
import sys
import threading

import origin
import pattern

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
counts = {"connections": 0, "open": 0, "heard": None}
sources = {}


class Origin(origin.Echo):
    proxy = None

    def take_proxy_line(self):
        if self.rfile.peek(6)[:6] == b"PROXY ":
            self.proxy = self.rfile.readline(108).decode("latin-1").strip()

    def handle(self):
        counts["connections"] += 1
        counts["open"] += 1
        try:
            self.take_proxy_line()
            mode = self.rfile.peek(4)[:4]
            modes = {b"ECHO": self.echo, b"GIVE": self.give, b"BYE\n": self.hear_out, b"QUIT": self.reset, b"GONE": self.reset}
            modes.get(mode, super().handle)()
        except (ConnectionError, ValueError):
            pass
        finally:
            counts["open"] -= 1

    def echo(self):
        self.rfile.readline()
        self.wfile.write(f"{self.proxy}\n".encode())
        while data := self.rfile.read1(65536):
            self.wfile.write(data)

    def give(self):
        for block in pattern.blocks(int(self.rfile.readline().split()[1])):
            self.wfile.write(block)

    def hear_out(self):
        self.rfile.readline()
        self.wfile.write(b"bye\n")
        self.connection.shutdown(socket.SHUT_WR)
        counts["heard"] = None
        heard = 0
        while data := self.rfile.read1(65536):
            heard += len(data)
        counts["heard"] = heard

    def reset(self):
        if self.rfile.readline() == b"QUIT\n":
            self.wfile.write(b"soon\n")
            self.rfile.read(1)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.wfile.close()
        self.connection.close()

    def take_body(self, path):
        return super().take_body(path) | {"proxy": self.proxy}

    def send_special(self, path, query):
        if path == "/websocket":
            self.serve_websocket()
        elif path == "/counts":
            text = json.dumps(counts | {"sources": len(sources)}).encode()
            self.send_pieces([text], len(text))
        else:
            return super().send_special(path, query)
        return True

    def serve_websocket(self):
        key = self.headers["sec-websocket-key"].encode()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key + GUID).digest()).decode())
        self.end_headers()
        while len(head := self.rfile.read(2)) == 2:
            self.echo_frame(head)
        self.close_connection = True

    def echo_frame(self, head):
        length = head[1] & 127
        if length == 126:
            length = struct.unpack("!H", self.rfile.read(2))[0]
        mask, data = self.rfile.read(4), self.rfile.read(length)
        data = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
        size = bytes([length]) if length < 126 else b"\x7e" + struct.pack("!H", length)
        self.wfile.write(head[:1] + size + data)


def visitor_of(header):
    """The source address that a PROXY v2 header names."""
    kind, length = header[13], struct.unpack("!H", header[14:16])[0]
    assert header[12] == 0x21 and len(header) == 16 + length and kind in (0x12, 0x22), header.hex()
    n = 4 if kind == 0x12 else 16
    port = struct.unpack("!H", header[16 + 2 * n : 18 + 2 * n])[0]
    return f"{ipaddress.ip_address(header[16 : 16 + n])} {port}"


def echo_datagrams(sock):
    while True:
        data, source = sock.recvfrom(65536)
        if data.startswith(SIGNATURE):
            sources[source] = visitor_of(data)
        else:
            try:
                sock.sendto(sources.setdefault(source, "nobody").encode() + b" " + data, source)
            except OSError:
                pass  # with the address before it, it is too large, or nobody is there any more


def main(_, address="127.0.0.1", port="0"):
    server = origin.Server((address, int(port)), Origin)
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    datagrams.bind(server.server_address)
    threading.Thread(target=echo_datagrams, args=(datagrams,), daemon=True).start()
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
