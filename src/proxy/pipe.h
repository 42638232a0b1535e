/*
 * The inside of a raw pipe, for pipe.c (bytes between its sides, and its end) and pipe_target.c
 * (how it comes by a target).
 */
#ifndef SL_PROXY_PIPE_H
#define SL_PROXY_PIPE_H

#include "codec/proxy_header.h"
#include "proxy/internal.h"
#include "tls/dial.h"

/* Belongs to its connection; ends itself, or with sl_pipe_free(). */
struct sl_pipe {
    struct sl_conn *conn;
    struct sl_live *live;
    struct sl_route *route; /* NULL: a hook has named the target */
    struct sl_target *named;
    const struct sl_target *picks[SL_MAX_PICKS];
    const struct sl_target *target;
    size_t n_picks, next_pick;
    struct sl_dial dial;
    struct sl_stream *client, *upstream;
    struct sl_buf first; /* for the target, from before it was connected */
    uint8_t preface[SL_PROXY_HEADER_WRITE_MAX];
    struct sl_deadline deadline;
    uint64_t started_ns;
    const char *error;
    bool is_held; /* the tunnel of the target has no link yet: `deadline` says how long to wait */
    bool is_over;
};

/* pipe.c */
extern const struct sl_stream_handler sl_pipe_handler;
/* There is a target: bytes may move. */
void sl_pipe_join(struct sl_pipe *p, struct sl_stream *upstream);
/* The end, from inside: once, `error` NULL when all is well. */
void sl_pipe_end(struct sl_pipe *p, enum sl_close how, const char *error);

/* pipe_target.c */
/* The next of the picks; `error`: why the one before was none. Ends the pipe when none is left. */
void sl_pipe_next_target(struct sl_pipe *p, const char *error);
/* For a log line that strangers can cause. */
void sl_pipe_target_failed(struct sl_pipe *p, const char *doing, const char *error,
                           const char *detail);

#endif
