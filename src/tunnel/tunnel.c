#include "tunnel/internal.h"

#include <stdio.h>

/* --- streams --- */

struct sl_tunnel_stream *sl_tunnel_find(const struct sl_tunnel *t, uint32_t id)
{
    uint8_t key[4];

    sl_frame_put_u32(key, id);
    return sl_map_get(&t->by_id, sl_str((const char *)key, sizeof(key)));
}

/* 0 is the tunnel's own; after 2^32 streams the count starts anew and steps over what still lives.
 */
uint32_t sl_tunnel_next_id(struct sl_tunnel *t)
{
    do {
        t->next_id++;
    } while (t->next_id == 0 || sl_tunnel_find(t, t->next_id) != NULL);
    return t->next_id;
}

static void announce(struct sl_tunnel *t, struct sl_tunnel_stream *s)
{
    sl_tunnel_stream_open_windows(s);
    t->link->ops->open(t->link, s);
    s->is_opened = true;
    if (t->resumes)
        return; /* it may have to be said again */
    sl_free(s->opening);
    s->opening = NULL;
}

struct sl_stream *sl_tunnel_open(struct sl_tunnel *t, struct sl_str opening,
                                 const struct sl_stream_handler *handler, void *user)
{
    struct sl_tunnel_stream *s;

    sl_assert(t->is_edge && opening.len <= SL_TUNNEL_OPENING_MAX);
    if (t->by_id.n >= t->max_streams || (s = sl_tunnel_stream_new(t, sl_tunnel_next_id(t))) == NULL)
        return NULL;
    sl_stream_set_handler(&s->stream, handler, user);
    s->opening = sl_strndup(opening.p, opening.len);
    s->n_opening = (uint16_t)opening.len;
    if (t->link != NULL && t->is_started)
        announce(t, s);
    return &s->stream;
}

int sl_tunnel_admit(struct sl_tunnel_stream **out, struct sl_tunnel *t, uint32_t id)
{
    struct sl_tunnel_stream *s;

    if (id == 0 || sl_tunnel_find(t, id) != NULL)
        return SL_E_PROTOCOL;
    if (t->handler->on_stream == NULL || t->by_id.n >= t->max_streams ||
        (s = sl_tunnel_stream_new(t, id)) == NULL)
        return SL_E_REFUSED;
    s->is_opened = true;
    if (sl_tunnel_is_unseen(t, id))
        t->last_seen_id = id;
    *out = s;
    return 0;
}

int sl_tunnel_opened(struct sl_tunnel *t, uint32_t id, struct sl_str opening)
{
    struct sl_tunnel_stream *s;
    int rc = sl_tunnel_admit(&s, t, id);

    if (rc == 0)
        t->handler->on_stream(t->user, &s->stream, opening);
    return rc;
}

uint32_t sl_tunnel_stream_id(const struct sl_stream *s)
{
    return s->ops == &sl_tunnel_stream_ops ? sl_tunnel_stream_of(s)->id : 0;
}

bool sl_tunnel_stream_waits(const struct sl_stream *s)
{
    const struct sl_tunnel *t =
        s->ops == &sl_tunnel_stream_ops ? sl_tunnel_stream_of(s)->tunnel : NULL;

    return t != NULL && !sl_tunnel_is_up(t);
}

/* Those that no link knows yet may wait for the next one. */
static void fail_streams(struct sl_tunnel *t, int code, bool opened_ones_only)
{
    sl_list_each(&t->streams, it)
    {
        struct sl_tunnel_stream *s = sl_container_of(it, struct sl_tunnel_stream, link);

        if (s->is_opened || !opened_ones_only)
            sl_tunnel_stream_fail(s, code);
    }
}

static uint64_t held_by(const struct sl_tunnel_stream *s)
{
    return sl_buf_len(&s->in) + sl_sendq_len(&s->out);
}

static struct sl_tunnel_stream *find_greediest(const struct sl_tunnel *t)
{
    struct sl_tunnel_stream *most = NULL;

    sl_list_each(&t->streams, it)
    {
        struct sl_tunnel_stream *s = sl_container_of(it, struct sl_tunnel_stream, link);

        if (most == NULL || held_by(s) > held_by(most))
            most = s;
    }
    return most;
}

void sl_tunnel_shed(struct sl_tunnel *t)
{
    while (t->budget.held > t->budget.total) {
        struct sl_tunnel_stream *s = find_greediest(t);

        t->stats.streams_reset++;
        if (t->link != NULL && s->is_opened)
            t->link->ops->reset(t->link, s);
        sl_tunnel_stream_fail(s, SL_E_LIMIT);
    }
}

/* --- the link --- */

static void drop_link(struct sl_tunnel *t)
{
    struct sl_tunnel_link *link = t->link;

    t->link = NULL;
    t->is_started = false;
    sl_deadline_clear(&t->receipts);
    if (link != NULL)
        link->ops->free(link);
}

void sl_tunnel_tell_up(struct sl_tunnel *t)
{
    if (t->handler->on_up != NULL)
        t->handler->on_up(t->user, t->goes_on);
}

/* With the original the streams do not survive it: nobody can tell what has arrived there. A link
 * that has come since has ended them when it began. */
static void go_down(void *user)
{
    struct sl_tunnel *t = user;

    if (!t->resumes && t->link == NULL)
        fail_streams(t, SL_E_RESET, true);
    t->handler->on_down(t->user, t->down_code, t->down_why);
}

void sl_tunnel_detach(struct sl_tunnel *t, int code, const char *why)
{
    if (t->link == NULL)
        return;
    drop_link(t);
    t->down_code = code;
    snprintf(t->down_why, sizeof(t->down_why), "%s", why);
    sl_loop_soon(t->loop, &t->going_down, go_down, t);
}

void sl_tunnel_give_up(struct sl_tunnel *t)
{
    fail_streams(t, SL_E_TIMEOUT, false);
}

void sl_tunnel_attach(struct sl_tunnel *t, struct sl_tunnel_link *link)
{
    drop_link(t);
    t->link = link;
    link->tunnel = t;
}

void sl_tunnel_start(struct sl_tunnel *t)
{
    t->is_started = true;
    sl_list_each(&t->streams, it)
    {
        struct sl_tunnel_stream *s = sl_container_of(it, struct sl_tunnel_stream, link);

        if (!s->is_opened)
            announce(t, s);
        else if (t->link->ops->go_on != NULL)
            t->link->ops->go_on(t->link, s);
        sl_tunnel_stream_credit(s, 0); /* it may have something to say already */
    }
}

void sl_tunnel_tell_receipts(struct sl_tunnel *t)
{
    sl_list_each(&t->streams, it)
    {
        struct sl_tunnel_stream *s = sl_container_of(it, struct sl_tunnel_stream, link);

        if (s->told != s->window.received + s->fin_arrived)
            t->link->ops->credit(t->link, s, 0);
    }
}

bool sl_tunnel_is_up(const struct sl_tunnel *t)
{
    return t->link != NULL && t->is_started;
}

int sl_tunnel_send(struct sl_tunnel *t, const struct sl_frame *f)
{
    int rc = t->link != NULL ? t->link->ops->send(t->link, f) : SL_E_CLOSED;

    if (rc == SL_E_AGAIN)
        t->stats.datagrams_dropped++;
    return rc;
}

/* --- life --- */

/* Every second as long as bytes arrive. */
static void on_receipts_due(struct sl_deadline *d)
{
    struct sl_tunnel *t = d->user;

    if (t->link != NULL)
        sl_tunnel_tell_receipts(t);
}

struct sl_tunnel *sl_tunnel_new(const struct sl_tunnel_opts *opts)
{
    struct sl_tunnel *t = sl_zalloc(sizeof(*t));

    t->loop = opts->loop;
    t->handler = opts->handler;
    t->user = opts->user;
    t->is_edge = opts->is_edge;
    t->max_streams = opts->max_streams > 0 ? opts->max_streams : SL_TUNNEL_STREAMS_MAX;
    sl_deadline_init(&t->receipts, t->loop, on_receipts_due, t);
    t->budget.total = opts->budget > 0 ? opts->budget : SL_WINDOW_BUDGET;
    sl_list_init(&t->streams);
    sl_schedule_init(&t->schedule, sl_loop_now_ms(t->loop));
    return t;
}

static void destroy(void *ptr)
{
    struct sl_tunnel *t = ptr;

    sl_map_clear(&t->by_id);
    sl_free(t);
}

void sl_tunnel_free(struct sl_tunnel *t)
{
    if (t == NULL)
        return;
    drop_link(t);
    sl_deadline_stop(&t->receipts);
    sl_loop_unsoon(&t->going_down);
    fail_streams(t, SL_E_CLOSED, false);
    sl_loop_defer(t->loop, t, destroy);
}

void sl_tunnel_stats(const struct sl_tunnel *t, struct sl_tunnel_stats *out)
{
    *out = t->stats;
    out->n_streams = t->by_id.n;
    out->n_ready[SL_TIER_DATA] = t->schedule.n_ready[SL_TIER_DATA];
    out->n_ready[SL_TIER_SUSTAINED] = t->schedule.n_ready[SL_TIER_SUSTAINED];
    out->n_control = t->link != NULL ? t->link->ops->waiting(t->link) : 0;
    out->committed = t->budget.committed;
    out->held = t->budget.held;
}
