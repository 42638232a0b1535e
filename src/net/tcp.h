/*
 * TCP (and Unix) sockets as streams, and connecting to an address.
 */
#ifndef SL_NET_TCP_H
#define SL_NET_TCP_H

#include "net/stream.h"

/* Wraps a connected, non-blocking descriptor, which the stream owns from now on. Starts paused. */
struct sl_stream *sl_tcp_new(struct sl_loop *loop, int fd);
/* Begins to connect. 0: `*out` is set, on_ready() or on_error() follows, never inside the call.
 * Negative: nothing was made. */
int sl_tcp_connect(struct sl_stream **out, struct sl_loop *loop, const struct sl_addr *to,
                   const char *unix_path, uint64_t timeout_ms,
                   const struct sl_stream_handler *handler, void *user);
/* The descriptor, for socket options. -1 when `s` is not TCP. */
int sl_tcp_fd(const struct sl_stream *s);
/* Of a stream that has connected: how many of our bytes the peer's kernel has acknowledged. The
 * peer may have read more, as acknowledgements are delayed, but its fin comes with one for all. 0
 * or SL_E_SYSTEM (not TCP, a kernel that does not count). */
int sl_tcp_acked(const struct sl_stream *s, uint64_t *bytes);
/* From now on the kernel keeps no more than `bytes` that it has not sent yet, so that what is
 * urgent waits behind no more than that. 0 or SL_E_SYSTEM (not TCP). */
int sl_tcp_limit_unsent(const struct sl_stream *s, int bytes);
/* The kernel's idea of the round-trip time, in microseconds. 0 or SL_E_SYSTEM (not TCP). */
int sl_tcp_rtt(const struct sl_stream *s, uint32_t *us);
/* Local and remote address. 0 or SL_E_SYSTEM. */
int sl_tcp_addrs(const struct sl_stream *s, struct sl_addr *local, struct sl_addr *remote);

#endif
