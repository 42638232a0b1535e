/*
 * The inside of HTTP/2 to targets (RFC 9113), for the files of the client only: h2_client.c is the
 * connection, h2_client_frames.c what goes over it, h2_client_call.c the call that is one stream of
 * it.
 *
 * A connection stands in the bucket of its target while it may take calls. It leaves the bucket
 * when the target says GOAWAY, and when it looks dead: after a call has timed out, or when it has
 * been silent for `ping_interval` and does not answer a PING within `ping_timeout`. The first byte
 * that comes afterwards shows that it lives and brings it back. Its calls go on in any case, and
 * end by their own deadlines. Without calls it closes after `idle_timeout`, or at once when it may
 * take none.
 *
 * Until its settings are here it has one call: nobody knows how many it allows, and whether it
 * takes WebSockets. Further ones wait for them.
 *
 * Flow control: each stream has a window of STREAM_WINDOW, which opens as the caller takes bytes;
 * that of the connection opens as bytes arrive, so that a slow caller never holds up another.
 *
 * What a target can make us do is bounded: heads by `max_head`, frames that carry nothing by
 * MAX_CONTROL a second, the rest by nghttp2 (CONTINUATION frames, settings, queued answers).
 *
 * Owner: the pool while it is in a bucket, else itself: it closes with its last call. One thread;
 * freed at the end of the turn.
 */
#ifndef SL_HTTP_H2_CLIENT_H
#define SL_HTTP_H2_CLIENT_H

#include <nghttp2/nghttp2.h>
#include "http/head.h"
#include "http/pool.h"

enum {
    SL_H2_GATHER = 32, /* pieces of a body that are told at once */
    SL_H2_PIECES = 16, /* of a body that go into one frame */
    SL_H2_PARTS = 64,  /* pieces that are written at once */
};

struct sl_h2_conn {
    struct sl_stream *stream; /* NULL: closed */
    struct sl_pool *pool;
    nghttp2_session *session;
    uint32_t id;          /* of the target; 0: for one call only */
    struct sl_link link;  /* in bucket->shared */
    struct sl_list calls; /* with a stream, or about to have one */
    struct sl_list
        undecided; /* calls for a WebSocket, until it is known whether that is possible */
    unsigned n_calls;
    struct sl_deadline deadline; /* idle, or silent */
    struct sl_task_link flush;
    /* while something is written */
    struct iovec parts[SL_H2_PARTS];
    int n_parts;
    size_t n_staged;     /* bytes of frames in the scratch memory */
    struct sl_list sent; /* calls whose queues hold some of the pieces */
    /* while something is read */
    struct sl_call_private *gathers; /* whose body these are */
    struct iovec gathered[SL_H2_GATHER];
    int n_gathered;
    uint64_t control_since_ms;
    unsigned n_control; /* frames that carry nothing, since then */
    const char *why;    /* the first thing that was wrong */
    bool is_receiving, is_sending, is_blocked, got_settings, is_leaving, is_doubted, is_pinging,
        is_idle, is_closing;
};

/* Takes the stream. Kept for calls to the target `id`, if that is not 0. */
struct sl_h2_conn *sl_h2_conn_new(struct sl_pool *p, uint32_t id, struct sl_stream **stream);
/* Has it a place for one more? */
bool sl_h2_conn_has_place(const struct sl_h2_conn *conn);
/* One that can take another call, or NULL. */
struct sl_h2_conn *sl_h2_conn_find(struct sl_pool *p, uint32_t id);
/* Ends it; its calls fail with `code`. */
void sl_h2_conn_close(struct sl_h2_conn *conn, int code, const char *detail);
/* A call has waited in vain: no new ones until the target shows that it lives. */
void sl_h2_conn_doubt(struct sl_h2_conn *conn);
/* Sends what is to be sent: now, or at the end of the turn together with what comes until then. */
void sl_h2_conn_pump(struct sl_h2_conn *conn);
void sl_h2_conn_pump_soon(struct sl_h2_conn *conn);
/* A call begins, or has ended, on this connection. */
void sl_h2_conn_join(struct sl_h2_conn *conn, struct sl_call_private *c);
void sl_h2_conn_part(struct sl_h2_conn *conn, struct sl_call_private *c);
/* The settings of the target have come; or its GOAWAY. */
void sl_h2_conn_on_settings(struct sl_h2_conn *conn);
void sl_h2_conn_on_goaway(struct sl_h2_conn *conn);

/* --- h2_client_frames.c --- */

/* Makes the session; our settings are the first that it will send. */
void sl_h2_conn_begin_session(struct sl_h2_conn *conn);
/* Writes what there is, until the stream is full. 0, or an error of nghttp2. */
int sl_h2_conn_send_frames(struct sl_h2_conn *conn);
/* Takes in a batch; calls hear of it meanwhile. 0, or an error of nghttp2. */
int sl_h2_conn_receive(struct sl_h2_conn *conn, const uint8_t *bytes, size_t len);
/* Bytes that go out behind the frames so far; they must stay until the pump has ended. */
void sl_h2_conn_add(struct sl_h2_conn *conn, const void *bytes, size_t len);
/* Tells the call what was gathered of its body. */
void sl_h2_conn_tell(struct sl_h2_conn *conn);
/* The body of a call, for nghttp2_submit_request2(). */
extern const nghttp2_data_provider2 sl_h2_body;

/* --- h2_client_call.c --- */

/* The call becomes a stream of the connection, or fails, or goes elsewhere. */
void sl_h2_call_attach(struct sl_call_private *c, struct sl_h2_conn *conn, bool was_reused);
/* What the session tells of a stream. 0, or NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE to reset it. */
void sl_h2_call_begin_head(struct sl_call_private *c);
int sl_h2_call_field(struct sl_call_private *c, struct sl_str name, struct sl_str value);
void sl_h2_call_end_head(struct sl_call_private *c, bool fin);
/* Bytes that are valid until sl_h2_conn_tell(). */
void sl_h2_call_data(struct sl_call_private *c, const uint8_t *bytes, size_t len);
void sl_h2_call_fin(struct sl_call_private *c);
/* The stream is no more; `by_peer`: the target has reset it. */
void sl_h2_call_closed(struct sl_call_private *c, uint32_t error, bool by_peer);
/* The connection is no more. */
void sl_h2_call_lost(struct sl_call_private *c, int code, const char *detail);
/* For the session: how much of the body is there to be sent, and then the bytes themselves. */
nghttp2_ssize sl_h2_call_available(struct sl_call_private *c, size_t max, uint32_t *flags);
void sl_h2_call_take(struct sl_call_private *c, size_t len);

#endif
