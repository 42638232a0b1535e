/*
 * Tunnels as control scripts see them: what the program offers to bind_edge.c and bind_hub.c. The
 * edges and hubs themselves live on a worker (tunnel/edge.h, tunnel/hub.h); everything here belongs
 * to the control thread, and what a call is about happens a little later.
 *
 * An edge or a hub has a name and outlives the script: one that is opened under a name that exists
 * is the same one, with its tunnels and with the limits it was made with. Whoever opens one holds a
 * reference, which goes back with edge_release() or hub_release(); that ends nothing. What ends one
 * is edge_close() or hub_close(), after which everything but the release does nothing.
 */
#ifndef SL_SCRIPT_TUNNELS_H
#define SL_SCRIPT_TUNNELS_H

#include "tunnel/hub.h"

struct sl_script_edge; /* the program's */
struct sl_script_hub;

enum sl_edge_event_kind {
    SL_EDGE_EVENT_ANSWER, /* text: the hub's line */
    SL_EDGE_EVENT_FAILED, /* the attempt; text: why; code */
    SL_EDGE_EVENT_UP,     /* resumed */
    SL_EDGE_EVENT_CONFIG, /* text: JSON */
    SL_EDGE_EVENT_DOWN,   /* the link that was accepted; text: why; code */
    SL_EDGE_EVENT_LOST,   /* the edge was closed, or somebody else listens: nothing more comes */
};

/* Of the attempt begun last and of the link accepted last alone: what was on its way about an
 * earlier one is not told. */
struct sl_edge_event {
    enum sl_edge_event_kind kind;
    int code;
    bool resumed;
    struct sl_str text; /* valid during the call */
};

struct sl_script_edge_opts {
    struct sl_str name;
    uint32_t max_streams, max_sessions, dead_ms, hold_ms; /* as in sl_edge_opts */
};

struct sl_script_edge_status {
    struct sl_tunnel_status tunnel;
    /* The line of the hub that was accepted last, and the CONFIG since then; SL_STR_NONE: none. So
     * a new script knows what an edge that is up has been told. */
    struct sl_str answer, config;
};

struct sl_script_hub_opts {
    struct sl_str name;
    struct sl_str host;      /* address to listen on; empty: all */
    uint16_t port;           /* 0: a free one */
    struct sl_str cert, key; /* PEM */
    bool no_quic;
    struct sl_hub_opts limits; /* only its limits are read */
};

/* One edge of a hub's table. */
struct sl_hub_edge_status {
    struct sl_str id;
    struct sl_tunnel_status tunnel;
};

struct sl_script_tunnels {
    void *user; /* first argument of the two that open */

    struct sl_script_edge *(*edge_open)(void *user, const struct sl_script_edge_opts *opts);
    /* Who hears of it from now on. What happened while nobody listened is not told. on_event() may
     * do everything, the release included. */
    void (*edge_listen)(struct sl_script_edge *e,
                        void (*on_event)(void *arg, const struct sl_edge_event *event), void *arg);
    /* `arg`, if it still listens, hears no more. */
    void (*edge_release)(struct sl_script_edge *e, void *arg);
    void (*edge_connect)(struct sl_script_edge *e, const struct sl_edge_attempt *a);
    /* Drops the attempt, if there is one, and leaves the link alone. */
    void (*edge_cancel)(struct sl_script_edge *e);
    void (*edge_accept)(struct sl_script_edge *e, const struct sl_edge_terms *terms);
    void (*edge_hang_up)(struct sl_script_edge *e);
    void (*edge_give_up)(struct sl_script_edge *e);
    /* `done` comes once, later, also when the program ends: `arg` must live until then. */
    void (*edge_status)(struct sl_script_edge *e,
                        void (*done)(void *arg, const struct sl_script_edge_status *status),
                        void *arg);
    /* For good: its streams end. */
    void (*edge_close)(struct sl_script_edge *e);

    /* Binds its sockets, and takes connections from the first hub_set_edges() on. A hub that exists
     * keeps its sockets and gets the new certificate; another address is refused. NULL, with a
     * sentence in `err`: port in use, not a certificate, … */
    struct sl_script_hub *(*hub_open)(void *user, const struct sl_script_hub_opts *opts,
                                      struct sl_err *err);
    void (*hub_release)(struct sl_script_hub *h);
    uint16_t (*hub_port)(const struct sl_script_hub *h);
    /* Copied. */
    void (*hub_set_edges)(struct sl_script_hub *h, const struct sl_hub_edge_spec *specs, size_t n);
    /* As edge_status(); the table is valid during `done`. */
    void (*hub_status)(struct sl_script_hub *h,
                       void (*done)(void *arg, const struct sl_hub_stats *stats,
                                    const struct sl_hub_edge_status *edges, size_t n),
                       void *arg);
    /* For good: its edges are dropped. */
    void (*hub_close)(struct sl_script_hub *h);
};

#endif
