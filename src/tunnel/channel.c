#include "tunnel/channel.h"

static void update_read(struct sl_tunnel_channel *c)
{
    sl_stream_read(c->below, sl_buf_len(&c->control) < SL_CHANNEL_HIGH);
}

/* --- what leaves --- */

static void flush(void *user)
{
    struct sl_tunnel_channel *c = user;

    c->ops->flush(c);
}

void sl_tunnel_channel_flush_soon(struct sl_tunnel_channel *c)
{
    sl_loop_soon(c->below->loop, &c->flushing, flush, c);
}

void sl_tunnel_channel_put(struct sl_tunnel_channel *c, uint32_t id, enum sl_frame_type type,
                           const void *payload, size_t len)
{
    uint8_t head[SL_FRAME_HEAD];

    sl_frame_head(head, id, type, (uint32_t)len);
    sl_buf_append(&c->control, head, sizeof(head));
    if (len > 0)
        sl_buf_append(&c->control, payload, len);
    sl_tunnel_channel_flush_soon(c);
}

void sl_tunnel_channel_put_credit(struct sl_tunnel_channel *c, struct sl_tunnel_stream *s,
                                  uint32_t n)
{
    const struct sl_tunnel *t = c->link.tunnel;
    uint8_t payload[SL_FRAME_RECEIPT_LEN];

    sl_frame_put_u32(payload, n);
    sl_resume_put_u64(payload + SL_FRAME_CREDIT_LEN, sl_tunnel_stream_receipt(s));
    sl_tunnel_channel_put(c, s->id,
                          t->is_edge ? SL_FRAME_WINDOW_UPDATE : SL_FRAME_WINDOW_UPDATE_BACK,
                          payload, t->resumes ? SL_FRAME_RECEIPT_LEN : SL_FRAME_CREDIT_LEN);
}

void sl_tunnel_channel_put_reset(struct sl_tunnel_channel *c, uint32_t id)
{
    static const uint8_t why[4]; /* nobody has asked for reasons yet */

    sl_tunnel_channel_put(c, id, SL_FRAME_RESET, why, sizeof(why));
}

void sl_tunnel_channel_sent(struct sl_tunnel_channel *c)
{
    sl_buf_clear(&c->control);
    update_read(c);
}

size_t sl_tunnel_channel_waiting(const struct sl_tunnel_link *l)
{
    return sl_buf_len(&sl_container_of(l, const struct sl_tunnel_channel, link)->control);
}

/* --- what arrives --- */

int sl_tunnel_channel_take_credit(struct sl_tunnel_stream *s, const struct sl_frame *f)
{
    int rc = 0;

    if (f->len >= SL_FRAME_RECEIPT_LEN && s->tunnel->resumes)
        rc = sl_tunnel_stream_acked(s, sl_resume_u64(f->bytes + SL_FRAME_CREDIT_LEN));
    if (rc == 0 && f->len >= SL_FRAME_CREDIT_LEN && s->tunnel != NULL)
        sl_tunnel_stream_credit(s, sl_frame_u32(f->bytes));
    return rc;
}

/* Before this a link that replaces another carries nothing of the streams. */
static int take_resume(struct sl_tunnel *t, const struct sl_frame *f)
{
    struct sl_resume peer;

    if (t->is_started || !t->resumes || sl_resume_parse(f->bytes, f->len, &peer) < 0 ||
        sl_tunnel_resumed(t, &peer) < 0)
        return SL_E_PROTOCOL;
    sl_tunnel_start(t);
    sl_tunnel_tell_up(t);
    return 0;
}

/* The original may have types that nobody told us of; a sluice has announced all that it uses. */
static int take_unknown(struct sl_tunnel *t)
{
    t->stats.frames_unknown++;
    return t->resumes ? SL_E_PROTOCOL : 0;
}

/* 0, or why the link cannot go on. */
static int take(struct sl_tunnel_channel *c, const struct sl_frame *f)
{
    struct sl_tunnel *t = c->link.tunnel;
    unsigned peer = t->is_edge ? SL_FRAME_FROM_HUB : SL_FRAME_FROM_EDGE;

    if (sl_frame_senders(f->type) == 0)
        return take_unknown(t);
    if (!(sl_frame_senders(f->type) & peer))
        return SL_E_PROTOCOL;
    switch (f->type) {
    case SL_FRAME_RESUME:
        return take_resume(t, f);
    case SL_FRAME_CONFIG:
    case SL_FRAME_PING:
    case SL_FRAME_PONG:
    case SL_FRAME_UDP_OPEN:
    case SL_FRAME_UDP_DATA:
    case SL_FRAME_UDP_DATA_BACK:
    case SL_FRAME_UDP_CLOSE:
        t->handler->on_frame(t->user, f);
        return 0;
    default:
        return c->ops->take(c, f);
    }
}

static const char *fault(int rc)
{
    return rc == SL_E_LIMIT ? "a frame or a stream is over its limit"
                            : "a frame that must not come here";
}

/* The handler may drop the link, or the tunnel with it, in any of these calls. */
static void take_all(struct sl_tunnel_channel *c, const uint8_t *bytes, size_t len)
{
    struct sl_frame frame;
    int rc = 1;

    while (rc > 0 && c->link.tunnel != NULL &&
           (rc = sl_frame_next(&c->reader, &bytes, &len, &frame)) > 0) {
        int code = take(c, &frame);

        rc = code < 0 ? code : 1;
    }
    if (rc < 0 && c->link.tunnel != NULL)
        sl_tunnel_detach(c->link.tunnel, rc, fault(rc));
}

static void on_data(struct sl_stream *below, const uint8_t *bytes, size_t len)
{
    take_all(below->user, bytes, len);
}

static void on_fin(struct sl_stream *below)
{
    struct sl_tunnel_channel *c = below->user;

    sl_tunnel_detach(c->link.tunnel, SL_E_CLOSED, "closed by the other side");
}

static void on_written(struct sl_stream *below)
{
    flush(below->user);
}

static void on_error(struct sl_stream *below, int code)
{
    struct sl_tunnel_channel *c = below->user;

    sl_tunnel_detach(c->link.tunnel, code, sl_error_text(code));
}

static const struct sl_stream_handler below_handler = {
    .on_data = on_data, .on_fin = on_fin, .on_written = on_written, .on_error = on_error};

/* --- life --- */

/* At the end of the turn, so that nobody is called while the link is being made. */
static void read_first(void *user)
{
    struct sl_tunnel_channel *c = user;

    if (c->link.tunnel->is_started)
        sl_tunnel_tell_up(c->link.tunnel);
    if (c->link.tunnel != NULL)
        take_all(c, sl_buf_at(&c->first), sl_buf_len(&c->first));
    if (c->link.tunnel != NULL)
        update_read(c);
}

void sl_tunnel_channel_attach(struct sl_tunnel_channel *c, struct sl_tunnel *t,
                              struct sl_stream **below, const uint8_t *first, size_t n_first)
{
    c->below = *below;
    *below = NULL;
    sl_stream_set_handler(c->below, &below_handler, c);
    sl_tunnel_attach(t, &c->link);
    if (n_first > 0)
        sl_buf_append(&c->first, first, n_first);
    sl_loop_soon(t->loop, &c->reading_first, read_first, c);
}

static void put_resume(struct sl_tunnel_channel *c, const struct sl_resume *peer)
{
    struct sl_buf ours = {0};

    sl_tunnel_describe(c->link.tunnel, peer, &ours);
    sl_tunnel_channel_put(c, 0, SL_FRAME_RESUME, sl_buf_at(&ours), sl_buf_len(&ours));
    sl_buf_clear(&ours);
}

void sl_tunnel_channel_begin(struct sl_tunnel_channel *c, const struct sl_tunnel_terms *terms)
{
    struct sl_tunnel *t = c->link.tunnel;
    bool is_first = t->is_edge && terms->is_sluice; /* to speak: the hub will answer */

    sl_assert((terms->peer != NULL) == (terms->is_sluice && !t->is_edge));
    sl_tunnel_agree(t, terms);
    if (terms->is_sluice)
        put_resume(c, terms->peer);
    if (t->goes_on && !is_first && sl_tunnel_resumed(t, terms->peer) < 0)
        sl_tunnel_detach(t, SL_E_PROTOCOL, "what the edge says of its streams cannot be true");
    else if (!is_first)
        sl_tunnel_start(t);
}

void sl_tunnel_channel_stop(struct sl_tunnel_channel *c)
{
    c->link.tunnel = NULL;
    sl_loop_unsoon(&c->flushing);
    sl_loop_unsoon(&c->reading_first);
    sl_stream_free(&c->below, SL_CLOSE_ABORT);
}

void sl_tunnel_channel_clear(struct sl_tunnel_channel *c)
{
    sl_frame_reader_clear(&c->reader);
    sl_buf_clear(&c->control);
    sl_buf_clear(&c->first);
}
