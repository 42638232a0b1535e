/*
 * Inside of the HTTP/3 server: the connection (h3_server.c), which is the application of a QUIC
 * connection and ends in good order (h3_leave.c), and its requests (h3_stream.c), which are streams
 * of http/mux.h. Nobody else includes this.
 *
 * nghttp3 stands between the two: frames, QPACK, the rules of messages and the order in which
 * streams are sent are its business. An error that it returns is the end of the connection, and
 * after one it must not be called again: hence SL_H3_CLOSED.
 *
 * Owner: the QUIC connection; freed at the end of the turn of its on_closed().
 */
#ifndef SL_HTTP_H3_H
#define SL_HTTP_H3_H

#include <nghttp3/nghttp3.h>
#include "http/h3_server.h"
#include "http/mux.h"

enum sl_h3_state {
    SL_H3_OPENING, /* our own streams are not open yet */
    SL_H3_OPEN,
    SL_H3_NOTICED, /* the client was asked to open no more streams; it may not know yet */
    SL_H3_LEAVING, /* what comes now is rejected; the connection closes after the last request */
    SL_H3_CLOSED,  /* CONNECTION_CLOSE is on its way; nghttp3 is not called any more */
};

/* Our streams: control, QPACK encoder, QPACK decoder. */
enum { SL_H3_OWN_STREAMS = 3 };

struct sl_h3_conn {
    struct sl_http_conn base;
    struct sl_quic_conn *quic;
    nghttp3_conn *h3;
    const struct sl_http_service *service;
    const struct sl_peer *peer;
    enum sl_h3_state state;
    struct sl_list streams;        /* of sl_mux_stream */
    struct sl_list ended;          /* the same; run_later() has something to do for them */
    struct sl_mux_stream *reading; /* whose bytes nghttp3 is looking at */
    struct sl_deadline grace;      /* between the steps of leaving */
    uint64_t heard_ms;             /* when something was acknowledged or still to be done */
    uint64_t n_requests;
    uint64_t minute_ms; /* when it began */
    uint32_t n_resets;  /* in this minute */
    uint64_t n_known;   /* streams that a PRIORITY_UPDATE may name */
    int64_t own[SL_H3_OWN_STREAMS];
    struct sl_task_link later;
    int end_code; /* of the exchanges that end with it */
    unsigned n_own;
    bool is_over; /* the owner was told */
};

extern const nghttp3_callbacks sl_h3_callbacks;
extern const struct sl_mux_ops sl_h3_mux_ops;

/* Ends the connection with an error of HTTP/3. What is running hears of it when QUIC has closed. */
void sl_h3_close(struct sl_h3_conn *c, uint64_t app_error, const char *why);
/* The same with what nghttp3 has returned. */
void sl_h3_fail(struct sl_h3_conn *c, int liberr);
/* A stream was reset and the client is the cause: closes the connection when it has used up what
 * limits.max_resets allows in a minute. */
void sl_h3_count_reset(struct sl_h3_conn *c);

/* --- h3_leave.c --- */

void sl_h3_leave_init(struct sl_h3_conn *c);
/* Asks the client to open no more streams, and closes after the last one. */
void sl_h3_drain(struct sl_h3_conn *c);

#endif
