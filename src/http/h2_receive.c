/*
 * What nghttp2 tells of the client's frames. It has checked them; what is an error of a stream or
 * of the connection it answers itself, and sl_h2_close() follows when its GOAWAY has left.
 */
#include "http/h2.h"

#include <pthread.h>

static nghttp2_session_callbacks *callbacks;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* nghttp2 stops at once when a callback fails. */
static int go_on(const struct sl_h2_conn *c)
{
    return c->is_closed || c->excess != NULL ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static struct sl_mux_stream *find(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user)
{
    struct sl_h2_conn *c = user;

    (void)session;
    (void)sl_h2_spend_frame(c, hd);
    return go_on(c);
}

/* RFC 9113, 5.1.2. That we count, and not nghttp2, see send_settings(). */
static void refuse_stream(nghttp2_session *session, int32_t id)
{
    nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct sl_h2_conn *c = user;
    struct sl_mux_stream *s;

    c->in_head = true;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        c->head = find(session, frame->hd.stream_id);
        return 0;
    }
    c->head = NULL;
    if (c->n_streams >= c->service->limits.max_streams) {
        refuse_stream(session, frame->hd.stream_id);
        return 0;
    }
    s = sl_mux_new(&sl_h2_mux_ops, c->service, c->peer, c->loop, SL_HTTP_2);
    s->conn = c;
    s->id = frame->hd.stream_id;
    sl_list_append(&c->streams, &s->link);
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, s);
    c->n_streams++;
    c->head = s;
    sl_h2_stop_timing(c); /* a new request has a new deadline */
    return 0;
}

static struct sl_str of_rcbuf(nghttp2_rcbuf *buf)
{
    nghttp2_vec v = nghttp2_rcbuf_get_buf(buf);

    return sl_str((const char *)v.base, v.len);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                     nghttp2_rcbuf *value, uint8_t flags, void *user)
{
    struct sl_h2_conn *c = user;

    (void)session;
    (void)frame;
    (void)flags;
    if (c->head != NULL)
        sl_head_field(&c->head->head, of_rcbuf(name), of_rcbuf(value));
    return 0;
}

/* nghttp2 would leave the field out and go on; a request with such a field is malformed. */
static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame,
                             nghttp2_rcbuf *name, nghttp2_rcbuf *value, uint8_t flags, void *user)
{
    (void)session;
    (void)frame;
    (void)name;
    (void)value;
    (void)flags;
    (void)user;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static void end_head(struct sl_h2_conn *c, const nghttp2_frame *frame)
{
    struct sl_mux_stream *s = c->head;
    bool fin = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;

    c->in_head = false;
    c->head = NULL;
    if (s == NULL)
        return;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        if (fin)
            sl_mux_on_body(s, NULL, 0, true);
        return;
    }
    c->n_requests++;
    sl_h2_earn(c, 4);
    sl_mux_on_head(s, fin);
    if (c->n_requests == c->service->limits.max_requests && !c->is_closed)
        sl_h2_drain(c);
}

static void end_data(struct sl_h2_conn *c, nghttp2_session *session, const nghttp2_frame *frame)
{
    struct sl_mux_stream *s = find(session, frame->hd.stream_id);

    if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
        if (frame->hd.length == frame->data.padlen)
            (void)sl_h2_spend(c, SL_H2_EMPTY_DATA);
    } else if (s != NULL) {
        sl_mux_on_body(s, NULL, 0, true);
    }
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct sl_h2_conn *c = user;

    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        end_head(c, frame);
        break;
    case NGHTTP2_DATA:
        end_data(c, session, frame);
        break;
    case NGHTTP2_SETTINGS:
        c->got_settings = true;
        break;
    case NGHTTP2_PING:
        if (frame->hd.flags & NGHTTP2_FLAG_ACK && c->drain == SL_H2_NOTICED)
            sl_h2_drain_last(c);
        break;
    default:
        break;
    }
    return go_on(c);
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
                   size_t len, void *user)
{
    struct sl_h2_conn *c = user;
    struct sl_mux_stream *s = find(session, id);

    (void)flags; /* the end may be that of a frame of which this is a part */
    if (s != NULL)
        sl_mux_on_body(s, bytes, len, false);
    else
        nghttp2_session_consume(session, id, len);
    return go_on(c);
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *user)
{
    struct sl_h2_conn *c = user;
    struct sl_mux_stream *s = find(session, id);

    if (s == NULL)
        return 0;
    if (c->head == s) {
        c->head = NULL;
        c->in_head = false;
    }
    c->n_streams--;
    sl_link_remove(&s->link);
    sl_list_append(&c->closed, &s->link);
    if (error != NGHTTP2_NO_ERROR)
        sl_mux_on_reset(s, error == NGHTTP2_CANCEL ? SL_E_CANCELLED : SL_E_RESET);
    sl_mux_on_closed(s);
    sl_h2_later(c);
    return 0;
}

/* A reset that the client provoked; ours have their reasons elsewhere. */
static void on_reset_sent(struct sl_h2_conn *c, const struct sl_mux_stream *s)
{
    if (s == NULL || !s->is_reset)
        (void)sl_h2_spend(c, SL_H2_RESETS);
}

static void on_goaway_sent(struct sl_h2_conn *c, uint32_t error)
{
    if (c->drain == SL_H2_NOTICED) /* the answer says that the client has seen it */
        nghttp2_submit_ping(c->session, NGHTTP2_FLAG_NONE, NULL);
    if (error != NGHTTP2_NO_ERROR)
        sl_h2_refuse(c, error == NGHTTP2_ENHANCE_YOUR_CALM ? 429 : 400,
                     c->excess != NULL ? c->excess : nghttp2_http2_strerror(error));
}

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct sl_h2_conn *c = user;
    struct sl_mux_stream *s;

    if (frame->hd.type == NGHTTP2_GOAWAY) {
        on_goaway_sent(c, frame->goaway.error_code);
        return 0;
    }
    if (frame->hd.stream_id == 0)
        return 0;
    s = find(session, frame->hd.stream_id);
    if (frame->hd.type == NGHTTP2_RST_STREAM)
        on_reset_sent(c, s);
    else if (s != NULL && frame->hd.flags & NGHTTP2_FLAG_END_STREAM &&
             (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA))
        sl_mux_on_end_sent(s);
    return 0;
}

static void make_callbacks(void)
{
    nghttp2_session_callbacks *cb;

    sl_assert(nghttp2_session_callbacks_new(&cb) == 0);
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(cb, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback2(cb, on_invalid_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_sent);
    nghttp2_session_callbacks_set_send_data_callback(cb, sl_h2_on_send_data);
    callbacks = cb;
}

static nghttp2_option *make_options(const struct sl_http_limits *limits)
{
    nghttp2_option *o;

    sl_assert(nghttp2_option_new(&o) == 0);
    nghttp2_option_set_no_auto_window_update(o, 1); /* credit for what was taken, no other */
    nghttp2_option_set_no_closed_streams(o, 1);
    nghttp2_option_set_max_settings(o, limits->max_settings_entries);
    nghttp2_option_set_max_continuations(o, limits->max_continuations);
    nghttp2_option_set_max_outbound_ack(o, limits->max_unread_acks);
    nghttp2_option_set_stream_reset_rate_limit(o, UINT64_MAX, UINT64_MAX); /* ours: h2_budget.c */
    nghttp2_option_set_builtin_recv_extension_type(o, NGHTTP2_PRIORITY_UPDATE);
    return o;
}

void sl_h2_session_new(struct sl_h2_conn *c)
{
    const struct sl_http_limits *limits = &c->service->limits;
    /* nghttp2 makes an error of the connection of a stream above the limit; RFC 9113 asks for an
     * error of the stream. So it knows of no limit: its entry is changed on the way out. */
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, INT32_MAX},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, SL_MIN(limits->stream_window, (uint32_t)INT32_MAX)},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits->max_head + 32 * limits->max_headers},
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    nghttp2_option *options = make_options(limits);
    nghttp2_mem memory = sl_h2_memory(c);

    pthread_once(&once, make_callbacks);
    sl_assert(nghttp2_session_server_new3(&c->session, callbacks, c, options, &memory) == 0);
    nghttp2_option_del(options);
    nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, SL_COUNT(settings));
    nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0,
                                          (int32_t)SL_MIN(limits->conn_window, INT32_MAX));
}
