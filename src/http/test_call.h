/*
 * For the tests of the HTTP client: one call and what was heard of it.
 *
 *     caller_begin(&c, loop, pool, &origin);
 *     caller_start(&c);
 *     run_until(loop, caller_is_over(&c));
 *     caller_end(&c);
 */
#ifndef SL_HTTP_TEST_CALL_H
#define SL_HTTP_TEST_CALL_H

#include "http/client.h"
#include "http/test_origin.h"

enum caller_event {
    CALLER_NEVER,
    CALLER_CONNECTED,
    CALLER_HEAD,
    CALLER_INTERIM,
    CALLER_BODY,
    CALLER_WRITTEN,
    CALLER_ERROR,
};

struct caller {
    struct sl_loop *loop;
    struct sl_pool *pool;
    struct sl_call_target target;
    struct sl_call_opts opts;
    struct sl_arena arena;
    struct sl_request req;
    struct sl_call *call;
    struct sl_buf body;
    int n_connected, n_head, n_interim, n_body, n_fin, n_written, n_error, code, n_stale;
    int last_interim;
    struct sl_str heads; /* "status name=value|…" of the response */
    struct sl_str trailers;
    bool was_reused, got_bytes, pauses;
    enum sl_call_stage stage_at_error;
    enum caller_event frees_on;
    bool sends_at_once; /* in on_connected() */
};

static inline struct sl_str caller_join(struct caller *c, const struct sl_headers *h)
{
    struct sl_str text = SL_STR("");

    for (unsigned i = 0; i < h->n; i++)
        text = sl_arena_printf(&c->arena, "%.*s%.*s=%.*s|", SL_STR_FMT(text),
                               SL_STR_FMT(h->at[i].name), SL_STR_FMT(h->at[i].value));
    return text;
}

static inline struct caller *caller_heard(struct sl_call *call, enum caller_event what)
{
    struct caller *c = call->user;

    c->n_stale += c->call == NULL && what != CALLER_CONNECTED;
    if (c->frees_on == what) {
        c->call = call;
        sl_call_free(&c->call);
    }
    return c;
}

static inline void caller_on_connected(struct sl_call *call)
{
    struct caller *c = call->user;

    c->call = call;
    c->n_connected++;
    c->was_reused = call->was_reused;
    if (c->sends_at_once) {
        sl_call_send(call, &c->req);
        (void)sl_call_write(call, NULL, 0, true);
    }
    caller_heard(call, CALLER_CONNECTED);
}

static inline void caller_on_head(struct sl_call *call)
{
    struct caller *c = call->user;

    c->n_head++;
    c->heads = sl_arena_printf(&c->arena, "%d %.*s", call->res.status,
                               SL_STR_FMT(caller_join(c, &call->res.headers)));
    caller_heard(call, CALLER_HEAD);
}

static inline void caller_on_interim(struct sl_call *call)
{
    struct caller *c = call->user;

    c->n_interim++;
    c->last_interim = call->res.status;
    caller_heard(call, CALLER_INTERIM);
}

static inline void caller_on_body(struct sl_call *call, const struct iovec *iov, int n_iov,
                                  bool fin)
{
    struct caller *c = call->user;

    sl_check(c->n_head == 1 && c->n_fin == 0 && c->n_error == 0);
    c->n_body++;
    for (int i = 0; i < n_iov; i++)
        sl_buf_append(&c->body, iov[i].iov_base, iov[i].iov_len);
    c->n_fin += fin;
    if (fin)
        c->trailers = caller_join(c, &call->res.trailers);
    caller_heard(call, CALLER_BODY);
    if (c->pauses && c->call != NULL)
        sl_call_read(c->call, false);
}

static inline void caller_on_written(struct sl_call *call)
{
    caller_heard(call, CALLER_WRITTEN)->n_written++;
}

static inline void caller_on_error(struct sl_call *call, int code)
{
    struct caller *c = call->user;

    sl_check(code < 0);
    c->n_error++;
    c->code = code;
    c->stage_at_error = call->stage;
    c->got_bytes = call->got_bytes;
    caller_heard(call, CALLER_ERROR);
}

static inline void caller_begin(struct caller *c, struct sl_loop *loop, struct sl_pool *pool,
                                const struct origin *o)
{
    *c = (struct caller){.loop = loop, .pool = pool, .sends_at_once = true};
    c->target = (struct sl_call_target){
        .host = SL_STR("127.0.0.1"), .port = o != NULL ? origin_port(o) : 0, .id = 7};
    c->req = (struct sl_request){
        .method = SL_STR("GET"), .path = SL_STR("/"), .authority = SL_STR("a.example")};
    c->heads = c->trailers = SL_STR("");
}

static inline void caller_start(struct caller *c)
{
    static const struct sl_call_handler handler = {caller_on_connected, caller_on_head,
                                                   caller_on_interim,   caller_on_body,
                                                   caller_on_written,   caller_on_error};
    struct sl_call *call = sl_call_start(c->pool, &c->target, &c->opts, &c->arena, &handler, c);

    if (c->n_connected == 0)
        c->call = call; /* else on_connected() has come inside the call, and may have freed it */
}

static inline bool caller_is_over(const struct caller *c)
{
    return c->n_fin > 0 || c->n_error > 0;
}

static inline void caller_end(struct caller *c)
{
    sl_check(c->n_stale == 0 && c->n_error <= 1 && c->n_fin <= 1);
    sl_call_free(&c->call);
    sl_buf_clear(&c->body);
    run_quiet(c->loop);
    sl_arena_clear(&c->arena);
}

#endif
