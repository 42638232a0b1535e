/*
 * The edges and hubs of the program (script/tunnels.h says what control scripts can do with them).
 * Each is one object with two halves: one that belongs to the control thread, and one that belongs
 * to the first worker, on which all tunnels live. They talk by sl_loop_post(), in order.
 *
 * Life: made in control, at the wish of a script. The half of the worker ends when the object is
 * closed, or with the worker; then control, which is told, frees the object when no script holds it
 * any more, or at the end of the program. They outlive scripts: a reload finds them by name.
 *
 * edges.c  connects, accepts, and what happens then
 * hubs.c   sockets and certificates, the table, the streams for the proxy
 */
#ifndef SL_APP_TUNNELS_H
#define SL_APP_TUNNELS_H

#include "app/runtime.h"
#include "script/tunnels.h"

struct sl_tunnels {
    struct sl_runtime *rt;
    struct sl_script_tunnels services;
    struct sl_list edges, hubs;             /* control's */
    struct sl_list edges_there, hubs_there; /* the worker's: of halves that are alive */
    bool has_told_crash;
    bool is_over; /* the worker has gone */
};

/* tunnels.c: control */
struct sl_tunnels *sl_tunnels_new(struct sl_runtime *rt);
/* The workers have ended. */
void sl_tunnels_stop(struct sl_tunnels *t);
/* The workers have been freed, and the scripts, and the loop of control. NULL is legal. */
void sl_tunnels_free(struct sl_tunnels *t);
/* To the worker. Not when that has gone: what is asked for then carries nothing. */
void sl_tunnels_post(struct sl_tunnels *t, void (*fn)(void *), void *arg);
/* Something is opened: tells the bus once that the runtime had to be started again. */
void sl_tunnels_opened(struct sl_tunnels *t);

/* The first worker. */
void sl_tunnels_end_there(struct sl_tunnels *t);
struct sl_edge *sl_tunnels_find_edge(void *worker, struct sl_str name);

/* Any thread. */
struct sl_worker *sl_tunnels_worker(const struct sl_tunnels *t);
/* An event on the topic "tunnel" of the bus: {"event":"streamOpened","edgeId":"a","streamId":7}.
 * `id_key` NULL: without the second member; `stream` 0: without the third. */
void sl_tunnels_publish(const char *event, const char *id_key, struct sl_str id, uint32_t stream);

/* edges.c */
void sl_edges_fill(struct sl_script_tunnels *services);
void sl_edges_end_there(struct sl_tunnels *t);
void sl_edges_clear(struct sl_tunnels *t);
struct sl_edge *sl_edges_find(struct sl_tunnels *t, struct sl_str name);

/* hubs.c */
void sl_hubs_fill(struct sl_script_tunnels *services);
void sl_hubs_end_there(struct sl_tunnels *t);
void sl_hubs_clear(struct sl_tunnels *t);

#endif
