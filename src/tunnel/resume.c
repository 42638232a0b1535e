/*
 * How the streams of a tunnel go on when a lost link is replaced. Each side says for every stream
 * how much has arrived and how much it has granted; the other one goes back to that byte and sends
 * on. A stream that only one side knows has ended while nobody could be told, or was never heard
 * of.
 */
#include "tunnel/internal.h"

static bool is_same(const uint8_t a[SL_RESUME_TICKET], const uint8_t b[SL_RESUME_TICKET])
{
    return memcmp(a, b, SL_RESUME_TICKET) == 0;
}

/* --- whether they go on at all --- */

bool sl_tunnel_is_late(const struct sl_tunnel *t, const struct sl_tunnel_terms *terms)
{
    return terms->peer != NULL && t->resumes && is_same(terms->peer->ticket, t->ticket) &&
           !sl_tunnel_is_newer(terms->peer->attempt, t->attempt);
}

/* Opening it twice does no harm: whoever got it knows nothing of the visitor but his address. */
static bool is_untouched(const struct sl_tunnel_stream *s)
{
    return s->opening != NULL && s->out_base + s->out.n_unacked == 0 && !s->fin_sent &&
           s->window.received == 0 && !s->fin_arrived;
}

/* The peer knows nothing of before. */
static void begin_anew(struct sl_tunnel *t)
{
    t->goes_on = false;
    t->last_seen_id = 0;
    memcpy(t->ticket, t->offered, sizeof(t->ticket));
    sl_list_each(&t->streams, it)
    {
        struct sl_tunnel_stream *s = sl_container_of(it, struct sl_tunnel_stream, link);

        if (s->is_opened && !is_untouched(s))
            sl_tunnel_stream_fail(s, SL_E_RESET);
        else
            s->is_opened = false;
    }
}

void sl_tunnel_agree(struct sl_tunnel *t, const struct sl_tunnel_terms *terms)
{
    const struct sl_resume *peer = terms->peer;

    t->goes_on =
        t->resumes && terms->is_sluice && (peer == NULL || is_same(peer->ticket, t->ticket));
    t->resumes = terms->is_sluice;
    t->attempt = peer != NULL ? peer->attempt : t->attempt + 1;
    memcpy(t->offered, terms->ticket, sizeof(t->offered));
    if (!t->goes_on)
        begin_anew(t);
}

/* --- from which byte --- */

void sl_tunnel_describe(const struct sl_tunnel *t, const struct sl_resume *peer, struct sl_buf *out)
{
    struct sl_resume head = {.attempt = t->attempt, .last_id = t->last_seen_id};
    bool is_known = peer == NULL || is_same(peer->ticket, t->ticket);

    if (is_known)
        memcpy(head.ticket, t->ticket, sizeof(head.ticket));
    sl_resume_begin(out, &head);
    if (!is_known)
        return;
    sl_list_each(&t->streams, it)
    {
        struct sl_tunnel_stream *s = sl_container_of(it, struct sl_tunnel_stream, link);
        struct sl_resume_entry e = {.id = s->id, .granted = s->window.granted};

        if (!s->is_opened)
            continue;
        e.received = sl_tunnel_stream_receipt(s);
        sl_resume_add(out, &e);
    }
}

static int go_back(struct sl_tunnel *t, const struct sl_resume_entry *e)
{
    struct sl_tunnel_stream *s = sl_tunnel_find(t, e->id);

    if (s == NULL)
        return 0; /* ended here; the peer finds out from what we say */
    s->is_listed = true;
    if (sl_tunnel_stream_acked(s, e->received) < 0)
        return SL_E_PROTOCOL;
    if (s->tunnel != NULL) /* that may have been the last of it */
        sl_tunnel_stream_rewind(s, e->granted);
    return 0;
}

/* The peer does not know it. Above its last id it never did; else both directions had ended there,
 * or one end was abrupt. */
static void judge_unlisted(struct sl_tunnel *t, struct sl_tunnel_stream *s,
                           const struct sl_resume *peer)
{
    bool is_unseen = peer->last_id == 0 || sl_tunnel_is_newer(s->id, peer->last_id);

    if (t->is_edge && is_unseen && s->opening != NULL) {
        sl_tunnel_stream_rewind(s, 0); /* its windows open again with it */
        s->is_opened = false;
    } else if (s->fin_sent && s->fin_arrived) {
        (void)sl_tunnel_stream_acked(s, s->out_base + s->out.n_unacked + 1);
    } else {
        sl_tunnel_stream_fail(s, SL_E_RESET);
    }
}

static int go_on(struct sl_tunnel *t, const struct sl_resume *peer)
{
    for (size_t i = 0; i < peer->n; i++) {
        struct sl_resume_entry e = sl_resume_at(peer, i);

        if (go_back(t, &e) < 0)
            return SL_E_PROTOCOL;
    }
    sl_list_each(&t->streams, it)
    {
        struct sl_tunnel_stream *s = sl_container_of(it, struct sl_tunnel_stream, link);

        if (!s->is_listed && s->is_opened)
            judge_unlisted(t, s, peer);
        s->is_listed = false;
    }
    return 0;
}

int sl_tunnel_resumed(struct sl_tunnel *t, const struct sl_resume *peer)
{
    static const uint8_t zeros[SL_RESUME_TICKET];

    if (is_same(peer->ticket, t->ticket))
        return go_on(t, peer);
    if (!t->goes_on || !is_same(peer->ticket, zeros))
        return SL_E_PROTOCOL;
    begin_anew(t);
    return 0;
}
