/*
 * Tunnels as control scripts see them: what the program offers to bind_tunnel.c. The edges and hubs
 * themselves live on a worker (tunnel/edge.h, tunnel/hub.h); everything here belongs to the control
 * thread, and what a call is about happens a little later.
 *
 * An edge or a hub has a name and outlives the script: one that is opened under a name that exists
 * is the same one, with its tunnels, and events go to whoever opened it last.
 */
#ifndef SL_SCRIPT_TUNNELS_H
#define SL_SCRIPT_TUNNELS_H

#include "tunnel/hub.h"

struct sl_script_edge; /* the program's */
struct sl_script_hub;

enum sl_edge_event_kind {
    SL_EDGE_EVENT_ANSWER, /* text: the hub's line */
    SL_EDGE_EVENT_FAILED, /* text: why; code */
    SL_EDGE_EVENT_UP,     /* resumed */
    SL_EDGE_EVENT_CONFIG, /* text: JSON */
    SL_EDGE_EVENT_DOWN,   /* text: why; code */
};

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
    /* Who hears of it from now on; NULL: nobody. What happened while nobody heard is not told. */
    void (*edge_listen)(struct sl_script_edge *e,
                        void (*on_event)(void *arg, const struct sl_edge_event *event), void *arg);
    void (*edge_connect)(struct sl_script_edge *e, const struct sl_edge_attempt *a);
    void (*edge_accept)(struct sl_script_edge *e, const struct sl_edge_terms *terms);
    void (*edge_hang_up)(struct sl_script_edge *e);
    void (*edge_give_up)(struct sl_script_edge *e);
    void (*edge_status)(struct sl_script_edge *e,
                        void (*done)(void *arg, const struct sl_tunnel_status *status), void *arg);
    /* For good. */
    void (*edge_close)(struct sl_script_edge *e);

    /* `done` comes once, later: the port, or an error (err of that port; the hub is gone then).
     * A hub that exists keeps its sockets; its certificate is exchanged. */
    struct sl_script_hub *(*hub_open)(void *user, const struct sl_script_hub_opts *opts,
                                      void (*done)(void *arg, uint16_t port,
                                                   const struct sl_err *err),
                                      void *arg);
    void (*hub_set_edges)(struct sl_script_hub *h, const struct sl_hub_edge_spec *specs, size_t n);
    /* The table, valid during `done`. */
    void (*hub_status)(struct sl_script_hub *h,
                       void (*done)(void *arg, const struct sl_hub_stats *stats,
                                    const struct sl_hub_edge_status *edges, size_t n),
                       void *arg);
    void (*hub_close)(struct sl_script_hub *h);
};

#endif
