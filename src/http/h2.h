/*
 * The inside of the HTTP/2 server, for its files only: h2_server.c (connection, deadlines, the
 * end), h2_receive.c (what nghttp2 tells of the client's frames), h2_send.c (what goes out),
 * h2_budget.c (frames that cost us more than the client), h2_memory.c (of the session). Streams are
 * http/mux.h's.
 */
#ifndef SL_HTTP_H2_H
#define SL_HTTP_H2_H

#include <nghttp2/nghttp2.h>
#include "http/mux.h"

enum sl_h2_budget {
    SL_H2_RESETS,
    SL_H2_PINGS,
    SL_H2_SETTINGS,
    SL_H2_PRIORITIES,
    SL_H2_EMPTY_DATA,
    SL_H2_WINDOW_UPDATES,
    SL_H2_N_BUDGETS,
};

/* What the deadline of a connection is for. Streams have their own. */
enum sl_h2_timing {
    SL_H2_UNTIMED,
    SL_H2_TIMES_PREFACE,
    SL_H2_TIMES_HEAD,
    SL_H2_TIMES_IDLE,
    SL_H2_TIMES_WRITE,
    SL_H2_TIMES_DRAIN, /* between the two GOAWAY frames */
};

enum sl_h2_drain {
    SL_H2_SERVING,
    SL_H2_NOTICED, /* the client was told to open no more streams */
    SL_H2_LAST,    /* later streams are ignored */
};

/* Bytes that a handler is writing just now: they are framed where they lie. */
struct sl_h2_direct {
    struct sl_mux_stream *stream; /* NULL: nobody's */
    const struct iovec *iov;
    size_t at, left; /* in the first of iov; of all */
};

struct sl_h2_out;

struct sl_h2_conn {
    struct sl_http_conn base;
    struct sl_stream *stream;
    const struct sl_http_service *service;
    const struct sl_peer *peer;
    struct sl_loop *loop;
    nghttp2_session *session;
    void *pages; /* its largest buffer: h2_memory.c */
    size_t n_pages;
    struct sl_list streams, closed; /* closed: sl_mux_settle() is due */
    struct sl_mux_stream *head;     /* whose fields are being received; NULL: nobody's */
    struct sl_buf in;               /* what was read before we had the stream */
    struct sl_h2_out *out;          /* while sending */
    struct sl_h2_direct direct;
    struct sl_deadline deadline;
    struct sl_task_link later;
    uint64_t n_requests, minute_ms;
    uint32_t n_streams, spent[SL_H2_N_BUDGETS];
    const char *excess; /* the budget that was overdrawn */
    enum sl_h2_timing timing;
    enum sl_h2_drain drain;
    bool has_greeted, got_settings, in_head, is_receiving;
    bool is_failing; /* the last frames are on their way */
    bool is_broken;  /* nghttp2 cannot even say that */
    bool is_closed, is_told, is_over;
};

/* h2_server.c: goes on at the end of the turn; ends (handlers hear of it inside the call). */
void sl_h2_later(struct sl_h2_conn *c);
void sl_h2_close(struct sl_h2_conn *c, enum sl_close how, int code);
/* Tells the service why the client is sent away; the first reason counts. */
void sl_h2_refuse(struct sl_h2_conn *c, int status, const char *why);
/* What was waited for has come. */
void sl_h2_stop_timing(struct sl_h2_conn *c);
void sl_h2_drain(struct sl_h2_conn *c);
/* The client has confirmed the first GOAWAY, or has had its time. */
void sl_h2_drain_last(struct sl_h2_conn *c);

/* h2_receive.c: makes the session and submits the first frames. */
void sl_h2_session_new(struct sl_h2_conn *c);

/* h2_send.c: writes what nghttp2 has to send until nothing is left or the stream is busy. */
void sl_h2_flush(struct sl_h2_conn *c);
extern const struct sl_mux_ops sl_h2_mux_ops;
int sl_h2_on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *frame_head,
                       size_t len, nghttp2_data_source *source, void *user);

/* h2_memory.c: for the session of this connection, which must end before it. */
nghttp2_mem sl_h2_memory(struct sl_h2_conn *c);

/* h2_budget.c: false when the budget of this minute is used up; c->excess says which. */
bool sl_h2_spend(struct sl_h2_conn *c, enum sl_h2_budget which);
/* Counts a frame by its header. */
bool sl_h2_spend_frame(struct sl_h2_conn *c, const nghttp2_frame_hd *hd);
/* The connection has done honest work: so many window updates are worth it. */
void sl_h2_earn(struct sl_h2_conn *c, size_t n_window_updates);

#endif
