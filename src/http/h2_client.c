#include "http/h2_client.h"

enum { MAX_CALLS = 256 }; /* on one connection, whatever the target allows */

static const struct sl_stream_handler stream_handler;

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

void sl_h2_conn_pump(struct sl_h2_conn *conn)
{
    int rc;

    if (conn->stream == NULL || conn->is_receiving || conn->is_sending)
        return;
    sl_loop_unsoon(&conn->flush);
    rc = sl_h2_conn_send_frames(conn);
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

/* --- what it hears --- */

/* The settings say how many calls there may be, and whether a stream can carry a WebSocket. */
void sl_h2_conn_on_settings(struct sl_h2_conn *conn)
{
    conn->got_settings = true;
    if (conn->id != 0)
        sl_pool_bucket(conn->pool, conn->id)->max_calls = SL_MAX(max_calls(conn), 1);
    for (struct sl_link *it; (it = sl_list_pop(&conn->undecided)) != NULL;)
        sl_h2_call_attach(sl_container_of(it, struct sl_call_private, waiting), conn, false);
}

void sl_h2_conn_on_goaway(struct sl_h2_conn *conn)
{
    conn->is_leaving = true;
    leave_bucket(conn);
}

static void on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    struct sl_h2_conn *conn = s->user;
    int rc;

    note_life(conn);
    rc = sl_h2_conn_receive(conn, bytes, len);
    if (rc < 0)
        close_broken(conn, nghttp2_strerror(rc));
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

struct sl_h2_conn *sl_h2_conn_new(struct sl_pool *p, uint32_t id, struct sl_stream **stream)
{
    struct sl_h2_conn *conn = sl_zalloc(sizeof(*conn));

    conn->pool = p;
    conn->id = id;
    conn->stream = *stream;
    *stream = NULL;
    sl_list_init(&conn->calls);
    sl_list_init(&conn->undecided);
    sl_list_init(&conn->sent);
    sl_deadline_init(&conn->deadline, p->loop, on_deadline, conn);
    sl_deadline_set(&conn->deadline, p->opts.idle_timeout);
    sl_stream_set_handler(conn->stream, &stream_handler, conn);
    sl_stream_read(conn->stream, true);
    sl_h2_conn_begin_session(conn);
    enter_bucket(conn);
    sl_h2_conn_pump_soon(conn);
    return conn;
}
