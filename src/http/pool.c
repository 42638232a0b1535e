#include "http/h2_client.h"

static const struct sl_stream_handler resting;

enum { MAX_TARGET_IDS = 1 << 20 }; /* connections to targets past this are not kept */

int sl_pool_new(struct sl_pool **out, struct sl_loop *loop, struct sl_dns *dns,
                const struct sl_pool_opts *opts, struct sl_err *err)
{
    struct sl_pool *p = sl_zalloc(sizeof(*p));

    (void)err;
    p->loop = loop;
    p->dns = dns;
    sl_list_init(&p->trusts);
    if (opts != NULL)
        p->opts = *opts;
    if (p->opts.idle_timeout == 0)
        p->opts.idle_timeout = 60000;
    if (p->opts.max_idle == 0)
        p->opts.max_idle = 256;
    if (p->opts.max_head == 0)
        p->opts.max_head = 64 * 1024;
    if (p->opts.ping_interval == 0)
        p->opts.ping_interval = 15000;
    if (p->opts.ping_timeout == 0)
        p->opts.ping_timeout = 5000;
    *out = p;
    return 0;
}

void sl_pool_free(struct sl_pool *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->n_buckets; i++) {
        for (struct sl_link *it; (it = sl_list_first(&p->buckets[i].idle)) != NULL;)
            sl_upstream_close(sl_container_of(it, struct sl_upstream, link), SL_CLOSE_LINGER);
        for (struct sl_link *it; (it = sl_list_first(&p->buckets[i].shared)) != NULL;)
            sl_h2_conn_close(sl_container_of(it, struct sl_h2_conn, link), SL_E_CANCELLED, NULL);
    }
    sl_pool_tls_clear(p);
    sl_free(p->buckets);
    sl_free(p);
}

size_t sl_pool_idle(const struct sl_pool *p)
{
    return p->n_idle;
}

static void move_all(struct sl_list *to, struct sl_list *from)
{
    sl_list_init(to);
    for (struct sl_link *it; (it = sl_list_pop(from)) != NULL;)
        sl_list_append(to, it);
}

static void grow(struct sl_pool *p, size_t n)
{
    struct sl_bucket *bigger = sl_zalloc(n * sizeof(*bigger));

    for (size_t i = 0; i < n; i++) {
        if (i < p->n_buckets) {
            bigger[i] = p->buckets[i];
            move_all(&bigger[i].idle, &p->buckets[i].idle);
            move_all(&bigger[i].shared, &p->buckets[i].shared);
        } else {
            sl_list_init(&bigger[i].idle);
            sl_list_init(&bigger[i].shared);
        }
    }
    sl_free(p->buckets);
    p->buckets = bigger;
    p->n_buckets = n;
}

uint32_t sl_pool_id(uint32_t id)
{
    return id < MAX_TARGET_IDS ? id : 0;
}

struct sl_bucket *sl_pool_bucket(struct sl_pool *p, uint32_t id)
{
    sl_assert(id != 0 && id < MAX_TARGET_IDS);
    if (id >= p->n_buckets)
        grow(p, SL_MAX((size_t)id + 1, p->n_buckets * 2));
    return &p->buckets[id];
}

struct sl_upstream *sl_upstream_new(struct sl_pool *p, uint32_t id, struct sl_stream **stream)
{
    struct sl_upstream *up = sl_zalloc(sizeof(*up));

    up->pool = p;
    up->id = sl_pool_id(id);
    up->stream = *stream;
    *stream = NULL;
    return up;
}

static void leave(struct sl_upstream *up)
{
    if (!sl_link_is_on(&up->link))
        return;
    sl_link_remove(&up->link);
    sl_deadline_clear(&up->deadline);
    up->pool->buckets[up->id].n_idle--;
    up->pool->n_idle--;
}

void sl_upstream_close(struct sl_upstream *up, enum sl_close how)
{
    struct sl_loop *loop = up->pool->loop;

    leave(up);
    if (up->deadline.loop != NULL)
        sl_deadline_stop(&up->deadline);
    sl_stream_free(&up->stream, how);
    sl_loop_defer(loop, up, sl_free);
}

static void on_rest_over(struct sl_deadline *d)
{
    sl_upstream_close(d->user, SL_CLOSE_LINGER);
}

void sl_upstream_rest(struct sl_upstream *up)
{
    struct sl_bucket *bucket = up->id != 0 ? sl_pool_bucket(up->pool, up->id) : NULL;

    up->call = NULL;
    if (bucket == NULL || bucket->n_idle >= up->pool->opts.max_idle) {
        sl_upstream_close(up, SL_CLOSE_LINGER);
        return;
    }
    if (up->deadline.loop == NULL)
        sl_deadline_init(&up->deadline, up->pool->loop, on_rest_over, up);
    sl_deadline_set(&up->deadline, up->pool->opts.idle_timeout);
    sl_stream_set_handler(up->stream, &resting, up);
    sl_stream_read(up->stream, true); /* to notice that the target closes it */
    sl_list_prepend(&bucket->idle, &up->link);
    bucket->n_idle++;
    up->pool->n_idle++;
}

struct sl_upstream *sl_pool_take(struct sl_pool *p, uint32_t id)
{
    struct sl_link *first;
    struct sl_upstream *up;

    if (id == 0 || id >= p->n_buckets || (first = sl_list_first(&p->buckets[id].idle)) == NULL)
        return NULL;
    up = sl_container_of(first, struct sl_upstream, link);
    leave(up);
    return up;
}

/* Whatever a resting connection says ends it: bytes nobody asked for included. */
static void on_rest_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    (void)bytes;
    (void)len;
    sl_upstream_close(s->user, SL_CLOSE_ABORT);
}

static void on_rest_fin(struct sl_stream *s)
{
    sl_upstream_close(s->user, SL_CLOSE_LINGER);
}

static void on_rest_written(struct sl_stream *s)
{
    (void)s;
}

static void on_rest_error(struct sl_stream *s, int code)
{
    (void)code;
    sl_upstream_close(s->user, SL_CLOSE_ABORT);
}

static const struct sl_stream_handler resting = {on_rest_data, on_rest_fin, on_rest_written,
                                                 on_rest_error, NULL};
