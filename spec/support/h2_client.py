#!/usr/bin/env python3
"""An HTTP/2 client that a spec leads (talk.py): h2_client.py PORT HOST [JSON OPTIONS]

Options: window (of each stream; 65,535), hold (no window is opened by itself), from (address of ours).
Commands:
  request  id, headers (all, pseudo-headers, too), bytes or size, open (more will follow), live (tell of every piece)
  send     id, bytes or size, end
  trailers id, headers
  reset    id, code
  window   id (absent: of the connection), n
  frame    kind, flags, stream, payload
  ping, close
Events: connected, interim, head, data, response, reset, goaway, pong, sent, closed.
"""
import asyncio
import json
import os
import ssl
import struct
import sys

import hpack

import h2_frames as h2
import talk
from talk import tell

GREATEST = (1 << 31) - 1


class Client:
    def __init__(self, reader, writer, options):
        self.reader, self.writer, self.hold = reader, writer, options.get("hold", False)
        self.decoder = hpack.Decoder(max_header_list_size=1 << 20)
        self.next_stream, self.streams, self.responses = 1, {}, {}  # tag -> stream, stream -> Response
        self.may_send, self.first_window, self.max_frame = {0: 65535}, 65535, 16384
        self.more_window = asyncio.Condition()
        self.block, self.block_flags = b"", 0
        writer.write(h2.PREFACE + h2.settings(ENABLE_PUSH=0, INITIAL_WINDOW=options.get("window", 65535)))
        if not self.hold:
            writer.write(h2.window_update(0, 1 << 24))

    # --- commands ---

    async def do_request(self, id, headers, bytes=None, size=None, open=False, live=False):
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        self.streams[id], self.responses[stream] = stream, talk.Response(id, live)
        self.may_send[stream] = self.first_window
        has_body = bytes is not None or size is not None
        self.writer.write(h2.headers(stream, headers, end=not (has_body or open)))
        if has_body:
            await self.do_send(id, bytes, size, end=not open)

    async def do_send(self, id, bytes=None, size=None, end=False):
        stream = self.streams[id]
        for piece in talk.body_of(bytes, size):
            while piece:
                n = await self.window_for(stream, len(piece))
                self.writer.write(h2.frame(h2.DATA, 0, stream, piece[:n]))
                piece = piece[n:]
                await self.writer.drain()
        if end:
            self.writer.write(h2.frame(h2.DATA, h2.END_STREAM, stream))
        tell("sent", id=id)

    async def window_for(self, stream, n):
        async with self.more_window:
            await self.more_window.wait_for(lambda: min(self.may_send[0], self.may_send[stream]) > 0)
            n = min(n, self.may_send[0], self.may_send[stream], self.max_frame)
            self.may_send[0] -= n
            self.may_send[stream] -= n
        return n

    async def do_trailers(self, id, headers):
        self.writer.write(h2.headers(self.streams[id], headers))

    async def do_reset(self, id, code):
        self.writer.write(h2.frame(h2.RST_STREAM, 0, self.streams[id], struct.pack(">L", code)))

    async def do_window(self, n, id=None):
        self.writer.write(h2.window_update(self.streams[id] if id is not None else 0, n))

    async def do_frame(self, kind, flags=0, stream=0, payload=""):
        self.writer.write(h2.frame(h2.KINDS.index(kind), flags, stream, talk.bytes_of(payload)))

    async def do_ping(self):
        self.writer.write(h2.frame(h2.PING, 0, 0, b"are you?"))

    async def do_close(self):
        os._exit(0)

    # --- frames ---

    async def read(self):
        try:
            while True:
                head = await self.reader.readexactly(9)
                length, (kind, flags, stream) = int.from_bytes(head[:3], "big"), struct.unpack(">BBL", head[3:])
                payload = await self.reader.readexactly(length)
                if kind < len(h2.KINDS):
                    await getattr(self, "on_" + h2.KINDS[kind].lower())(flags, stream, payload)
        except asyncio.IncompleteReadError:
            tell("closed", how="closed")
        except OSError as error:
            tell("closed", how=str(error))

    async def on_data(self, flags, stream, payload):
        response = self.responses[stream]
        response.on_data(payload)
        if payload and not self.hold:
            self.writer.write(h2.window_update(0, len(payload)) + h2.window_update(stream, len(payload)))
            await self.writer.drain()
        if flags & h2.END_STREAM:
            response.on_end()

    async def on_headers(self, flags, stream, payload):
        self.block, self.block_flags = payload, flags
        if flags & h2.END_HEADERS:
            self.on_block(stream)

    async def on_continuation(self, flags, stream, payload):
        self.block += payload
        if flags & h2.END_HEADERS:
            self.on_block(stream)

    def on_block(self, stream):
        response = self.responses[stream]
        response.on_headers([[str(name), str(value)] for name, value in self.decoder.decode(self.block)])
        if self.block_flags & h2.END_STREAM:
            response.on_end()

    async def on_settings(self, flags, _, payload):
        if flags & h2.ACK:
            return
        values = {key: value for key, value in struct.iter_unpack(">HL", payload)}
        first = values.get(h2.INITIAL_WINDOW, self.first_window)
        async with self.more_window:
            for stream in self.may_send:
                self.may_send[stream] += first - self.first_window if stream else 0
            self.first_window, self.max_frame = first, values.get(h2.MAX_FRAME, self.max_frame)
            self.more_window.notify_all()
        self.writer.write(h2.frame(h2.SETTINGS, h2.ACK))
        tell("settings", values=[[key, value] for key, value in values.items()])

    async def on_window_update(self, _, stream, payload):
        async with self.more_window:
            self.may_send[stream] = self.may_send.get(stream, 0) + struct.unpack(">L", payload)[0]
            self.more_window.notify_all()

    async def on_rst_stream(self, _, stream, payload):
        tell("reset", id=self.responses[stream].tag, code=h2.error_name(struct.unpack(">L", payload)[0]))

    async def on_ping(self, flags, _, payload):
        if flags & h2.ACK:
            tell("pong")
        else:
            self.writer.write(h2.frame(h2.PING, h2.ACK, 0, payload))

    async def on_goaway(self, _, __, payload):
        last, code = struct.unpack(">LL", payload[:8])
        tell("goaway", last=last & GREATEST, code=h2.error_name(code), text=payload[8:].decode("latin-1"))

    async def on_priority(self, *_):
        pass

    async def on_push_promise(self, *_):
        raise RuntimeError("the server pushes, which was switched off")


def context():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    tls.set_alpn_protocols(["h2"])
    return tls


async def main(port, host, options="{}"):
    options = json.loads(options)
    local = (options["from"], 0) if "from" in options else None
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", int(port), ssl=context(), server_hostname=host, local_addr=local, limit=1 << 20
    )
    chosen = writer.get_extra_info("ssl_object").selected_alpn_protocol()
    assert chosen == "h2", f"the server chose {chosen}"
    client = Client(reader, writer, options)
    tell("connected")
    reading = asyncio.ensure_future(client.read())
    reading.add_done_callback(talk.check)
    await talk.listen(client)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
