"""QUIC packets by hand (RFC 9000, RFC 9001), with the keys of an aioquic connection or with those of an Initial, for
clients that break the rules."""
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.crypto import CryptoPair
from aioquic.tls import Epoch

(PADDING, PING, ACK, RESET_STREAM, STOP_SENDING, CRYPTO, NEW_TOKEN, STREAM, MAX_DATA, MAX_STREAM_DATA) = (
    0, 1, 2, 4, 5, 6, 7, 8, 0x10, 0x11)
(NEW_CONNECTION_ID, PATH_CHALLENGE, PATH_RESPONSE, HANDSHAKE_DONE, DATAGRAM) = (0x18, 0x1A, 0x1B, 0x1E, 0x31)


def varint(n):
    for bits, size in ((6, 1), (14, 2), (30, 4), (62, 8)):
        if n < 1 << bits:
            return (n | (size.bit_length() - 1) << (8 * size - 2)).to_bytes(size, "big")
    raise ValueError(n)


def fields(kind, *values):
    """A frame of which all fields are variable-length integers, or bytes as they are."""
    return b"".join(value if isinstance(value, bytes) else varint(value) for value in (kind, *values))


def protected(quic, payload, bits=0):
    """A 1-RTT packet of this connection; `bits` go into the first byte before it is protected."""
    crypto, number = quic._cryptos[Epoch.ONE_RTT], quic._packet_number
    quic._packet_number += 1
    head = bytes([0x43 | bits | crypto.key_phase << 2]) + quic._peer_cid.cid + number.to_bytes(4, "big")
    return crypto.encrypt_packet(head, payload, number)


def handshake(quic, payload):
    """A Handshake packet of this connection, whose handshake is under way."""
    crypto, number = quic._cryptos[Epoch.HANDSHAKE], quic._packet_number
    quic._packet_number += 1
    head = long_head(0xE3, 1, quic._peer_cid.cid, quic.host_cid) + varint(0x4000 | len(payload) + 20)[-2:]
    return crypto.encrypt_packet(head + number.to_bytes(4, "big"), payload, number)


def long_head(first, version, dcid, scid):
    return bytes([first]) + version.to_bytes(4, "big") + bytes([len(dcid)]) + dcid + bytes([len(scid)]) + scid


def initial(dcid, scid, payload, token=b"", size=1200, token_length=None):
    """A client's first packet, padded to a datagram of this size. `token_length`: what the head says instead of the
    truth."""
    crypto = CryptoPair()
    crypto.setup_initial(dcid, is_client=True, version=1)
    length = varint(len(token) if token_length is None else token_length)
    head = long_head(0xC3, 1, dcid, scid) + length + token
    payload = payload.ljust(size - len(head) - 2 - 4 - 16, b"\0")
    head += (0x4000 | 4 + len(payload) + 16).to_bytes(2, "big") + bytes(4)
    return crypto.encrypt_packet(head, payload, 0)


def hello(host, alpn=("h3",)):
    """A ClientHello in its CRYPTO frame, and the connection ids that go with it: dcid, scid, payload."""
    quic = QuicConnection(configuration=QuicConfiguration(alpn_protocols=list(alpn), server_name=host))
    quic.connect(("127.0.0.1", 1), now=0.0)
    message = bytes(quic._crypto_streams[Epoch.INITIAL].sender._buffer)
    return quic._peer_cid.cid, quic.host_cid, crypto_frame(message)


def crypto_frame(message, offset=0):
    return fields(CRYPTO, offset, len(message), message)
