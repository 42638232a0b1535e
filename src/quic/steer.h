/*
 * Which worker gets a QUIC datagram. The sockets of a port form a SO_REUSEPORT group; the kernel
 * runs a classic BPF program over each datagram, and our connection ids say which worker issued
 * them: their first byte is its number.
 *
 *     short header                        first byte of the connection id
 *     long header, version 1, Handshake   the same
 *     everything else                     the kernel's hash over the addresses
 *
 * Everything else includes the PROXY header of a proxy in front of us: it comes to the worker that
 * gets the Initial from the same address.
 *
 * Initial and 0-RTT packets go by the hash because clients choose their connection ids (RFC 9000,
 * section 7.2); the same addresses lead to the same worker until the connection has an id of ours.
 * A number that no worker has, made up by a stranger, goes by the hash as well.
 *
 * The number of a socket in its group is its place in the order of binding. When a socket of the
 * group is closed, the last one takes its number: close them all or none.
 */
#ifndef SL_QUIC_STEER_H
#define SL_QUIC_STEER_H

#include "base/error.h"

/* Most workers that a byte tells apart. */
enum { SL_QUIC_WORKERS_MAX = 256 };

/* For the group of `fd`, any of its bound sockets, once all are. 0, or SL_E_* when the kernel
 * refuses; then the hash decides alone and workers forward more. */
int sl_quic_steer(int fd, unsigned n_workers);

#endif
