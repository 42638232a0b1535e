#include "tunnel/edge.h"

#include "base/clock.h"
#include "base/log.h"
#include "tunnel/edge_try.h"
#include "tunnel/pulse.h"

enum {
    DEFAULT_MAX = 65536,
    DEFAULT_DEAD_MS = 45 * 1000,
    DEFAULT_HOLD_MS = 10 * 1000,
    BEATS = 3, /* looks at the link in the time after which it is dead */
};

struct sl_edge {
    struct sl_edge_opts opts;
    struct sl_tunnel *tunnel; /* always the same one, with or without a link */
    struct sl_sessions sessions;
    struct sl_edge_try *attempt;       /* NULL: none under way */
    struct sl_quic_endpoint *endpoint; /* of the link, over QUIC */
    struct sl_pulse pulse;
    enum sl_edge_transport transport; /* of the link, or of the last one */
    bool is_verified;                 /* its hub has proven who it is */
    uint64_t up_since, n_links;
};

static const char *transport_name(enum sl_edge_transport transport)
{
    return transport == SL_EDGE_QUIC ? "quic" : "tls";
}

static struct sl_field remote_field(const struct sl_edge *e, char *text)
{
    struct sl_addr remote;

    return sl_f_str("hub", sl_pulse_remote(&e->pulse, &remote) ? sl_addr_text(&remote, text) : "");
}

/* --- the link --- */

static void free_endpoint(void *ptr)
{
    sl_quic_endpoint_free(ptr);
}

/* Its connection may be calling us. */
static void set_endpoint(struct sl_edge *e, struct sl_quic_endpoint *endpoint)
{
    if (e->endpoint != NULL)
        sl_loop_defer(e->opts.loop, e->endpoint, free_endpoint);
    e->endpoint = endpoint;
}

static void on_up(void *user, bool resumed)
{
    struct sl_edge *e = user;
    char text[SL_ADDR_TEXT_LEN];

    e->n_links++;
    e->up_since = sl_clock_wall_ms() / 1000;
    sl_log_info("tunnel up", remote_field(e, text),
                sl_f_str("transport", transport_name(e->transport)), sl_f_bool("resumed", resumed),
                sl_f_bool("verified", e->is_verified));
    e->opts.handler->on_up(e->opts.user, resumed);
}

/* A newer link may have taken its place before anybody was told. */
static void on_down(void *user, int code, const char *why)
{
    struct sl_edge *e = user;

    if (!sl_pulse_has_link(&e->pulse)) {
        sl_pulse_stop(&e->pulse);
        set_endpoint(e, NULL);
        e->up_since = 0;
    }
    sl_log_warn("tunnel down", sl_f_str("transport", transport_name(e->transport)),
                sl_f_str("error", why));
    e->opts.handler->on_down(e->opts.user, code, why);
}

static void on_frame(void *user, const struct sl_frame *f)
{
    struct sl_edge *e = user;
    struct sl_frame pong = *f;

    switch (f->type) {
    case SL_FRAME_PING:
        pong.type = SL_FRAME_PONG;
        (void)sl_tunnel_send(e->tunnel, &pong);
        return;
    case SL_FRAME_CONFIG:
        e->opts.handler->on_config(e->opts.user, sl_str((const char *)f->bytes, f->len));
        return;
    default:
        sl_sessions_take(&e->sessions, f); /* nothing else comes from a hub */
    }
}

static const struct sl_tunnel_handler tunnel_handler = {
    .on_frame = on_frame, .on_down = on_down, .on_up = on_up};

/* --- attempts --- */

static void drop_attempt(struct sl_edge *e)
{
    sl_edge_try_free(e->attempt);
    e->attempt = NULL;
}

static void on_answer(struct sl_edge_try *t, struct sl_str line)
{
    struct sl_edge *e = t->user;

    e->opts.handler->on_answer(e->opts.user, line);
}

static void on_failed(struct sl_edge_try *t, int code, const char *why)
{
    struct sl_edge *e = t->user;

    drop_attempt(e);
    e->opts.handler->on_failed(e->opts.user, code, why);
}

static const struct sl_edge_try_handler try_handler = {on_answer, on_failed};

void sl_edge_connect(struct sl_edge *e, const struct sl_edge_attempt *a)
{
    drop_attempt(e);
    e->attempt = sl_edge_try_new(e->opts.loop, e->opts.dns, a, e->opts.dead_ms, &try_handler, e);
}

void sl_edge_accept(struct sl_edge *e, const struct sl_edge_terms *terms)
{
    struct sl_tunnel_terms link = {.is_sluice = terms->is_sluice};
    struct sl_edge_try *t = e->attempt;
    int rc;

    if (t == NULL || !t->is_answered)
        return; /* the connection is gone since; on_failed() has said it */
    memcpy(link.ticket, terms->ticket, sizeof(link.ticket));
    e->transport = t->what.transport;
    e->is_verified = t->what.verify || t->has_pin;
    rc = sl_pulse_attach(&e->pulse, &t->greeter, e->tunnel, &link);
    sl_assert(rc == 0); /* only a hub refuses */
    set_endpoint(e, t->endpoint);
    t->endpoint = NULL;
    drop_attempt(e);
    sl_sessions_use(&e->sessions, e->tunnel);
}

void sl_edge_hang_up(struct sl_edge *e)
{
    if (e->attempt != NULL)
        drop_attempt(e);
    else
        sl_tunnel_detach(e->tunnel, SL_E_CANCELLED, "hung up");
}

void sl_edge_give_up(struct sl_edge *e)
{
    sl_tunnel_give_up(e->tunnel);
}

/* --- what goes through --- */

bool sl_edge_is_up(const struct sl_edge *e)
{
    return sl_tunnel_is_up(e->tunnel);
}

uint32_t sl_edge_hold_ms(const struct sl_edge *e)
{
    return e->opts.hold_ms;
}

struct sl_stream *sl_edge_open(struct sl_edge *e, struct sl_str opening,
                               const struct sl_stream_handler *handler, void *user)
{
    return sl_tunnel_open(e->tunnel, opening, handler, user);
}

struct sl_session *sl_edge_open_session(struct sl_edge *e, const struct sl_proxy_header *from,
                                        const struct sl_session_handler *handler, void *user)
{
    return sl_session_open(&e->sessions, from, handler, user);
}

void sl_edge_status(const struct sl_edge *e, struct sl_tunnel_status *out)
{
    *out = (struct sl_tunnel_status){.transport = e->transport, .links = e->n_links};
    sl_pulse_status(&e->pulse, e->tunnel, &e->sessions, out);
    out->up_since = out->is_up ? e->up_since : 0;
}

/* --- life --- */

struct sl_edge *sl_edge_new(const struct sl_edge_opts *opts)
{
    struct sl_edge *e = sl_zalloc(sizeof(*e));
    struct sl_tunnel_opts tunnel = {.loop = opts->loop,
                                    .handler = &tunnel_handler,
                                    .user = e,
                                    .is_edge = true,
                                    .max_streams = opts->max_streams};

    e->opts = *opts;
    if (opts->max_sessions == 0)
        e->opts.max_sessions = DEFAULT_MAX;
    if (opts->dead_ms == 0)
        e->opts.dead_ms = DEFAULT_DEAD_MS;
    if (opts->hold_ms == 0)
        e->opts.hold_ms = DEFAULT_HOLD_MS;
    e->tunnel = sl_tunnel_new(&tunnel);
    sl_sessions_init(&e->sessions, e->opts.max_sessions, NULL, NULL);
    sl_sessions_use(&e->sessions, e->tunnel);
    sl_pulse_init(&e->pulse, opts->loop, e->opts.dead_ms / BEATS, e->opts.dead_ms, false);
    return e;
}

void sl_edge_free(struct sl_edge *e)
{
    if (e == NULL)
        return;
    drop_attempt(e);
    sl_pulse_stop(&e->pulse);
    sl_sessions_clear(&e->sessions);
    sl_tunnel_free(e->tunnel);
    set_endpoint(e, NULL);
    sl_loop_defer(e->opts.loop, e, sl_free);
}
