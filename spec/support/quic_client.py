#!/usr/bin/env python3
"""An HTTP/3 client that a spec leads (talk.py), on aioquic: quic_client.py PORT HOST [JSON OPTIONS]

Options: alpn (["h3"]), address (of the server; 127.0.0.1), from (address of ours), bare (no control and QPACK streams
of its own: HTTP/3 is left to `raw`), window (of each stream and the connection; 16 MiB), hold
(no window is opened by itself), deaf (answers no PATH_CHALLENGE),
max_datagram, omit and set (transport parameters: numbers, and number to bytes), resume (a file with a session ticket: used
when it is there, written when one comes), first (bytes of a datagram before the first packet).
Commands:
  request  id, headers (all, pseudo-headers, too), bytes or size, open (more will follow), live (tell of every piece)
  send     id, bytes or size, end
  trailers id, headers
  reset    id, code
  stop     id, code
  rebind   from, new_id, first: goes on from another port (and address), with another connection id or the same
  raw      stream (a number, "uni" or "bidi": a new one), bytes, end
  packet   payload, bits, count: a 1-RTT packet with whatever frames
  plain    bytes: a datagram that is no packet
  datagram size, update_keys, ping, close
Events: connected, head, data, response, reset, stopped, goaway, settings, pong, sent, rebound, opened, closed.
"""
import asyncio
import json
import os
import pickle
import ssl
import sys

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.buffer import Buffer
from aioquic.h3 import connection as h3
from aioquic.h3 import events as h3_events
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

import quic_packets as packets
import talk
from talk import tell

GOAWAY = 7


class Http(h3.H3Connection):
    def _handle_control_frame(self, kind, data):
        if kind == GOAWAY:
            tell("goaway", last=int.from_bytes(data, "big") & (1 << (8 * len(data) - 2)) - 1)
        super()._handle_control_frame(kind, data)
        if kind == h3.FrameType.SETTINGS:
            tell("settings", values=[[key, value] for key, value in self.received_settings.items()])


    def _check_content_length(self, stream):
        """That of an answer to HEAD is not its own; specs compare sizes themselves."""


class Quic(QuicConnection):
    """With the transport parameters that the spec wants."""

    omitted, added, is_deaf, is_held = (), {}, False, False

    def _serialize_transport_parameters(self):
        given = Buffer(data=super()._serialize_transport_parameters())
        parts = []
        while not given.eof():
            number, length = given.pull_uint_var(), given.pull_uint_var()
            value = given.pull_bytes(length)
            if number not in self.omitted and str(number) not in self.added:
                parts.append(packets.fields(number, length, value))
        for number, digits in self.added.items():
            value = talk.bytes_of(digits)
            parts.append(packets.fields(int(number), len(value), value))
        return b"".join(parts)

    def _write_connection_limits(self, builder, space):
        if not self.is_held:
            super()._write_connection_limits(builder, space)

    def _write_stream_limits(self, builder, space, stream):
        if not self.is_held:
            super()._write_stream_limits(builder, space, stream)

    def _close_begin(self, is_initiator, now):
        super()._close_begin(is_initiator, now)
        if not is_initiator:
            self._close_at = now  # nobody waits for packets that are late

    def _handle_path_response_frame(self, context, frame_type, buf):
        if buf.data_slice(buf.tell(), buf.tell() + 8) in self._local_challenges:
            super()._handle_path_response_frame(context, frame_type, buf)
        else:
            buf.pull_bytes(8)  # to a challenge that was made by hand

    def _handle_path_challenge_frame(self, context, frame_type, buf):
        if self.is_deaf:
            buf.pull_bytes(8)
        else:
            super()._handle_path_challenge_frame(context, frame_type, buf)


class Client(QuicConnectionProtocol):
    def __init__(self, quic, options):
        super().__init__(quic)
        self.server = (options.get("address", "127.0.0.1"), options["port"])
        self.is_bare, self.http = options.get("bare", False), None
        self.streams, self.responses = {}, {}  # tag -> stream, stream -> Response

    # --- commands ---

    async def do_request(self, id, headers, bytes=None, size=None, open=False, live=False):
        stream = self._quic.get_next_available_stream_id()
        self.streams[id], self.responses[stream] = stream, talk.Response(id, live)
        has_body = bytes is not None or size is not None
        self.http.send_headers(stream, encoded(headers), end_stream=not (has_body or open))
        if has_body:
            await self.do_send(id, bytes, size, end=not open)
        self.transmit()

    async def do_send(self, id, bytes=None, size=None, end=False):
        for piece in talk.body_of(bytes, size):
            self.http.send_data(self.streams[id], piece, end_stream=False)
        if end:
            self._quic.send_stream_data(self.streams[id], b"", True)
        self.transmit()
        tell("sent", id=id)

    async def do_trailers(self, id, headers):
        self.http.send_headers(self.streams[id], encoded(headers), end_stream=True)
        self.transmit()

    async def do_reset(self, id, code):
        self._quic.reset_stream(self.streams[id], code)
        self.transmit()

    async def do_plain(self, bytes):
        if bytes:
            self._transport.sendto(talk.bytes_of(bytes), self.server)

    async def do_stop(self, id, code):
        try:
            self._quic.stop_stream(self.streams[id], code)
        except ValueError:
            pass  # the answer to our reset was here first
        self.transmit()

    async def do_rebind(self, new_id=False, **options):
        old = self._transport
        await bind(self, options)
        await self.do_plain(options.get("first", ""))
        if new_id:
            self._quic.change_connection_id()
        else:
            self._quic.send_ping(0)  # who only listens would not show where he is now
        old.close()
        self.transmit()
        tell("rebound", port=self._transport.get_extra_info("sockname")[1])

    async def do_raw(self, stream, bytes="", end=False):
        if stream in ("uni", "bidi"):
            stream = self._quic.get_next_available_stream_id(is_unidirectional=stream == "uni")
            tell("opened", stream=stream)
        self._quic.send_stream_data(stream, talk.bytes_of(bytes), end)
        self.transmit()

    async def do_packet(self, payload, bits=0, count=1):
        for _ in range(count):
            self._transport.sendto(packets.protected(self._quic, talk.bytes_of(payload), bits), self.server)

    async def do_datagram(self, size):
        self._quic.send_datagram_frame(bytes(size))
        self.transmit()

    async def do_update_keys(self):
        self.request_key_update()

    async def do_ping(self):
        await self.ping()
        tell("pong")

    async def do_close(self):
        self.close()
        os._exit(0)

    # --- events ---

    def quic_event_received(self, event):
        if isinstance(event, events.HandshakeCompleted):
            self.http = None if self.is_bare else Http(self._quic)
            tell("connected", alpn=event.alpn_protocol, early=event.early_data_accepted, resumed=event.session_resumed)
        elif isinstance(event, events.ConnectionTerminated):
            tell("closed", code=event.error_code, text=event.reason_phrase, frame=event.frame_type)
        elif isinstance(event, events.StreamReset):
            response = self.responses.get(event.stream_id)
            tell("reset", id=response.tag if response else None, stream=event.stream_id, code=event.error_code)
        elif isinstance(event, events.StopSendingReceived):
            response = self.responses.get(event.stream_id)
            tell("stopped", id=response.tag if response else None, stream=event.stream_id, code=event.error_code)
        if self.http is not None:
            for part in self.http.handle_event(event):
                self.on_http(part)

    def on_http(self, event):
        response = self.responses.get(getattr(event, "stream_id", None))
        if response is None:
            return
        if isinstance(event, h3_events.HeadersReceived):
            response.on_headers([[name.decode("latin-1"), value.decode("latin-1")] for name, value in event.headers])
        elif isinstance(event, h3_events.DataReceived):
            response.on_data(event.data)
        if event.stream_ended:
            response.on_end()


def encoded(headers):
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


async def bind(client, options):
    """A socket for the client, which uses it from now on."""
    local = (options.get("from", "127.0.0.1"), 0)
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: client, local_addr=local)


def configuration(host, options):
    config = QuicConfiguration(
        alpn_protocols=options.get("alpn", ["h3"]),
        server_name=host,
        verify_mode=ssl.CERT_NONE,
        max_datagram_frame_size=options.get("max_datagram"),
        max_data=options.get("window", 1 << 24),
        max_stream_data=options.get("window", 1 << 24),
    )
    if os.path.exists(options.get("resume", "")) and os.path.getsize(options["resume"]) > 0:
        with open(options["resume"], "rb") as file:
            config.session_ticket = pickle.load(file)
    return config


def keep_ticket(options):
    def keep(ticket):
        if "resume" in options:
            with open(options["resume"], "wb") as file:
                pickle.dump(ticket, file)
            tell("ticket")

    return keep


async def main(port, host, options="{}"):
    options = {**json.loads(options), "port": int(port)}
    quic = Quic(configuration=configuration(host, options), session_ticket_handler=keep_ticket(options))
    quic.omitted, quic.added = options.get("omit", ()), options.get("set", {})
    quic.is_deaf, quic.is_held = options.get("deaf", False), options.get("hold", False)
    client = Client(quic, options)
    await bind(client, options)
    await client.do_plain(options.get("first", ""))
    client.connect(client.server)
    await talk.listen(client)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
