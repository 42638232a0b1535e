/* The frames of an HTTP/2 connection to a target, between nghttp2 and the stream. */
#include "http/h2_client.h"

#include <pthread.h>

enum {
    STREAM_WINDOW = 256 * 1024,
    CONN_WINDOW = 1024 * 1024,
    MAX_CONTROL = 1000,    /* frames a second that carry nothing */
    STAGE_LEN = 48 * 1024, /* of the scratch memory; TLS works in the rest */
    CHUNK_LEN = 20 * 1024, /* more than nghttp2 gives at once */
    FRAME_HEAD_LEN = 9,
};

static nghttp2_session_callbacks *callbacks;
static nghttp2_option *options;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* NULL also when the call has parted with the connection before its stream is gone. */
static struct sl_call_private *call_of(nghttp2_session *session, int32_t stream_id)
{
    struct sl_call_private *c = nghttp2_session_get_stream_user_data(session, stream_id);

    return c != NULL && c->h2.conn != NULL ? c : NULL;
}

/* --- sending --- */

static void write_out(struct sl_h2_conn *conn)
{
    int rc = 0;

    if (conn->n_parts > 0)
        rc = sl_stream_write(conn->stream, conn->parts, conn->n_parts, false);
    conn->n_parts = 0;
    conn->n_staged = 0;
    conn->is_blocked = rc != 0; /* until on_written(), or for ever: on_error() follows */
    for (struct sl_link *it; (it = sl_list_pop(&conn->sent)) != NULL;) {
        struct sl_sendq *q = &sl_container_of(it, struct sl_call_private, h2.sent)->h2.out;

        sl_sendq_acked(q, q->n_unacked);
    }
}

void sl_h2_conn_add(struct sl_h2_conn *conn, const void *bytes, size_t len)
{
    struct iovec *last = conn->n_parts > 0 ? &conn->parts[conn->n_parts - 1] : NULL;

    if (last != NULL && (const uint8_t *)last->iov_base + last->iov_len == bytes) {
        last->iov_len += len;
        return;
    }
    sl_assert(conn->n_parts < SL_H2_PARTS);
    conn->parts[conn->n_parts++] = (struct iovec){(void *)bytes, len};
}

/* nghttp2 gives its bytes until it is asked again. */
static void stage(struct sl_h2_conn *conn, const uint8_t *bytes, size_t len)
{
    uint8_t *at = sl_loop_scratch(conn->pool->loop, 2) + conn->n_staged;

    sl_assert(conn->n_staged + len <= STAGE_LEN);
    memcpy(at, bytes, len);
    conn->n_staged += len;
    sl_h2_conn_add(conn, at, len);
}

/* For a frame of a body and what nghttp2 may give right behind it. False: it has to wait. */
static bool make_room(struct sl_h2_conn *conn)
{
    if (conn->n_staged + FRAME_HEAD_LEN + CHUNK_LEN > STAGE_LEN ||
        conn->n_parts + 1 + SL_H2_PIECES + 1 > SL_H2_PARTS)
        write_out(conn);
    return !conn->is_blocked;
}

int sl_h2_conn_send_frames(struct sl_h2_conn *conn)
{
    nghttp2_ssize n = 0;

    conn->is_sending = true;
    while (!conn->is_blocked) {
        const uint8_t *bytes;

        n = nghttp2_session_mem_send2(conn->session, &bytes);
        if (n <= 0)
            break;
        stage(conn, bytes, (size_t)n);
        (void)make_room(conn);
    }
    if (!conn->is_blocked)
        write_out(conn);
    conn->is_sending = false;
    return n < 0 ? (int)n : 0;
}

static nghttp2_ssize read_body(nghttp2_session *session, int32_t stream_id, uint8_t *into,
                               size_t len, uint32_t *flags, nghttp2_data_source *source, void *user)
{
    struct sl_call_private *c = call_of(session, stream_id);

    (void)into;
    (void)source;
    (void)user;
    return c != NULL ? sl_h2_call_available(c, len, flags) : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

const nghttp2_data_provider2 sl_h2_body = {.read_callback = read_body};

static int send_body(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
                     size_t len, nghttp2_data_source *source, void *user)
{
    struct sl_call_private *c = call_of(session, frame->hd.stream_id);
    struct sl_h2_conn *conn = user;

    (void)source;
    if (c == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (!make_room(conn))
        return NGHTTP2_ERR_WOULDBLOCK;
    stage(conn, head, FRAME_HEAD_LEN);
    sl_h2_call_take(c, len);
    return 0;
}

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct sl_call_private *c = call_of(session, frame->hd.stream_id);

    (void)user;
    if (c != NULL && frame->hd.type == NGHTTP2_HEADERS)
        c->h2.is_sent = true;
    return 0;
}

/* A request that nghttp2 held back and may not send any more, because of a GOAWAY. */
static int on_frame_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int code,
                             void *user)
{
    struct sl_h2_conn *conn = user;

    (void)session;
    (void)code;
    sl_list_each(&conn->calls, it)
    {
        struct sl_call_private *c = sl_container_of(it, struct sl_call_private, h2.link);

        if (frame->hd.type == NGHTTP2_HEADERS && c->h2.id == frame->hd.stream_id && !c->h2.is_sent)
            sl_h2_call_closed(c, NGHTTP2_REFUSED_STREAM, false);
    }
    return 0;
}

/* --- receiving --- */

void sl_h2_conn_tell(struct sl_h2_conn *conn)
{
    struct sl_call_private *c = conn->gathers;
    int n = conn->n_gathered;
    size_t total = 0;

    if (c == NULL)
        return;
    conn->gathers = NULL;
    conn->n_gathered = 0;
    for (int i = 0; i < n; i++)
        total += conn->gathered[i].iov_len;
    (void)nghttp2_session_consume_stream(conn->session, c->h2.id, total);
    if (c->failure == 0)
        sl_call_body(c, conn->gathered, n, c->h2.in_ended && sl_buf_len(&c->h2.in) == 0);
}

/* Says GOAWAY and reads no more; the pump closes the connection then. */
static void break_off(struct sl_h2_conn *conn, uint32_t error, const char *why)
{
    conn->why = why;
    (void)nghttp2_session_terminate_session(conn->session, error);
}

/* Frames cost us work and a target may send them without end: those that move nothing forward are
 * counted. */
static bool carries_nothing(nghttp2_session *session, const nghttp2_frame_hd *hd)
{
    switch (hd->type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_CONTINUATION:
    case NGHTTP2_WINDOW_UPDATE:
        return false;
    case NGHTTP2_DATA:
        return hd->length == 0 && !(hd->flags & NGHTTP2_FLAG_END_STREAM);
    case NGHTTP2_RST_STREAM:
        return call_of(session, hd->stream_id) == NULL;
    default:
        return true;
    }
}

static int on_frame_begins(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user)
{
    struct sl_h2_conn *conn = user;
    uint64_t now = sl_loop_now_ms(conn->pool->loop);

    if (hd->type == NGHTTP2_PUSH_PROMISE) /* our settings were there before the request */
        break_off(conn, NGHTTP2_PROTOCOL_ERROR, "the target pushes");
    if (!carries_nothing(session, hd))
        return 0;
    if (now - conn->control_since_ms >= 1000) {
        conn->control_since_ms = now;
        conn->n_control = 0;
    }
    if (++conn->n_control > MAX_CONTROL)
        break_off(conn, NGHTTP2_ENHANCE_YOUR_CALM, "the target floods us with control frames");
    return 0;
}

static int on_head_begins(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct sl_call_private *c;

    sl_h2_conn_tell(user);
    c = call_of(session, frame->hd.stream_id);
    if (c != NULL)
        sl_h2_call_begin_head(c);
    return 0;
}

static int on_field(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                    size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                    void *user)
{
    struct sl_call_private *c = call_of(session, frame->hd.stream_id);

    (void)flags;
    (void)user;
    return c != NULL ? sl_h2_call_field(c, sl_str((const char *)name, name_len),
                                        sl_str((const char *)value, value_len))
                     : 0;
}

/* Without this nghttp2 would leave such fields out, and the rest of the message would pass. */
static int on_bad_field(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                        nghttp2_rcbuf *value, uint8_t flags, void *user)
{
    struct sl_call_private *c = call_of(session, frame->hd.stream_id);

    (void)name;
    (void)value;
    (void)flags;
    (void)user;
    if (c != NULL)
        c->h2.why = "a bad header field in the response";
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_chunk(nghttp2_session *session, uint8_t flags, int32_t stream_id,
                    const uint8_t *bytes, size_t len, void *user)
{
    struct sl_call_private *c = call_of(session, stream_id);
    struct sl_h2_conn *conn = user;

    (void)flags;
    (void)nghttp2_session_consume_connection(session, len);
    if (conn->gathers != c || conn->n_gathered == SL_H2_GATHER)
        sl_h2_conn_tell(conn);
    c = call_of(session, stream_id); /* it may have been freed meanwhile */
    if (c != NULL)
        sl_h2_call_data(c, bytes, len);
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct sl_call_private *c =
        frame->hd.stream_id != 0 ? call_of(session, frame->hd.stream_id) : NULL;
    struct sl_h2_conn *conn = user;
    bool fin = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

    if (frame->hd.type == NGHTTP2_HEADERS && c != NULL)
        sl_h2_call_end_head(c, fin);
    else if (frame->hd.type == NGHTTP2_DATA && c != NULL && fin)
        sl_h2_call_fin(c);
    else if (frame->hd.type == NGHTTP2_RST_STREAM && c != NULL)
        c->h2.is_reset = true;
    else if (frame->hd.type == NGHTTP2_SETTINGS && !(frame->hd.flags & NGHTTP2_FLAG_ACK))
        sl_h2_conn_on_settings(conn);
    else if (frame->hd.type == NGHTTP2_GOAWAY)
        sl_h2_conn_on_goaway(conn);
    return 0;
}

static int on_bad_frame(nghttp2_session *session, const nghttp2_frame *frame, int code, void *user)
{
    struct sl_call_private *c =
        frame->hd.stream_id != 0 ? call_of(session, frame->hd.stream_id) : NULL;
    struct sl_h2_conn *conn = user;

    if (c != NULL && c->h2.why == NULL)
        c->h2.why = nghttp2_strerror(code);
    if (conn->why == NULL && c == NULL)
        conn->why = nghttp2_strerror(code);
    return 0;
}

static int on_closed(nghttp2_session *session, int32_t stream_id, uint32_t error, void *user)
{
    struct sl_call_private *c = call_of(session, stream_id);
    struct sl_h2_conn *conn = user;

    if (c != NULL && conn->gathers == c)
        sl_h2_conn_tell(conn);
    c = call_of(session, stream_id);
    if (c != NULL)
        sl_h2_call_closed(c, error, c->h2.is_reset);
    return 0;
}

int sl_h2_conn_receive(struct sl_h2_conn *conn, const uint8_t *bytes, size_t len)
{
    nghttp2_ssize n;

    conn->is_receiving = true;
    n = nghttp2_session_mem_recv2(conn->session, bytes, len);
    sl_h2_conn_tell(conn);
    conn->is_receiving = false;
    return n < 0 ? (int)n : 0;
}

/* --- the beginning --- */

static void make_tables(void)
{
    sl_assert(nghttp2_session_callbacks_new(&callbacks) == 0 && nghttp2_option_new(&options) == 0);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, send_body);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_frame_not_sent);
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_frame_begins);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_head_begins);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_field);
    nghttp2_session_callbacks_set_on_invalid_header_callback2(callbacks, on_bad_field);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_bad_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_closed);
    nghttp2_option_set_no_auto_window_update(options, 1);
    nghttp2_option_set_no_closed_streams(options, 1);
}

static void greet(struct sl_h2_conn *conn)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, conn->pool->opts.max_head},
    };

    (void)nghttp2_submit_settings(conn->session, NGHTTP2_FLAG_NONE, settings, SL_COUNT(settings));
    (void)nghttp2_session_set_local_window_size(conn->session, NGHTTP2_FLAG_NONE, 0, CONN_WINDOW);
}

void sl_h2_conn_begin_session(struct sl_h2_conn *conn)
{
    int rc;

    pthread_once(&once, make_tables);
    rc = nghttp2_session_client_new2(&conn->session, callbacks, conn, options);
    sl_assert(rc == 0); /* it can but lack memory */
    greet(conn);
}
