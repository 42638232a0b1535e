/*
 * Calls, whatever the version: finding or making a connection, waiting for one that others are
 * making, deadlines and failures.
 */
#include "base/arena.h"
#include "http/h2_client.h"
#include "tls/stream.h"

enum {
    MAX_INTERIM = 32,  /* responses before the final one */
    MAX_WAITING = 100, /* calls for one connection: as many as most servers let it carry */
};

/* A connection that is being made. Calls to a target that may turn out to speak HTTP/2 wait for it
 * together, others have one each. Freed when it is there or has failed, or when nobody waits any
 * more. */
struct sl_opening {
    struct sl_pool *pool;
    struct sl_call_target target;
    struct sl_list waiting; /* of sl_call_private, the first first */
    unsigned n_waiting;
    struct sl_dial dial;
    struct sl_pool_trust *trust; /* for a ca_file */
    struct sl_arena arena; /* of the target's strings, when the call that began it may go first */
    bool is_shared, is_closed;
};

static struct sl_call_private *of(struct sl_call *c)
{
    return sl_container_of(c, struct sl_call_private, pub);
}

static struct sl_call_private *of_waiting(struct sl_link *link)
{
    return sl_container_of(link, struct sl_call_private, waiting);
}

/* --- what happens to a call --- */

static void report_failure(void *user)
{
    struct sl_call_private *c = user;

    c->pub.handler->on_error(&c->pub, c->failure);
}

void sl_call_fail(struct sl_call_private *c, int code, const char *detail)
{
    if (c->failure != 0)
        return;
    c->failure = code;
    c->pub.detail = detail;
    sl_deadline_clear(&c->deadline);
    sl_loop_soon(c->pool->loop, &c->failing, report_failure, c);
}

static void on_deadline(struct sl_deadline *d)
{
    struct sl_call_private *c = d->user;

    if (c->h2.conn != NULL)
        sl_h2_conn_doubt(c->h2.conn);
    sl_call_fail(c, SL_E_TIMEOUT, NULL);
}

void sl_call_connected(struct sl_call_private *c, const struct sl_call_ops *ops, bool was_reused)
{
    c->ops = ops;
    c->pub.was_reused = was_reused;
    c->pub.stage = SL_CALL_SENDING;
    sl_deadline_clear(&c->deadline);
    c->pub.handler->on_connected(&c->pub);
}

bool sl_call_has_no_body(const struct sl_call_private *c)
{
    int status = c->pub.res.status;

    return sl_str_eq(c->method, SL_STR("HEAD")) || status == 204 || status == 304;
}

bool sl_call_interim(struct sl_call_private *c)
{
    if (++c->n_interim > MAX_INTERIM) {
        sl_call_fail(c, SL_E_LIMIT, "too many interim responses");
        return false;
    }
    c->pub.handler->on_interim(&c->pub);
    return !c->is_freed;
}

bool sl_call_head(struct sl_call_private *c)
{
    c->is_raw = c->pub.res.status == 101;
    c->head_given = true;
    c->pub.stage = SL_CALL_BODY;
    sl_deadline_clear(&c->deadline);
    c->pub.handler->on_head(&c->pub);
    return !c->is_freed && c->failure == 0;
}

void sl_call_body(struct sl_call_private *c, const struct iovec *iov, int n_iov, bool fin)
{
    for (int i = 0; i < n_iov; i++)
        c->pub.bytes_in += iov[i].iov_len;
    if (fin) {
        c->pub.stage = SL_CALL_DONE;
        sl_deadline_clear(&c->deadline);
    } else if (c->opts.body_timeout > 0 && !c->is_raw) {
        sl_deadline_set(&c->deadline, c->opts.body_timeout);
    }
    c->pub.handler->on_body(&c->pub, iov, n_iov, fin);
}

void sl_call_written(struct sl_call_private *c)
{
    if (c->pub.stage == SL_CALL_SENDING)
        sl_deadline_clear(&c->deadline);
    c->pub.handler->on_written(&c->pub);
}

/* --- connections that are being made --- */

static void free_opening(void *ptr)
{
    struct sl_opening *o = ptr;

    sl_pool_trust_put(o->trust);
    sl_arena_clear(&o->arena);
    sl_free(o);
}

/* It takes no more calls. Those that wait are its caller's business. */
static void close_opening(struct sl_opening *o)
{
    struct sl_bucket *bucket = o->is_shared ? sl_pool_bucket(o->pool, o->target.id) : NULL;

    if (o->is_closed)
        return;
    o->is_closed = true;
    if (bucket != NULL && bucket->opening == o)
        bucket->opening = NULL;
    sl_dial_cancel(&o->dial);
    sl_loop_defer(o->pool->loop, o, free_opening);
}

/* Takes out the first that has not run out of time just now. */
static struct sl_call_private *next_waiting(struct sl_opening *o)
{
    for (struct sl_link *first; (first = sl_list_pop(&o->waiting)) != NULL;) {
        o->n_waiting--;
        of_waiting(first)->opening = NULL;
        if (of_waiting(first)->failure == 0)
            return of_waiting(first);
    }
    return NULL;
}

static void wait_for(struct sl_opening *o, struct sl_call_private *c)
{
    c->opening = o;
    c->pub.stage = SL_CALL_CONNECTING;
    sl_list_append(&o->waiting, &c->waiting);
    o->n_waiting++;
}

static void stop_waiting(struct sl_call_private *c)
{
    struct sl_opening *o = c->opening;

    sl_link_remove(&c->waiting);
    if (o == NULL)
        return;
    c->opening = NULL;
    if (--o->n_waiting == 0)
        close_opening(o);
}

static bool speaks_http2(const struct sl_opening *o, const struct sl_stream *stream)
{
    if (!o->target.tls)
        return o->target.protocol == SL_CALL_HTTP2;
    return o->target.protocol != SL_CALL_HTTP1 && sl_str_eq(sl_tls_alpn(stream), SL_STR("h2"));
}

/* One call has the connection; the others have waited in vain. */
static void pass_on_http1(struct sl_opening *o, struct sl_stream **stream)
{
    bool is_kept = o->target.preface_len == 0;

    for (struct sl_call_private *c; (c = next_waiting(o)) != NULL;) {
        if (c->target.protocol == SL_CALL_HTTP2)
            sl_call_fail(c, SL_E_PROTOCOL, "the target does not choose HTTP/2");
        else if (*stream != NULL)
            sl_h1_call_attach(c, sl_upstream_new(c->pool, is_kept ? c->target.id : 0, stream),
                              false);
        else
            sl_call_reopen_http1(c);
    }
    sl_stream_free(stream, SL_CLOSE_ABORT);
}

static void on_dialled(struct sl_dial *d, struct sl_stream **stream)
{
    struct sl_opening *o = d->user;
    bool is_kept = o->target.id != 0 && o->target.preface_len == 0;
    bool is_http2 = speaks_http2(o, *stream);

    close_opening(o); /* memory stays until the end of the turn */
    if (is_kept && o->target.protocol == SL_CALL_AUTO)
        sl_pool_bucket(o->pool, o->target.id)->chose_http1 = !is_http2;
    if (!is_http2) {
        pass_on_http1(o, stream);
        return;
    }
    struct sl_h2_conn *conn = sl_h2_conn_new(o->pool, is_kept ? o->target.id : 0, stream);

    for (struct sl_call_private *c; (c = next_waiting(o)) != NULL;)
        sl_h2_call_attach(c, conn, false);
}

static void on_dial_failed(struct sl_dial *d, int code, const char *detail)
{
    struct sl_opening *o = d->user;

    close_opening(o);
    for (struct sl_call_private *c; (c = next_waiting(o)) != NULL;)
        sl_call_fail(c, code,
                     detail != NULL ? sl_arena_dup(c->pub.arena, sl_str_c(detail)).p : NULL);
}

static int tls_client(struct sl_opening *o, struct sl_tls_client **out)
{
    static const enum sl_pool_alpn offers[] = {[SL_CALL_HTTP1] = SL_ALPN_HTTP1,
                                               [SL_CALL_HTTP2] = SL_ALPN_HTTP2,
                                               [SL_CALL_AUTO] = SL_ALPN_BOTH};
    enum sl_pool_alpn alpn = offers[o->target.protocol];
    int rc;

    *out = NULL;
    if (!o->target.tls)
        return 0;
    if (o->target.ca_file == NULL)
        return sl_pool_tls_for(o->pool, o->target.tls_verify, alpn, out);
    rc = sl_pool_trust_get(o->pool, &o->target, alpn, &o->trust);
    *out = rc == 0 ? o->trust->tls : NULL;
    return rc;
}

static struct sl_opening *opening_new(struct sl_call_private *c, bool is_shared)
{
    struct sl_opening *o = sl_zalloc(sizeof(*o));
    struct sl_call_target *t = &o->target;

    o->pool = c->pool;
    o->is_shared = is_shared;
    sl_list_init(&o->waiting);
    *t = c->target;
    if (is_shared) {
        t->host = sl_arena_dup(&o->arena, t->host);
        t->unix_path = sl_arena_dup(&o->arena, t->unix_path);
        t->server_name = sl_arena_dup(&o->arena, t->server_name);
        t->ca_file = t->ca_file != NULL ? sl_arena_dup(&o->arena, sl_str_c(t->ca_file)).p : NULL;
        sl_pool_bucket(o->pool, t->id)->opening = o;
    }
    wait_for(o, c);
    return o;
}

static void dial(struct sl_opening *o, struct sl_call_private *c)
{
    struct sl_dial_opts opts = {
        .loop = o->pool->loop,
        .dns = o->pool->dns,
        .host = o->target.host,
        .unix_path = o->target.unix_path,
        .port = o->target.port,
        .timeout_ms = c->opts.connect_timeout,
        .preface = o->target.preface,
        .preface_len = o->target.preface_len,
        .server_name = o->target.server_name,
    };
    int rc = tls_client(o, &opts.tls);

    if (rc < 0) {
        (void)next_waiting(o);
        close_opening(o);
        sl_call_fail(c, rc, "cannot make a TLS context");
        return;
    }
    sl_dial_start(&o->dial, &opts, on_dialled, on_dial_failed, o);
}

/* --- finding one --- */

static bool is_pooled(const struct sl_call_private *c)
{
    return c->target.id != 0 && c->target.preface_len == 0;
}

static bool has_place(const struct sl_bucket *bucket)
{
    unsigned most = bucket->max_calls > 0 ? SL_MIN(bucket->max_calls, MAX_WAITING) : MAX_WAITING;

    return bucket->opening != NULL && bucket->opening->n_waiting < most;
}

/* Joins the others that wait, or begins. Where HTTP/1 is likely each call goes by itself: it would
 * need a connection of its own in the end. */
void sl_call_reopen(struct sl_call_private *c)
{
    struct sl_bucket *bucket = is_pooled(c) ? sl_pool_bucket(c->pool, c->target.id) : NULL;
    bool is_shared =
        bucket != NULL && (c->target.protocol == SL_CALL_HTTP2 ||
                           (c->target.protocol == SL_CALL_AUTO && !bucket->chose_http1));

    if (is_shared && has_place(bucket)) {
        wait_for(bucket->opening, c);
        if (c->opts.connect_timeout > 0)
            sl_deadline_set(&c->deadline, c->opts.connect_timeout);
        return;
    }
    dial(opening_new(c, is_shared), c);
}

void sl_call_reopen_http1(struct sl_call_private *c)
{
    c->target.protocol = SL_CALL_HTTP1;
    sl_call_reopen(c);
}

static bool take_pooled(struct sl_call_private *c)
{
    struct sl_upstream *up = NULL;
    struct sl_h2_conn *conn = NULL;

    if (c->target.protocol != SL_CALL_HTTP1)
        conn = sl_h2_conn_find(c->pool, c->target.id);
    if (conn == NULL && c->target.protocol != SL_CALL_HTTP2)
        up = sl_pool_take(c->pool, c->target.id);
    if (conn != NULL)
        sl_h2_call_attach(c, conn, true);
    else if (up != NULL)
        sl_h1_call_attach(c, up, true);
    return conn != NULL || up != NULL;
}

struct sl_call *sl_call_start(struct sl_pool *pool, const struct sl_call_target *target,
                              const struct sl_call_opts *opts, struct sl_arena *arena,
                              const struct sl_call_handler *handler, void *user)
{
    struct sl_call_private *c = sl_zalloc(sizeof(*c));

    c->pool = pool;
    c->target = *target;
    c->target.id = sl_pool_id(target->id);
    if (target->protocol == SL_CALL_AUTO && !target->tls)
        c->target.protocol = SL_CALL_HTTP1;
    c->opts = *opts;
    c->pub.handler = handler;
    c->pub.user = user;
    c->pub.arena = arena;
    sl_deadline_init(&c->deadline, pool->loop, on_deadline, c);
    if (opts->fresh || !is_pooled(c) || !take_pooled(c))
        sl_call_reopen(c);
    return &c->pub;
}

/* --- using it --- */

void sl_call_send(struct sl_call *pub, const struct sl_request *req)
{
    struct sl_call_private *c = of(pub);

    c->method = req->method;
    c->ops->send(c, req);
}

static void on_sent(struct sl_call_private *c)
{
    c->request_done = true;
    if (c->pub.stage != SL_CALL_SENDING)
        return;
    c->pub.stage = SL_CALL_HEAD;
    if (c->opts.response_timeout > 0)
        sl_deadline_set(&c->deadline, c->opts.response_timeout);
}

int sl_call_write(struct sl_call *pub, const struct iovec *iov, int n_iov, bool fin)
{
    struct sl_call_private *c = of(pub);
    int rc;

    if (c->failure != 0)
        return c->failure;
    for (int i = 0; i < n_iov; i++)
        pub->bytes_out += iov[i].iov_len;
    rc = c->ops->write(c, iov, n_iov, fin);
    if (fin && !c->is_raw && (rc == 0 || rc == SL_E_AGAIN))
        on_sent(c);
    else if (rc == SL_E_AGAIN && pub->stage == SL_CALL_SENDING && c->opts.response_timeout > 0)
        sl_deadline_set(&c->deadline, c->opts.response_timeout); /* until it takes more */
    return rc;
}

void sl_call_read(struct sl_call *pub, bool on)
{
    struct sl_call_private *c = of(pub);

    if (c->ops == NULL || c->failure != 0)
        return;
    c->ops->read(c, on);
    if (pub->stage == SL_CALL_BODY && !c->is_raw) {
        if (on && c->opts.body_timeout > 0)
            sl_deadline_set(&c->deadline, c->opts.body_timeout);
        else if (!on)
            sl_deadline_clear(&c->deadline); /* we are the slow side */
    }
}

static void free_call(void *ptr)
{
    struct sl_call_private *c = ptr;

    sl_sendq_clear(&c->h2.out);
    sl_buf_clear(&c->h2.in);
    sl_free(c);
}

void sl_call_free(struct sl_call **pc)
{
    struct sl_call_private *c;

    if (*pc == NULL)
        return;
    c = of(*pc);
    *pc = NULL;
    c->is_freed = true;
    sl_loop_unsoon(&c->failing);
    sl_deadline_stop(&c->deadline);
    stop_waiting(c);
    if (c->ops != NULL)
        c->ops->leave(c, c->pub.stage == SL_CALL_DONE && c->failure == 0);
    sl_loop_defer(c->pool->loop, c, free_call);
}
