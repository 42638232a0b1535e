/*
 * The inside of a hub, for its files: hub.c (sockets and life), hub_table.c (who may come),
 * hub_conn.c (a connection until it is a link), hub_edge.c (an edge with its tunnel), hub_alarm.c
 * (who is refused again and again).
 *
 *     accept -> hub_conn: TLS or QUIC, greeting, secret -> on_edge() -> answer -> first frame
 *            -> hub_edge: the tunnel, which outlives its links
 */
#ifndef SL_TUNNEL_HUB_INTERNAL_H
#define SL_TUNNEL_HUB_INTERNAL_H

#include "base/log.h"
#include "codec/tunnel_greeting.h"
#include "tunnel/greeter.h"
#include "tunnel/hub.h"
#include "tunnel/pulse.h"

enum { SL_HUB_DIGEST = 32 };

struct sl_hub_conn;

/* One of the table. Owner: the table. */
struct sl_hub_entry {
    struct sl_link link;           /* in table->list */
    struct sl_str id;              /* the key */
    uint8_t secret[SL_HUB_DIGEST]; /* its SHA-256: all are of one length, and none is kept */
    struct sl_str config;
    struct sl_hub_edge *edge; /* with its tunnel; NULL: none */
    struct sl_hub_conn *conn; /* the newest one that has greeted and is no link yet */
    uint64_t n_links;
    bool is_listed; /* while the table changes */
};

struct sl_hub_table {
    struct sl_map by_id;
    struct sl_list list;
};

/* Refusals of late, by address. */
struct sl_hub_alarm {
    struct sl_map by_ip;
    struct sl_log_limit limit;
};

struct sl_hub {
    struct sl_hub_opts opts;
    struct sl_hub_table table;
    struct sl_hub_alarm alarm;
    struct sl_log_limit drops; /* lines about connections that came to nothing */
    struct sl_listener *listener;
    struct sl_quic_endpoint *endpoint;
    struct sl_list conns;      /* that are no links yet, but for those in handshake over TLS: */
    struct sl_list handshakes; /* oldest first */
    size_t n_conns;            /* in both lists */
    size_t n_handshakes;
    struct sl_deadline pressure;
    struct sl_hub_stats stats;
};

/* An edge that has proven who it is, with its tunnel once there is one. Owner: the connection
 * until then, the entry of the table since. */
struct sl_hub_edge {
    struct sl_hub *hub;
    struct sl_hub_entry *entry;
    struct sl_addr addr; /* of the newest link */
    enum sl_edge_transport transport;
    uint8_t ticket[SL_RESUME_TICKET];
    struct sl_tunnel *tunnel; /* NULL at first */
    struct sl_sessions sessions;
    struct sl_pulse pulse;
    struct sl_deadline patience; /* for another link */
    bool is_sluice;
    bool is_up;    /* as the handler was told */
    bool is_stale; /* it has not been told of the config as it is now */
    uint64_t up_since;
};

/* hub.c */
const char *sl_hub_transport(enum sl_edge_transport transport);
/* More or fewer handshakes are under way. */
void sl_hub_pace(struct sl_hub *h);

/* hub_conn.c */
void sl_hub_conn_accept(struct sl_hub *h, int fd, const struct sl_addr *remote);
/* A stream on which the greeting may begin: TLS after its handshake, in tests a pair in memory. */
void sl_hub_conn_accept_ready(struct sl_hub *h, struct sl_stream **stream,
                              const struct sl_addr *remote);
int sl_hub_conn_accept_quic(struct sl_hub *h, struct sl_quic_conn *c);
/* Closes it without a word. `why` for the log; NULL: no line. */
void sl_hub_conn_drop(struct sl_hub_conn *c, const char *why);
/* Drops those in handshake that began before that moment. */
void sl_hub_conn_drop_idle(struct sl_hub *h, uint64_t before_ms);
void sl_hub_conn_drop_all(struct sl_hub *h);
/* The config has changed after it was told. */
void sl_hub_conn_reconfigure(struct sl_hub_conn *c);

/* hub_edge.c */
struct sl_hub_edge *sl_hub_edge_new(struct sl_hub *h, struct sl_hub_entry *entry);
/* The connection becomes the link of the edge, whose tunnel it begins or, when `peer` says so,
 * goes on with. Takes the edge. 0, or SL_E_REFUSED: close the connection. */
int sl_hub_edge_link(struct sl_hub_edge *e, struct sl_greeter *g, const struct sl_resume *peer);
/* Ends its tunnel, if it has one. */
void sl_hub_edge_drop(struct sl_hub_edge *e, const char *why);
void sl_hub_edge_send_config(struct sl_hub_edge *e);

/* hub_table.c */
void sl_hub_table_init(struct sl_hub_table *t);
void sl_hub_table_clear(struct sl_hub_table *t);
/* NULL when there is no such edge or the secret is another one; takes the same time. `*is_known`:
 * for the log alone. */
struct sl_hub_entry *sl_hub_table_check(const struct sl_hub_table *t, const struct sl_greeting *g,
                                        bool *is_known);
/* The line that answers a greeting: the config with the ticket in it. */
void sl_hub_table_answer(const struct sl_hub_entry *entry, const uint8_t ticket[SL_RESUME_TICKET],
                         struct sl_buf *out);

/* hub_alarm.c */
void sl_hub_alarm_refused(struct sl_hub_alarm *a, const struct sl_addr *remote, struct sl_str id,
                          const char *why);
void sl_hub_alarm_clear(struct sl_hub_alarm *a);

#endif
