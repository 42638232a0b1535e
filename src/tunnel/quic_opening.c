#include "codec/proxy_header.h"
#include "tunnel/quic_internal.h"

/* From one bidirectional stream of a client to the next (RFC 9000, section 2.1). */
enum { ID_STEP = 4 };

static void await_opening(struct sl_carrier *c)
{
    sl_deadline_set(&c->deadline, SL_TUNNEL_QUIC_OPENING_MS);
    sl_stream_read(c->below, true);
}

static bool is_awaited(const struct sl_carrier *c)
{
    return c->deadline.due_ms != 0;
}

/* The stream has said what it is, or never will. */
static void leave_fresh(struct sl_carrier *c)
{
    sl_link_remove(&c->link);
    sl_deadline_clear(&c->deadline);
    c->quic->n_fresh--;
    c->quic->next_opening = c->id + ID_STEP;
}

/* Whose turn it is to say it. */
static void next_in_order(struct sl_tunnel_quic *q)
{
    struct sl_link *it;

    while ((it = sl_list_first(&q->fresh)) != NULL) {
        struct sl_carrier *c = sl_container_of(it, struct sl_carrier, link);

        if (c->id != q->next_opening || is_awaited(c))
            return;
        if (c->below != NULL) {
            await_opening(c);
            return;
        }
        leave_fresh(c);
        sl_carrier_free(c, SL_CLOSE_ABORT);
    }
}

static void opening_is_over(struct sl_carrier *c)
{
    leave_fresh(c);
    if (sl_carrier_tunnel(c)->resumes)
        next_in_order(c->quic);
}

void sl_opening_refuse(struct sl_carrier *c)
{
    opening_is_over(c);
    sl_carrier_free(c, SL_CLOSE_ABORT);
}

static void carry(struct sl_carrier *c, struct sl_tunnel_stream *s)
{
    opening_is_over(c);
    sl_list_append(&c->quic->carriers, &c->link);
    c->s = s;
    s->on_link = c;
}

/* A stream of an earlier link goes on; if it is no more, it ended here in the meantime. */
static int take_resumed(struct sl_carrier *c, struct sl_tunnel_stream *s)
{
    if (s == NULL)
        return SL_E_REFUSED;
    if (s->on_link != NULL)
        return SL_E_PROTOCOL;
    c->is_resumed = true;
    carry(c, s);
    if (s->fin_sent) /* the edge has it already; here it is about the QUIC stream */
        (void)sl_stream_write(c->below, NULL, 0, true);
    sl_carrier_update_read(c);
    sl_carrier_push_soon(c);
    return SL_CARRIER_ID_LEN;
}

/* `id` 0: the edge gives none. The handler may end everything in this call. */
static int take_new(struct sl_carrier *c, uint32_t id, struct sl_str opening)
{
    struct sl_tunnel *t = sl_carrier_tunnel(c);
    struct sl_tunnel_stream *s;
    int rc = sl_tunnel_admit(&s, t, t->resumes ? id : sl_tunnel_next_id(t));

    if (rc < 0)
        return rc;
    carry(c, s);
    sl_carrier_update_read(c);
    t->handler->on_stream(t->user, &s->stream, opening);
    return (int)opening.len;
}

/* SL_E_REFUSED when it is none, which is the end of the stream alone. */
static int take_line(struct sl_carrier *c, const uint8_t *at, size_t len, uint32_t id)
{
    struct sl_proxy_header header;
    const char *why;
    int n = sl_proxy_header_parse(at, len, &header, &why);

    if (n == SL_E_PARTIAL && len < SL_TUNNEL_OPENING_MAX)
        return 0;
    if (n < 0 || header.version != 1)
        return SL_E_REFUSED;
    return take_new(c, id, sl_str((const char *)at, (size_t)n));
}

/* The length of the opening, 0 when more of it is needed, SL_E_REFUSED, or why the link cannot go
 * on. */
static int take_opening(struct sl_carrier *c)
{
    struct sl_tunnel *t = sl_carrier_tunnel(c);
    const uint8_t *at = sl_buf_at(&c->head);
    size_t len = sl_buf_len(&c->head);
    uint32_t id;
    int n;

    if (!t->resumes)
        return take_line(c, at, len, 0);
    if (len < SL_CARRIER_ID_LEN)
        return 0;
    id = sl_frame_u32(at);
    if (!sl_tunnel_is_unseen(t, id))
        return take_resumed(c, sl_tunnel_find(t, id));
    n = take_line(c, at + SL_CARRIER_ID_LEN, len - SL_CARRIER_ID_LEN, id);
    return n > 0 ? n + SL_CARRIER_ID_LEN : n;
}

void sl_opening_data(struct sl_carrier *c, const uint8_t *bytes, size_t len)
{
    struct sl_buf head;
    int n;

    sl_buf_append(&c->head, bytes, len);
    n = take_opening(c);
    if (n == SL_E_REFUSED)
        sl_opening_refuse(c);
    else if (n < 0)
        sl_carrier_fail_link(c, n, "the id of a stream that is there already");
    if (n <= 0 || c->s == NULL)
        return;
    head = c->head; /* the holder may end everything while it reads */
    c->head = (struct sl_buf){0};
    sl_buf_consume(&head, (size_t)n);
    if (sl_buf_len(&head) > 0)
        sl_carrier_deliver(c, sl_buf_at(&head), sl_buf_len(&head));
    sl_buf_clear(&head);
}

/* Before its turn it keeps its place, since the next ones wait for it. */
void sl_opening_error(struct sl_carrier *c)
{
    if (is_awaited(c))
        sl_opening_refuse(c);
    else
        sl_stream_free(&c->below, SL_CLOSE_ABORT);
}

void sl_opening_on_due(struct sl_deadline *d)
{
    sl_opening_refuse(d->user);
}

static struct sl_carrier *add_fresh(struct sl_tunnel_quic *q, struct sl_stream *below)
{
    struct sl_link *before = &q->fresh.head;
    struct sl_carrier *c = sl_carrier_new(q);

    sl_carrier_use(c, below);
    c->id = sl_quic_stream_id(below);
    while (before->prev != &q->fresh.head &&
           sl_container_of(before->prev, struct sl_carrier, link)->id > c->id)
        before = before->prev;
    sl_link_insert(before, &c->link);
    q->n_fresh++;
    return c;
}

void sl_opening_add(struct sl_tunnel_quic *q, struct sl_stream *below)
{
    const struct sl_tunnel *t = q->channel.link.tunnel;
    struct sl_carrier *c = add_fresh(q, below);

    if (t == NULL && q->n_fresh > SL_TUNNEL_QUIC_EARLY)
        sl_quic_close(q->conn, 0, "too many streams before the greeting");
    else if (t != NULL && t->resumes)
        next_in_order(q);
    else if (t != NULL)
        await_opening(c);
}

/* Without the order of a tunnel that resumes they are all looked at at once. */
void sl_opening_begin(struct sl_tunnel_quic *q)
{
    if (q->channel.link.tunnel->resumes) {
        next_in_order(q);
        return;
    }
    sl_list_each(&q->fresh, it)
    {
        struct sl_carrier *c = sl_container_of(it, struct sl_carrier, link);

        if (c->below == NULL)
            sl_opening_refuse(c);
        else
            await_opening(c);
    }
}
