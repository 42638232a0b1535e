/*
 * A UDP socket that works in batches: recvmmsg() with UDP GRO for what comes in, sendmmsg() with
 * UDP GSO for what goes out, the local address of each datagram, and its ECN bits.
 *
 * Binding is apart from use, as in net/listener.h. One thread: the loop's.
 */
#ifndef SL_NET_UDP_H
#define SL_NET_UDP_H

#include <sys/uio.h>
#include "loop/loop.h"
#include "net/addr.h"

/* One datagram, or several of one sender that the kernel put together. Valid during the call that
 * gets it. */
struct sl_udp_packet {
    const uint8_t *bytes;
    size_t len;
    size_t segment; /* length of each datagram but the last, which may be shorter; `len` when there
                       is one */
    struct sl_addr remote, local; /* local: where it was sent to */
    uint8_t ecn;                  /* 0 to 3 (RFC 3168) */
};

/* What to send: `len` bytes, which may be none, that are cut into datagrams of `segment` bytes (the
 * last may be shorter). */
struct sl_udp_send {
    const struct sl_addr *remote; /* NULL: whom the socket is connected to */
    const struct sl_addr *local;  /* source address; NULL: the kernel's choice */
    const uint8_t *bytes;
    size_t len, segment;
    uint8_t ecn; /* 0 on a connected socket */
};

struct sl_udp_handler {
    /* Once per message of a batch. May send, and may free the socket. */
    void (*on_packet)(void *user, const struct sl_udp_packet *packet);
    /* The end of a batch: the time to answer. May be NULL. */
    void (*on_batch)(void *user);
    /* The socket takes datagrams again, after SL_E_AGAIN. */
    void (*on_writable)(void *user);
    /* A connected socket: nobody listens at the other end, or did not a moment ago. It may come
     * inside sl_udp_send(), and must leave the socket alone. May be NULL. */
    void (*on_refused)(void *user);
};

/* Largest `len` of a sl_udp_send with several datagrams, and most datagrams in it (limits of the
 * kernel's GSO). */
enum { SL_UDP_SEND_MAX = 65000, SL_UDP_SEGMENTS_MAX = 64 };

/* Binds, non-blocking, close-on-exec, with ECN and address information switched on, path MTU
 * discovery set to "probe" (never fragment). `at` gets the real port when it was 0. 0, or
 * SL_E_IN_USE, SL_E_DENIED, ... with a sentence. */
int sl_socket_bind_udp(int *out, struct sl_addr *at, bool reuseport, struct sl_err *err);

/* A connected socket for datagrams of any size: longer ones than the path takes are cut by the
 * kernel. 0, or SL_E_LIMIT (no descriptor is left), SL_E_UNREACHABLE, ... */
int sl_socket_connect_udp(int *out, const struct sl_addr *to);
/* The same for a socket of sl_socket_bind_udp(). */
void sl_socket_allow_fragments(int fd);

struct sl_udp;

/* Takes `fd`. Reads from now on. */
struct sl_udp *sl_udp_new(struct sl_loop *loop, int fd, const struct sl_udp_handler *handler,
                          void *user);
void sl_udp_free(struct sl_udp *u);
/* Sends all in as few system calls as possible. Returns how many were sent: fewer than `n` when the
 * socket is full (on_writable() follows) - a message that was sent in part is kept and finished by
 * itself. What the network refuses (unreachable, too long) counts as sent: datagrams may get lost;
 * `too_long`, when not NULL, says that the path takes no datagrams of this size. */
int sl_udp_send(struct sl_udp *u, const struct sl_udp_send *msgs, int n, bool *too_long);
/* Has the kernel said that it cannot do GSO on this path? Then one datagram a message is sent, all
 * the same through sl_udp_send(). */
bool sl_udp_has_gso(const struct sl_udp *u);
void sl_udp_pause(struct sl_udp *u, bool paused);
int sl_udp_fd(const struct sl_udp *u);

#endif
