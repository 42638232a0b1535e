/*
 * How the streams of a tunnel go on when a lost link is replaced. Each side says for every stream
 * how much has arrived and how much it has granted; the other one goes back to that byte and sends
 * on. A stream that only one side knows has ended while nobody could be told, or was never heard
 * of.
 */
#include "tunnel/internal.h"

void sl_tunnel_describe(const struct sl_tunnel *t, struct sl_buf *out)
{
    sl_resume_begin(out, t->ticket, t->last_seen_id);
    sl_list_each(&t->streams, it)
    {
        struct sl_tunnel_stream *s = sl_container_of(it, struct sl_tunnel_stream, link);
        struct sl_resume_entry e = {.id = s->id, .granted = s->window.granted};

        e.received = sl_tunnel_stream_receipt(s);
        if (s->is_opened)
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
    if (t->is_edge && sl_tunnel_is_newer(s->id, peer->last_id) && s->opening != NULL) {
        sl_tunnel_stream_rewind(s, SL_WINDOW_FIRST);
        s->is_opened = false;
    } else if (s->fin_sent && s->fin_arrived) {
        (void)sl_tunnel_stream_acked(s, s->out_base + s->out.n_unacked + 1);
    } else {
        sl_tunnel_stream_fail(s, SL_E_RESET);
    }
}

int sl_tunnel_resumed(struct sl_tunnel *t, const struct sl_resume *peer)
{
    bool is_known = memcmp(peer->ticket, t->ticket, sizeof(t->ticket)) == 0;

    for (size_t i = 0; is_known && i < peer->n; i++) {
        struct sl_resume_entry e = sl_resume_at(peer, i);

        if (go_back(t, &e) < 0)
            return SL_E_PROTOCOL;
    }
    sl_list_each(&t->streams, it)
    {
        struct sl_tunnel_stream *s = sl_container_of(it, struct sl_tunnel_stream, link);

        if (!s->is_listed && s->is_opened && is_known)
            judge_unlisted(t, s, peer);
        else if (s->is_opened && !is_known)
            sl_tunnel_stream_fail(s, SL_E_RESET);
        s->is_listed = false;
    }
    return 0;
}
