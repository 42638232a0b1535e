#include "tunnel/session.h"

#include "tunnel/channel.h"

/* Over QUIC a datagram may overtake the frame that opens its session. */
struct early {
    struct sl_link link;
    uint32_t id;
    size_t len;
    uint8_t bytes[];
};

enum { EARLY_MAX = 16, EARLY_LEN_MAX = 2048 };

static struct sl_str key_of(const struct sl_session *s)
{
    return sl_str((const char *)s->key, sizeof(s->key));
}

static struct sl_session *find(const struct sl_sessions *set, uint32_t id)
{
    uint8_t key[4];

    sl_frame_put_u32(key, id);
    return sl_map_get(&set->by_id, sl_str((const char *)key, sizeof(key)));
}

static void enter(struct sl_session *s, uint32_t id)
{
    s->id = id;
    sl_frame_put_u32(s->key, id);
    *sl_map_at(&s->set->by_id, key_of(s)) = s;
}

static struct sl_session *add(struct sl_sessions *set, uint32_t id, const void *opening, size_t n)
{
    struct sl_session *s = sl_zalloc(sizeof(*s));

    s->set = set;
    memcpy(s->opening, opening, n);
    s->n_opening = (uint8_t)n;
    enter(s, id);
    sl_list_append(&set->list, &s->link);
    return s;
}

static void leave(struct sl_session *s)
{
    sl_map_remove(&s->set->by_id, key_of(s));
    sl_link_remove(&s->link);
    s->set = NULL;
}

/* The holder frees it, in this call or later. */
static void close_session(struct sl_session *s)
{
    leave(s);
    if (s->handler != NULL)
        s->handler->on_closed(s);
}

static int send_frame(const struct sl_sessions *set, enum sl_frame_type type, uint32_t id,
                      const void *bytes, size_t len)
{
    struct sl_frame f = {.stream = id, .type = (uint8_t)type, .bytes = bytes, .len = len};

    return set->tunnel != NULL ? sl_tunnel_send(set->tunnel, &f) : SL_E_CLOSED;
}

/* --- datagrams that came too early --- */

static void drop_early(struct sl_sessions *set, struct early *e)
{
    sl_link_remove(&e->link);
    set->n_early--;
    sl_free(e);
}

static void keep_early(struct sl_sessions *set, const struct sl_frame *f)
{
    struct early *e;

    set->n_dropped++; /* until its session is there */
    if (f->len > EARLY_LEN_MAX)
        return;
    if (set->n_early == EARLY_MAX)
        drop_early(set, sl_container_of(sl_list_first(&set->early), struct early, link));
    e = sl_alloc(sizeof(*e) + f->len);
    *e = (struct early){.id = f->stream, .len = f->len};
    memcpy(e->bytes, f->bytes, f->len);
    sl_list_append(&set->early, &e->link);
    set->n_early++;
}

static void deliver(struct sl_session *s, const uint8_t *bytes, size_t len)
{
    s->n_in++;
    s->set->n_in++;
    s->handler->on_datagram(s, bytes, len);
}

/* The holder may end the session, or the set, in each call: everything is looked up again. */
static void deliver_early(struct sl_sessions *set, uint32_t id)
{
    struct sl_list now;

    sl_list_init(&now);
    sl_list_each(&set->early, it)
    {
        if (sl_container_of(it, struct early, link)->id != id)
            continue;
        sl_link_remove(it);
        set->n_early--;
        set->n_dropped--;
        sl_list_append(&now, it);
    }
    for (struct sl_link *it; (it = sl_list_pop(&now)) != NULL;) {
        struct early *e = sl_container_of(it, struct early, link);
        struct sl_session *s = find(set, id);

        if (s != NULL && s->handler != NULL)
            deliver(s, e->bytes, e->len);
        sl_free(e);
    }
}

/* --- what arrives --- */

static void refuse(struct sl_sessions *set, uint32_t id)
{
    set->n_refused++;
    (void)send_frame(set, SL_FRAME_UDP_CLOSE, id, NULL, 0);
}

/* An edge says it again over each link: the session goes on, unless it is another one by now. */
static bool is_known(struct sl_sessions *set, const struct sl_frame *f)
{
    struct sl_session *s = find(set, f->stream);

    if (s == NULL)
        return false;
    if (s->n_opening == f->len && memcmp(s->opening, f->bytes, f->len) == 0)
        return true;
    close_session(s);
    return false;
}

static void take_open(struct sl_sessions *set, const struct sl_frame *f)
{
    struct sl_proxy_header from;
    const char *why;
    bool fits = f->stream != 0 && f->len <= SL_PROXY_HEADER_WRITE_MAX;

    if (fits && is_known(set, f))
        return;
    if (set->tunnel == NULL)
        return; /* whoever was told of the old one has ended them all */
    if (!fits || set->on_open == NULL || set->by_id.n >= set->max ||
        sl_proxy_header_parse(f->bytes, f->len, &from, &why) != (int)f->len) {
        refuse(set, f->stream);
        return;
    }
    set->on_open(set->user, add(set, f->stream, f->bytes, f->len), &from);
    deliver_early(set, f->stream);
}

static void take_datagram(struct sl_sessions *set, const struct sl_frame *f)
{
    struct sl_session *s = find(set, f->stream);

    if (s != NULL && s->handler != NULL)
        deliver(s, f->bytes, f->len);
    else if (set->on_open != NULL)
        keep_early(set, f);
    else
        set->n_dropped++;
}

void sl_sessions_take(struct sl_sessions *set, const struct sl_frame *f)
{
    struct sl_session *s;

    switch (f->type) {
    case SL_FRAME_UDP_OPEN:
        take_open(set, f);
        return;
    case SL_FRAME_UDP_DATA:
    case SL_FRAME_UDP_DATA_BACK:
        take_datagram(set, f);
        return;
    case SL_FRAME_UDP_CLOSE:
        if ((s = find(set, f->stream)) != NULL)
            close_session(s);
        return;
    default:
        sl_assert(false);
    }
}

/* --- the set --- */

void sl_sessions_init(struct sl_sessions *set, uint32_t max,
                      void (*on_open)(void *user, struct sl_session *s,
                                      const struct sl_proxy_header *from),
                      void *user)
{
    *set = (struct sl_sessions){.max = max, .on_open = on_open, .user = user};
    sl_list_init(&set->list);
    sl_list_init(&set->early);
}

void sl_sessions_clear(struct sl_sessions *set)
{
    struct sl_link *it;

    set->tunnel = NULL;
    while ((it = sl_list_first(&set->list)) != NULL)
        close_session(sl_container_of(it, struct sl_session, link));
    while ((it = sl_list_first(&set->early)) != NULL)
        drop_early(set, sl_container_of(it, struct early, link));
    sl_map_clear(&set->by_id);
}

void sl_sessions_use(struct sl_sessions *set, struct sl_tunnel *tunnel)
{
    set->tunnel = tunnel;
    sl_list_each(&set->list, it)
    {
        sl_container_of(it, struct sl_session, link)->is_announced = false;
    }
}

/* --- one session --- */

/* Streams and sessions draw from one count: nobody knows whether the original keeps them apart. */
static uint32_t next_id(const struct sl_sessions *set)
{
    uint32_t id;

    do {
        id = sl_tunnel_next_id(set->tunnel);
    } while (find(set, id) != NULL);
    return id;
}

struct sl_session *sl_session_open(struct sl_sessions *set, const struct sl_proxy_header *from,
                                   const struct sl_session_handler *handler, void *user)
{
    uint8_t opening[SL_PROXY_HEADER_WRITE_MAX];
    struct sl_session *s;

    if (set->tunnel == NULL || set->by_id.n >= set->max)
        return NULL;
    s = add(set, next_id(set), opening, sl_proxy_header_write(opening, 2, from));
    s->handler = handler;
    s->user = user;
    return s;
}

/* What the link drops the tunnel counts itself. */
static int count(struct sl_session *s, int rc)
{
    if (rc == 0) {
        s->n_out++;
        s->set->n_out++;
        return 0;
    }
    s->n_dropped++;
    s->set->n_dropped += rc != SL_E_AGAIN;
    return rc == SL_E_CLOSED ? SL_E_AGAIN : rc;
}

/* A visitor makes sessions as he likes: their openings must not pile up on a link that stands. */
static int announce(struct sl_session *s)
{
    const struct sl_tunnel *t = s->set->tunnel;
    int rc;

    if (t != NULL && t->link != NULL && t->link->ops->waiting(t->link) > SL_CHANNEL_HIGH)
        return SL_E_LIMIT;
    rc = send_frame(s->set, SL_FRAME_UDP_OPEN, s->id, s->opening, s->n_opening);
    s->is_announced = rc == 0;
    return rc;
}

int sl_session_send(struct sl_session *s, const uint8_t *bytes, size_t len)
{
    struct sl_sessions *set = s->set;
    bool is_edge = set != NULL && set->on_open == NULL;
    int rc;

    if (set == NULL)
        return SL_E_CLOSED;
    if (len > SL_SESSION_DATAGRAM_MAX)
        return count(s, SL_E_LIMIT);
    if (is_edge && !s->is_announced && (rc = announce(s)) < 0)
        return count(s, SL_E_CLOSED);
    return count(s, send_frame(set, is_edge ? SL_FRAME_UDP_DATA : SL_FRAME_UDP_DATA_BACK, s->id,
                               bytes, len));
}

void sl_session_free(struct sl_session **ps)
{
    struct sl_session *s = *ps;

    *ps = NULL;
    if (s == NULL)
        return;
    if (s->set != NULL) {
        if (s->is_announced || s->set->on_open != NULL)
            (void)send_frame(s->set, SL_FRAME_UDP_CLOSE, s->id, NULL, 0);
        leave(s);
    }
    sl_free(s);
}
