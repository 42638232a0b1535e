/*
 * An edge of a hub with its tunnel: what comes through, who is told of it, and how long the tunnel
 * waits for another link.
 */
#include <openssl/crypto.h>
#include "base/clock.h"
#include "tunnel/hub_internal.h"

enum { CONFIGS_WAITING_MAX = 256 * 1024 /* bytes */ };

static void tell(struct sl_hub_edge *e, enum sl_hub_event event, uint32_t stream)
{
    const struct sl_hub_opts *opts = &e->hub->opts;

    if (opts->handler->on_event != NULL)
        opts->handler->on_event(opts->user, event, e, stream);
}

static void tell_up(struct sl_hub_edge *e, bool resumed)
{
    char text[SL_ADDR_TEXT_LEN];

    e->is_up = true;
    e->up_since = sl_clock_wall_ms() / 1000;
    e->entry->n_links++;
    e->hub->stats.n_edges_up++;
    sl_log_info("edge up", sl_f_strn("edge", e->entry->id),
                sl_f_str("remote", sl_addr_text(&e->addr, text)),
                sl_f_str("transport", sl_hub_transport(e->transport)),
                sl_f_bool("resumed", resumed), sl_f_bool("sluice", e->is_sluice));
    tell(e, SL_HUB_EDGE_UP, 0);
}

static void log_down(const struct sl_hub_edge *e, const char *what, const char *why)
{
    char text[SL_ADDR_TEXT_LEN];

    sl_log_warn(what, sl_f_strn("edge", e->entry->id),
                sl_f_str("remote", sl_addr_text(&e->addr, text)),
                sl_f_str("transport", sl_hub_transport(e->transport)), sl_f_str("error", why));
}

static void tell_down(struct sl_hub_edge *e, const char *why)
{
    if (!e->is_up)
        return;
    e->is_up = false;
    e->hub->stats.n_edges_up--;
    log_down(e, "edge down", why);
    tell(e, SL_HUB_EDGE_DOWN, 0);
}

/* --- what comes through the tunnel --- */

/* The original is not known to end the line as the PROXY protocol does. */
static int parse_opening(struct sl_str opening, struct sl_proxy_header *from, const char **why)
{
    uint8_t line[SL_TUNNEL_OPENING_MAX + 2];
    int n = sl_proxy_header_parse((const uint8_t *)opening.p, opening.len, from, why);

    if (n == SL_E_PARTIAL && opening.len + 2 <= sizeof(line)) {
        memcpy(line, opening.p, opening.len);
        memcpy(line + opening.len, "\r\n", 2);
        opening.len += 2;
        n = sl_proxy_header_parse(line, opening.len, from, why);
    }
    if (n == SL_E_PARTIAL)
        *why = "not a whole PROXY line";
    return n == (int)opening.len && from->version == 1 ? 0 : SL_E_PROTOCOL;
}

static void on_stream(void *user, struct sl_stream *s, struct sl_str opening)
{
    struct sl_hub_edge *e = user;
    const struct sl_hub_opts *opts = &e->hub->opts;
    const char *why = "not a PROXY line alone";
    struct sl_proxy_header from;
    uint32_t id = sl_tunnel_stream_id(s);

    tell(e, SL_HUB_STREAM_OPENED, id);
    if (parse_opening(opening, &from, &why) < 0) {
        sl_log_debug("a stream of an edge begins wrong", sl_f_strn("edge", e->entry->id),
                     sl_f_int("stream", id), sl_f_str("error", why));
        sl_stream_free(&s, SL_CLOSE_ABORT);
        return;
    }
    opts->handler->on_stream(opts->user, e, s, &from);
}

static void on_left(void *user, uint32_t id)
{
    tell(user, SL_HUB_STREAM_CLOSED, id);
}

static void on_session(void *user, struct sl_session *s, const struct sl_proxy_header *from)
{
    struct sl_hub_edge *e = user;

    e->hub->opts.handler->on_session(e->hub->opts.user, e, s, from);
}

static void on_frame(void *user, const struct sl_frame *f)
{
    struct sl_hub_edge *e = user;

    if (f->type != SL_FRAME_PONG)
        sl_sessions_take(&e->sessions, f); /* nothing else comes from an edge */
    else if (e->is_stale)
        sl_hub_edge_send_config(e);
}

static void on_up(void *user, bool resumed)
{
    struct sl_hub_edge *e = user;

    tell_up(e, resumed);
    if (e->is_stale)
        sl_hub_edge_send_config(e);
}

static void on_down(void *user, int code, const char *why)
{
    struct sl_hub_edge *e = user;

    (void)code;
    if (sl_pulse_has_link(&e->pulse))
        return; /* a newer one, which came before anybody was told */
    sl_pulse_stop(&e->pulse);
    if (!e->is_up)
        log_down(e, "a link of an edge failed before it was up", why);
    tell_down(e, why);
    if (e->is_sluice)
        sl_deadline_set(&e->patience, e->hub->opts.resume_ms);
    else
        sl_hub_edge_drop(e, why);
}

static const struct sl_tunnel_handler tunnel_handler = {.on_stream = on_stream,
                                                        .on_frame = on_frame,
                                                        .on_down = on_down,
                                                        .on_up = on_up,
                                                        .on_left = on_left};

static void on_patience_due(struct sl_deadline *d)
{
    struct sl_hub_edge *e = d->user;

    sl_tunnel_give_up(e->tunnel);
    sl_hub_edge_drop(e, NULL);
}

/* When the edge takes nothing it gets the config, as it is by then, with its next PONG. */
void sl_hub_edge_send_config(struct sl_hub_edge *e)
{
    struct sl_str config = e->entry->config;
    struct sl_frame f = {
        .type = SL_FRAME_CONFIG, .bytes = (const uint8_t *)config.p, .len = config.len};
    struct sl_tunnel_stats stats;

    sl_tunnel_stats(e->tunnel, &stats);
    e->is_stale = stats.n_control > CONFIGS_WAITING_MAX;
    if (!e->is_stale)
        (void)sl_tunnel_send(e->tunnel, &f); /* without a link the next greeting says it */
}

/* --- links --- */

static int attach(struct sl_hub_edge *e, struct sl_greeter *g, const struct sl_tunnel_terms *terms)
{
    int rc = sl_pulse_attach(&e->pulse, g, e->tunnel, terms);

    if (rc < 0)
        return rc;
    tell_down(e, "a newer connection of this edge has come");
    sl_deadline_clear(&e->patience);
    e->is_sluice = terms->is_sluice;
    sl_sessions_use(&e->sessions, e->tunnel);
    return 0;
}

static void begin(struct sl_hub_edge *e, struct sl_greeter *g, const struct sl_tunnel_terms *terms)
{
    struct sl_tunnel_opts opts = {.loop = e->hub->opts.loop,
                                  .handler = &tunnel_handler,
                                  .user = e,
                                  .max_streams = e->hub->opts.max_streams};

    if (e->entry->edge != NULL)
        sl_hub_edge_drop(e->entry->edge, "a newer connection of this edge has come");
    e->entry->edge = e;
    e->tunnel = sl_tunnel_new(&opts);
    sl_assert(attach(e, g, terms) == 0); /* nothing was before it */
}

int sl_hub_edge_link(struct sl_hub_edge *e, struct sl_greeter *g, const struct sl_resume *peer)
{
    struct sl_hub_edge *before = e->entry->edge;
    struct sl_tunnel_terms terms = {.is_sluice = peer != NULL, .peer = peer};
    int rc;

    memcpy(terms.ticket, e->ticket, sizeof(terms.ticket));
    if (peer == NULL || before == NULL || !before->is_sluice ||
        CRYPTO_memcmp(peer->ticket, before->ticket, sizeof(before->ticket)) != 0) {
        begin(e, g, &terms);
        return 0;
    }
    if ((rc = attach(before, g, &terms)) == 0) {
        before->addr = e->addr;
        before->transport = e->transport;
        before->is_stale = e->is_stale;
    }
    sl_hub_edge_drop(e, NULL);
    return rc;
}

/* --- life --- */

struct sl_hub_edge *sl_hub_edge_new(struct sl_hub *h, struct sl_hub_entry *entry)
{
    struct sl_hub_edge *e = sl_zalloc(sizeof(*e));
    const struct sl_hub_opts *opts = &h->opts;

    e->hub = h;
    e->entry = entry;
    sl_sessions_init(&e->sessions, opts->max_sessions, on_session, e);
    sl_pulse_init(&e->pulse, opts->loop, opts->ping_ms, opts->dead_ms, true);
    sl_deadline_init(&e->patience, opts->loop, on_patience_due, e);
    return e;
}

void sl_hub_edge_drop(struct sl_hub_edge *e, const char *why)
{
    if (e->entry->edge == e)
        e->entry->edge = NULL;
    tell_down(e, why);
    sl_pulse_stop(&e->pulse);
    sl_deadline_stop(&e->patience);
    sl_sessions_clear(&e->sessions);
    sl_tunnel_free(e->tunnel);
    sl_loop_defer(e->hub->opts.loop, e, sl_free);
}

struct sl_str sl_hub_edge_id(const struct sl_hub_edge *e)
{
    return e->entry->id;
}

const struct sl_addr *sl_hub_edge_addr(const struct sl_hub_edge *e)
{
    return &e->addr;
}

enum sl_edge_transport sl_hub_edge_transport(const struct sl_hub_edge *e)
{
    return e->transport;
}
