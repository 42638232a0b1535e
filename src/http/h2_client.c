#include "http/h2_client.h"

#include <pthread.h>

enum {
    STREAM_WINDOW = 256 * 1024,
    CONN_WINDOW = 1024 * 1024,
    MAX_CALLS = 256,       /* on one connection, whatever the target allows */
    MAX_CONTROL = 1000,    /* frames a second that carry nothing */
    STAGE_LEN = 48 * 1024, /* of the scratch memory; TLS works in the rest */
    CHUNK_LEN = 20 * 1024, /* more than nghttp2 gives at once */
    FRAME_HEAD_LEN = 9,
};

static nghttp2_session_callbacks *callbacks;
static nghttp2_option *options;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const struct sl_stream_handler stream_handler;

/* NULL also when the call has parted with the connection before its stream is gone. */
static struct sl_call_private *call_of(nghttp2_session *session, int32_t stream_id)
{
    struct sl_call_private *c = nghttp2_session_get_stream_user_data(session, stream_id);

    return c != NULL && c->h2.conn != NULL ? c : NULL;
}

/* --- its place in the pool --- */

static void count_idle(struct sl_h2_conn *conn)
{
    bool is_idle = sl_link_is_on(&conn->link) && conn->n_calls == 0;

    if (is_idle == conn->is_idle)
        return;
    conn->is_idle = is_idle;
    conn->pool->n_idle += is_idle ? 1 : (size_t)-1;
}

static void leave_bucket(struct sl_h2_conn *conn)
{
    sl_link_remove(&conn->link);
    count_idle(conn);
}

static void enter_bucket(struct sl_h2_conn *conn)
{
    if (conn->id == 0 || conn->is_leaving || conn->is_doubted || sl_link_is_on(&conn->link))
        return;
    sl_list_prepend(&sl_pool_bucket(conn->pool, conn->id)->shared, &conn->link);
    count_idle(conn);
}

static unsigned max_calls(const struct sl_h2_conn *conn)
{
    uint32_t allowed =
        nghttp2_session_get_remote_settings(conn->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);

    return SL_MIN(allowed, (uint32_t)MAX_CALLS);
}

bool sl_h2_conn_has_place(const struct sl_h2_conn *conn)
{
    return conn->n_calls < max_calls(conn);
}

static unsigned n_undecided(const struct sl_h2_conn *conn)
{
    unsigned n = 0;

    sl_list_each(&conn->undecided, it)
    {
        n++;
    }
    return n;
}

struct sl_h2_conn *sl_h2_conn_find(struct sl_pool *p, uint32_t id)
{
    sl_list_each(&sl_pool_bucket(p, id)->shared, it)
    {
        struct sl_h2_conn *conn = sl_container_of(it, struct sl_h2_conn, link);

        if (conn->n_calls + n_undecided(conn) < max_calls(conn))
            return conn;
    }
    return NULL;
}

void sl_h2_conn_join(struct sl_h2_conn *conn, struct sl_call_private *c)
{
    c->h2.conn = conn;
    sl_list_append(&conn->calls, &c->h2.link);
    if (conn->n_calls++ == 0)
        sl_deadline_set(&conn->deadline, conn->pool->opts.ping_interval);
    count_idle(conn);
}

void sl_h2_conn_part(struct sl_h2_conn *conn, struct sl_call_private *c)
{
    c->h2.conn = NULL;
    sl_link_remove(&c->h2.link);
    if (conn->gathers == c) {
        conn->gathers = NULL;
        conn->n_gathered = 0;
    }
    if (--conn->n_calls == 0)
        sl_deadline_set(&conn->deadline, conn->pool->opts.idle_timeout);
    count_idle(conn);
    sl_h2_conn_pump_soon(conn); /* resets its stream; closes when this was the last call */
}

/* --- the end --- */

static void destroy(void *ptr)
{
    struct sl_h2_conn *conn = ptr;

    nghttp2_session_del(conn->session);
    sl_free(conn);
}

static void fail_calls(struct sl_h2_conn *conn, int code, const char *detail)
{
    for (struct sl_link *it; (it = sl_list_pop(&conn->calls)) != NULL;)
        sl_h2_call_lost(sl_container_of(it, struct sl_call_private, h2.link), code, detail);
    for (struct sl_link *it; (it = sl_list_pop(&conn->undecided)) != NULL;)
        sl_call_fail(sl_container_of(it, struct sl_call_private, waiting), code, detail);
    conn->n_calls = 0;
    conn->gathers = NULL;
    conn->n_gathered = 0;
}

void sl_h2_conn_close(struct sl_h2_conn *conn, int code, const char *detail)
{
    bool is_orderly = code == SL_E_CANCELLED || code == SL_E_PROTOCOL;

    if (conn->is_closing)
        return;
    conn->is_closing = true;
    leave_bucket(conn);
    sl_deadline_stop(&conn->deadline);
    fail_calls(conn, code, detail);
    if (code == SL_E_CANCELLED) { /* with a GOAWAY */
        (void)nghttp2_session_terminate_session(conn->session, NGHTTP2_NO_ERROR);
        sl_h2_conn_pump(conn);
    }
    sl_loop_unsoon(&conn->flush);
    sl_stream_free(&conn->stream, is_orderly ? SL_CLOSE_LINGER : SL_CLOSE_ABORT);
    sl_loop_defer(conn->pool->loop, conn, destroy);
}

static void close_broken(struct sl_h2_conn *conn, const char *why)
{
    if (!conn->got_settings)
        why = "the target does not speak HTTP/2";
    else if (conn->why != NULL)
        why = conn->why;
    sl_h2_conn_close(conn, SL_E_PROTOCOL, why);
}

/* Closes what nobody needs any more, and what has broken the rules. */
static void end_if_over(struct sl_h2_conn *conn)
{
    bool is_unused = conn->n_calls == 0 && sl_list_is_empty(&conn->undecided);
    bool is_broken =
        !nghttp2_session_want_read(conn->session) && !nghttp2_session_want_write(conn->session);

    if (is_broken && !is_unused)
        close_broken(conn, "the target broke the rules of HTTP/2");
    else if (is_unused && (is_broken || conn->id == 0 || conn->is_leaving || conn->is_doubted))
        sl_h2_conn_close(conn, SL_E_CANCELLED, NULL);
}

/* --- does it live? --- */

static void ping(struct sl_h2_conn *conn)
{
    if (conn->is_pinging)
        return;
    conn->is_pinging = true;
    (void)nghttp2_submit_ping(conn->session, NGHTTP2_FLAG_NONE, NULL);
    sl_deadline_set(&conn->deadline, conn->pool->opts.ping_timeout);
    sl_h2_conn_pump_soon(conn);
}

void sl_h2_conn_doubt(struct sl_h2_conn *conn)
{
    conn->is_doubted = true;
    leave_bucket(conn);
    ping(conn);
}

static void on_deadline(struct sl_deadline *d)
{
    struct sl_h2_conn *conn = d->user;

    if (conn->n_calls == 0 && sl_list_is_empty(&conn->undecided))
        sl_h2_conn_close(conn, SL_E_CANCELLED, NULL);
    else if (conn->is_pinging)
        sl_h2_conn_doubt(conn);
    else
        ping(conn);
}

static void note_life(struct sl_h2_conn *conn)
{
    conn->is_pinging = conn->is_doubted = false;
    enter_bucket(conn);
    if (conn->n_calls > 0)
        sl_deadline_set(&conn->deadline, conn->pool->opts.ping_interval);
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

/* 0, or what nghttp2 could not do. */
static int send_frames(struct sl_h2_conn *conn)
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

void sl_h2_conn_pump(struct sl_h2_conn *conn)
{
    int rc;

    if (conn->stream == NULL || conn->is_receiving || conn->is_sending)
        return;
    sl_loop_unsoon(&conn->flush);
    rc = send_frames(conn);
    if (rc < 0)
        sl_h2_conn_close(conn, SL_E_SYSTEM, nghttp2_strerror(rc));
    else
        end_if_over(conn);
}

static void pump_later(void *user)
{
    sl_h2_conn_pump(user);
}

void sl_h2_conn_pump_soon(struct sl_h2_conn *conn)
{
    if (!conn->is_closing)
        sl_loop_soon(conn->pool->loop, &conn->flush, pump_later, conn);
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

/* The settings say how many calls there may be, and whether a stream can carry a WebSocket. */
static void on_settings(struct sl_h2_conn *conn)
{
    conn->got_settings = true;
    if (conn->id != 0)
        sl_pool_bucket(conn->pool, conn->id)->max_calls = SL_MAX(max_calls(conn), 1);
    for (struct sl_link *it; (it = sl_list_pop(&conn->undecided)) != NULL;)
        sl_h2_call_attach(sl_container_of(it, struct sl_call_private, waiting), conn, false);
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
        on_settings(conn);
    else if (frame->hd.type == NGHTTP2_GOAWAY) {
        conn->is_leaving = true;
        leave_bucket(conn);
    }
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

static void on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    struct sl_h2_conn *conn = s->user;
    nghttp2_ssize n;

    note_life(conn);
    conn->is_receiving = true;
    n = nghttp2_session_mem_recv2(conn->session, bytes, len);
    sl_h2_conn_tell(conn);
    conn->is_receiving = false;
    if (n < 0)
        close_broken(conn, nghttp2_strerror((int)n));
    else
        sl_h2_conn_pump(conn);
}

static void on_fin(struct sl_stream *s)
{
    sl_h2_conn_close(s->user, SL_E_CLOSED, NULL);
}

static void on_written(struct sl_stream *s)
{
    struct sl_h2_conn *conn = s->user;

    conn->is_blocked = false;
    sl_h2_conn_pump(conn);
}

static void on_error(struct sl_stream *s, int code)
{
    sl_h2_conn_close(s->user, code, NULL);
}

static const struct sl_stream_handler stream_handler = {on_data, on_fin, on_written, on_error,
                                                        NULL};

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

struct sl_h2_conn *sl_h2_conn_new(struct sl_pool *p, uint32_t id, struct sl_stream **stream)
{
    struct sl_h2_conn *conn = sl_zalloc(sizeof(*conn));
    int rc;

    pthread_once(&once, make_tables);
    conn->pool = p;
    conn->id = id;
    conn->stream = *stream;
    *stream = NULL;
    sl_list_init(&conn->calls);
    sl_list_init(&conn->undecided);
    sl_list_init(&conn->sent);
    rc = nghttp2_session_client_new2(&conn->session, callbacks, conn, options);
    sl_assert(rc == 0); /* it can but lack memory */
    sl_deadline_init(&conn->deadline, p->loop, on_deadline, conn);
    sl_deadline_set(&conn->deadline, p->opts.idle_timeout);
    sl_stream_set_handler(conn->stream, &stream_handler, conn);
    sl_stream_read(conn->stream, true);
    greet(conn);
    enter_bucket(conn);
    sl_h2_conn_pump_soon(conn);
    return conn;
}
