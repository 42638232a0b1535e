/*
 * The runtime process: the control thread and its workers.
 *
 * runtime.c   the control thread: start, signals, end
 * worker.c    the worker threads
 * publish.c   snapshots, settings and listeners to every worker
 * ports.c     the sockets that are listened on
 * strays.c    QUIC packets that reach the wrong worker
 * tunnels.c   edges and hubs
 * trim.c      memory back to the system after a rush
 * reload.c    a changed script in place of the running one
 * takeover.c  sockets from one sluice to the next
 *
 * Threads: everything in struct sl_runtime belongs to the control thread but for what is atomic or
 * set before the workers start. What goes to a worker goes by sl_loop_post() to its loop, and comes
 * back the same way.
 */
#ifndef SL_APP_RUNTIME_H
#define SL_APP_RUNTIME_H

#include <pthread.h>
#include <stdatomic.h>
#include "app/options.h"
#include "app/ports.h"
#include "app/settings.h"
#include "app/trim.h"
#include "net/dns.h"

struct sl_runtime;
struct sl_tunnels;
struct sl_takeover;

struct sl_worker {
    struct sl_runtime *rt;
    unsigned index; /* from 1 */
    char name[16];
    pthread_t thread;
    bool has_thread;
    struct sl_loop *loop;
    struct sl_dns *dns;
    struct sl_pool *pool;
    struct sl_proxy *proxy;
    struct sl_snapshot *snapshot; /* that the proxy runs: the worker's own reference */
    struct sl_script *script;
    struct sl_script *next_script; /* being put in place by a reload */
    _Atomic size_t n_stray;        /* bytes of strays on their way to it */
    struct sl_err err;             /* why it did not start, or why the next script did not load */
};

struct sl_runtime {
    const struct sl_options *opts;
    struct sl_loop *loop;
    struct sl_dns *dns;
    struct sl_pool *pool;
    struct sl_tls_server *tls;
    struct sl_quic_tls *quic_tls; /* NULL: this machine cannot do QUIC */
    struct sl_script *script;
    struct sl_worker *workers;
    unsigned n_workers, n_up, n_left;
    struct sl_settings *settings; /* the current ones */
    struct sl_list
        all_settings; /* the current and the former ones, which connections may still use */
    _Atomic(const struct sl_proxy_settings *) shared_settings; /* the current ones, for workers */
    uint32_t default_max_connections, max_udp_sockets;         /* of all workers */
    struct sl_snapshot *snapshot;                              /* the one published last */
    struct sl_ports ports;                                     /* listened on */
    struct sl_signal signals[3];
    struct sl_timer drain_timer, ready_timer;
    struct sl_task_link drain_soon; /* a script has asked for it */
    struct sl_trim trim;
    struct sl_reload *reload;
    struct sl_tunnels *tunnels;
    struct sl_takeover *takeover;
    uint32_t drain_grace; /* ms; of sl_proxy_drain() */
    uint64_t started_ns;
    int ready_fd, exit_code;
    bool is_ready, is_draining, is_up, is_quic_missing;
};

/* Runs until the program ends; the exit code. `ready_fd` gets the bytes of app/supervisor.h; -1:
 * none. */
int sl_runtime_run(int ready_fd, const struct sl_options *opts);

/* runtime.c */
void sl_runtime_ready(struct sl_runtime *rt);
void sl_runtime_exit(struct sl_runtime *rt, int code);
/* The end as a signal brings it: no new connections, open requests are finished. */
void sl_runtime_drain(struct sl_runtime *rt);
void sl_runtime_start_script(struct sl_runtime *rt);
int sl_runtime_load(struct sl_runtime *rt, struct sl_script **out, struct sl_err *err);

/* worker.c: on_up / on_drained come on the control loop. */
int sl_worker_start(struct sl_worker *w, struct sl_runtime *rt, unsigned index);
/* Ends the thread. Others may still post to it. */
void sl_worker_stop(struct sl_worker *w);
/* Once every worker has been stopped. */
void sl_worker_free(struct sl_worker *w);
int sl_worker_load(struct sl_worker *w, struct sl_script **out, struct sl_err *err);
void sl_runtime_worker_up(struct sl_worker *w);
void sl_runtime_worker_drained(struct sl_worker *w);
void sl_worker_drain(struct sl_worker *w);
void sl_runtime_stats(void *user, struct sl_script_stats *out);

/* publish.c: the services of scripts. */
void sl_publish(void *user, struct sl_snapshot **snapshot, bool is_tolerant,
                void (*done)(void *arg, const struct sl_published *result), void *arg);
int sl_publish_settings(void *user, const struct sl_setting *rows, size_t n, struct sl_err *err);
/* The routes that are live once more: for ports that can be had now, or are not wanted any more. */
void sl_publish_again(struct sl_runtime *rt);
/* For a worker: puts the reference back on the control thread, which has the time to free thousands
 * of routes. */
void sl_publish_release(struct sl_runtime *rt, struct sl_snapshot *snapshot);

void sl_publish_free(struct sl_runtime *rt);

/* strays.c: hands a QUIC packet on to the worker whose connection it is for (struct sl_proxy_quic);
 * `user` is the worker that has got it. */
void sl_stray_forward(void *user, unsigned worker, uint16_t port,
                      const struct sl_udp_packet *packet);

/* reload.c */
void sl_reload_begin(struct sl_runtime *rt);
/* At the end of the program: the workers have gone. */
void sl_reload_abandon(struct sl_runtime *rt);

#endif
