#!/usr/bin/env python3
"""An origin of HTTP/2 for specs that is not sluice (python3-h2):

    h2_origin.py [CERTIFICATE KEY]

Prints its port, then serves until it is ended: with a certificate over TLS with ALPN, else with prior knowledge.
A request is answered with what was asked, as JSON, once it has ended; besides:
/bytes/N sends N bytes of the pattern; /upload says the hash of the body; /trailers answers with some; /hint sends 103
first; /never does not answer; /refused refuses each stream of its first connection; /goaway says GOAWAY behind the
answer; /grpc sends back every piece at once and ends with trailers, /grpc/none has nothing but a head. WebSockets
(RFC 8441) say back what they hear.
"""
import asyncio
import hashlib
import json
import ssl
import sys

import h2.config
import h2.connection
import h2.events
import h2.settings
from h2.errors import ErrorCodes

import pattern


class Stream:
    def __init__(self, headers):
        self.headers, self.body, self.hasher, self.trailers = headers, b"", hashlib.sha256(), []
        self.fields = dict(headers)
        self.path = self.fields[":path"]
        self.window = asyncio.Event()


class Origin(asyncio.Protocol):
    n_connections = 0

    def connection_made(self, transport):
        Origin.n_connections += 1
        self.number, self.transport, self.streams = Origin.n_connections, transport, {}
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.local_settings = h2.settings.Settings(
            client=False, initial_values={h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1})
        self.h2.initiate_connection()
        self.flush()

    def flush(self):
        self.transport.write(self.h2.data_to_send())

    def data_received(self, data):
        for event in self.h2.receive_data(data):
            self.on_event(event)
        self.flush()

    def on_event(self, event):
        if isinstance(event, h2.events.RequestReceived):
            self.on_request(event.stream_id, Stream(event.headers))
        elif isinstance(event, h2.events.DataReceived):
            self.on_data(event)
        elif isinstance(event, h2.events.TrailersReceived):
            self.streams[event.stream_id].trailers = event.headers
        elif isinstance(event, h2.events.StreamEnded):
            self.on_end(event.stream_id, self.streams.get(event.stream_id))
        elif isinstance(event, (h2.events.StreamReset, h2.events.WindowUpdated)):
            for stream in self.streams.values():
                stream.window.set()

    def on_request(self, id, stream):
        if stream.path == "/refused" and self.number == 1:
            self.h2.reset_stream(id, ErrorCodes.REFUSED_STREAM)
            return
        self.streams[id] = stream
        if stream.fields[":method"] == "CONNECT":
            self.h2.send_headers(id, [(":status", "200")])
        elif stream.path == "/grpc":
            self.h2.send_headers(id, [(":status", "200"), ("content-type", "application/grpc")])
        elif stream.path == "/hint":
            self.h2.send_headers(id, [(":status", "103"), ("link", "</a.css>; rel=preload")])

    def on_data(self, event):
        stream = self.streams.get(event.stream_id)
        self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if not stream:
            return
        stream.hasher.update(event.data)
        if stream.fields[":method"] == "CONNECT" or stream.path == "/grpc":
            self.h2.send_data(event.stream_id, event.data)
        elif len(stream.body) < 65536:
            stream.body += event.data

    def on_end(self, id, stream):
        if not stream or stream.path == "/never":
            return
        if stream.fields[":method"] == "CONNECT":
            self.h2.end_stream(id)
        elif stream.path == "/grpc":
            self.h2.send_headers(id, [("grpc-status", "0"), ("x-asked", json.dumps(stream.trailers))], end_stream=True)
        elif stream.path == "/grpc/none":
            self.h2.send_headers(id, [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "12")],
                                 end_stream=True)
        else:
            asyncio.ensure_future(self.answer(id, stream))

    async def answer(self, id, stream):
        path = stream.path.split("/")
        if path[1] == "bytes":
            body = pattern.blocks(int(path[2]))
        elif path[1] == "upload":
            body = [stream.hasher.hexdigest().encode()]
        else:
            body = [json.dumps({"headers": stream.headers, "body": stream.body.decode("latin-1"), "stream": id,
                                "trailers": stream.trailers, "connection": self.number}).encode()]
        trailers = [("x-first", "1"), ("x-second", "2")] if path[1] == "trailers" else None
        self.h2.send_headers(id, [(":status", "200"), ("content-type", "application/json")])
        if stream.fields[":method"] != "HEAD":
            for piece in body:
                await self.send(id, stream, piece)
        if trailers:
            self.h2.send_headers(id, trailers, end_stream=True)
        else:
            self.h2.end_stream(id)
        self.streams.pop(id)
        if path[1] == "goaway":
            self.h2.close_connection(last_stream_id=id)
        self.flush()

    async def send(self, id, stream, piece):
        while piece:
            n = min(len(piece), self.h2.local_flow_control_window(id), self.h2.max_outbound_frame_size)
            if n == 0:
                stream.window.clear()
                await stream.window.wait()
                continue
            self.h2.send_data(id, piece[:n])
            piece = piece[n:]
            self.flush()


async def main():
    context = None
    if len(sys.argv) > 2:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[1], sys.argv[2])
        context.set_alpn_protocols(["h2"])
    server = await asyncio.get_running_loop().create_server(Origin, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
