/*
 * UDP sessions through a tunnel: the datagrams of one visitor to one port of the edge, both ways.
 * Over QUIC they travel as datagrams, over TLS (and when they do not fit) as frames; neither is
 * reliable, and nothing waits: a datagram that the link cannot take now is dropped and counted. But
 * one that overtakes the opening of its session (QUIC) is kept for it, a few of them per tunnel.
 *
 * A set of sessions belongs to one end of one tunnel, and outlives its links: an edge announces its
 * sessions again when a new link is there. How long a session may be idle, and which one goes when
 * there are too many, is for its holder.
 *
 * Owner: the set is embedded in the edge, or in what the hub keeps for one; sessions belong to
 * whoever opened them or got them in on_open(). One thread. Every callback may free sessions.
 */
#ifndef SL_TUNNEL_SESSION_H
#define SL_TUNNEL_SESSION_H

#include "base/list.h"
#include "base/map.h"
#include "codec/proxy_header.h"
#include "tunnel/tunnel.h"

struct sl_session;
struct sl_sessions;

enum { SL_SESSION_DATAGRAM_MAX = 65535 };

struct sl_session_handler {
    void (*on_datagram)(struct sl_session *s, const uint8_t *bytes, size_t len);
    /* The other side has ended it, or the tunnel is over. Its holder frees it. */
    void (*on_closed)(struct sl_session *s);
};

struct sl_session {
    const struct sl_session_handler *handler; /* the holder sets it */
    void *user;
    struct sl_sessions *set; /* NULL once it is closed */
    uint32_t id;
    struct sl_link link; /* in set->list */
    uint8_t key[4];
    bool is_announced; /* edge: over the present link */
    uint8_t opening[SL_PROXY_HEADER_WRITE_MAX];
    uint8_t n_opening;
    uint64_t n_in, n_out, n_dropped; /* datagrams */
};

struct sl_sessions {
    struct sl_tunnel *tunnel; /* NULL while there is none: what is sent is dropped */
    struct sl_map by_id;
    struct sl_list list; /* oldest first */
    uint32_t max;        /* further ones of the edge are refused */
    /* Hub: the edge has opened a session, which is the callee's: sets its handler, or frees it.
     * NULL: refused. */
    void (*on_open)(void *user, struct sl_session *s, const struct sl_proxy_header *from);
    void *user;
    uint64_t n_in, n_out, n_refused;
    uint64_t n_dropped;   /* here; what the link drops is in the tunnel's count */
    struct sl_list early; /* hub: the latest datagrams that came before their session */
    size_t n_early;
};

void sl_sessions_init(struct sl_sessions *set, uint32_t max,
                      void (*on_open)(void *user, struct sl_session *s,
                                      const struct sl_proxy_header *from),
                      void *user);
/* Ends them all: on_closed() of each inside the call. */
void sl_sessions_clear(struct sl_sessions *set);
/* The tunnel has a new link, or is another one (NULL: none for now): sessions are announced again
 * before their next datagram. */
void sl_sessions_use(struct sl_sessions *set, struct sl_tunnel *tunnel);
/* A UDP_* frame of the tunnel's on_frame(). */
void sl_sessions_take(struct sl_sessions *set, const struct sl_frame *f);

/* Edge. NULL: too many, or the tunnel has no id left. */
struct sl_session *sl_session_open(struct sl_sessions *set, const struct sl_proxy_header *from,
                                   const struct sl_session_handler *handler, void *user);
/* 0; SL_E_AGAIN: dropped since the link is busy or away; SL_E_LIMIT: larger than a datagram can be;
 * SL_E_CLOSED. */
int sl_session_send(struct sl_session *s, const uint8_t *bytes, size_t len);
/* Tells the other side, unless it has ended the session; NULL inside is legal. */
void sl_session_free(struct sl_session **ps);

#endif
