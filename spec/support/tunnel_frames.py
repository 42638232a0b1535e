"""The frames of a tunnel over TLS, by hand: what remoteingress documents, and nothing of what two sluices add to it."""
import ipaddress
import struct

TYPES = {
    "OPEN": 1, "DATA": 2, "CLOSE": 3, "DATA_BACK": 4, "CLOSE_BACK": 5, "CONFIG": 6, "PING": 7, "PONG": 8,
    "WINDOW_UPDATE": 9, "WINDOW_UPDATE_BACK": 10, "UDP_OPEN": 11, "UDP_DATA": 12, "UDP_DATA_BACK": 13, "UDP_CLOSE": 14,
}  # fmt: skip
NAMES = {number: name for name, number in TYPES.items()}
FIRST_WINDOW = 4 << 20
PIECE = 16384


def frame(kind, stream=0, payload=b"", length=None):
    """A frame; `kind` by name or number, `length` for a header that does not say the truth."""
    return struct.pack("!IBI", stream, TYPES.get(kind, kind), len(payload) if length is None else length) + payload


async def read_frame(reader):
    stream, kind, length = struct.unpack("!IBI", await reader.readexactly(9))
    return NAMES.get(kind, kind), stream, await reader.readexactly(length)


def proxy_v2(source, source_port, target, target_port):
    """The header that opens a UDP session."""
    source, target = ipaddress.ip_address(source), ipaddress.ip_address(target)
    addresses = source.packed + target.packed + struct.pack("!HH", source_port, target_port)
    family = 0x12 if source.version == 4 else 0x22
    return b"\r\n\r\n\x00\r\nQUIT\n" + struct.pack("!BBH", 0x21, family, len(addresses)) + addresses


class Sender:
    """The way out of one stream: no more than the other side has granted."""

    def __init__(self):
        self.left = FIRST_WINDOW
        self.waiting = None  # set while somebody waits for credit

    def grant(self, n):
        self.left += n
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(None)

    async def spend(self, n, loop):
        while self.left < n:
            self.waiting = loop.create_future()
            await self.waiting
        self.left -= n
