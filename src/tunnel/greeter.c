#include "tunnel/greeter.h"

#include "tls/stream.h"

enum {
    STREAM_WINDOW = 256 * 1024,
    CONN_WINDOW = 4 << 20,
    MAX_CONN_WINDOW = 64 << 20,
    MAX_STREAMS = 65535,
    MAX_DATAGRAM = 65535,
};

static void end(struct sl_greeter *g, int code, const char *why)
{
    sl_greeter_clear(g);
    g->handler->on_end(g, code, why);
}

/* --- the stream --- */

static void on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    struct sl_greeter *g = s->user;

    sl_buf_append(&g->in, bytes, len);
    g->handler->on_bytes(g);
}

static void on_fin(struct sl_stream *s)
{
    end(s->user, SL_E_CLOSED, "closed by the other side");
}

static void on_written(struct sl_stream *s)
{
    (void)s; /* one line in each direction needs no pacing */
}

/* The reason is a literal or lies in the stream, which is freed at the end of the turn. */
static void on_error(struct sl_stream *s, int code)
{
    const char *why = sl_stream_is_tls(s) ? sl_tls_reason(s) : "";

    end(s->user, code, why[0] != '\0' ? why : sl_error_text(code));
}

static void on_ready(struct sl_stream *s)
{
    struct sl_greeter *g = s->user;

    g->handler->on_open(g);
}

static const struct sl_stream_handler stream_handler = {on_data, on_fin, on_written, on_error,
                                                        on_ready};

void sl_greeter_use_tls(struct sl_greeter *g, struct sl_stream **tls)
{
    g->stream = *tls;
    *tls = NULL;
    sl_stream_set_handler(g->stream, &stream_handler, g);
}

/* --- QUIC --- */

static void on_control(void *user, struct sl_stream *control)
{
    struct sl_greeter *g = user;

    g->stream = control;
    sl_stream_set_handler(control, &stream_handler, g);
    g->handler->on_open(g);
}

static void on_quic_ready(void *user)
{
    struct sl_greeter *g = user;
    struct sl_stream *control;

    if (sl_quic_stream_open(&control, sl_tunnel_quic_streams(g->quic)) < 0)
        end(g, SL_E_PROTOCOL, "the hub allows no stream");
    else
        on_control(g, control);
}

static void on_quic_closed(void *user, int code, const char *why)
{
    end(user, code, why);
}

static const struct sl_tunnel_quic_handler edge_handler = {.on_ready = on_quic_ready,
                                                           .on_closed = on_quic_closed};
static const struct sl_tunnel_quic_handler hub_handler = {.on_control = on_control,
                                                          .on_closed = on_quic_closed};

struct sl_quic_streams *sl_greeter_use_quic(struct sl_greeter *g, bool is_edge)
{
    g->quic = sl_tunnel_quic_new(g->loop, is_edge ? &edge_handler : &hub_handler, g);
    return sl_tunnel_quic_streams(g->quic);
}

void sl_greeter_begin_quic(struct sl_greeter *g, struct sl_quic_conn *conn)
{
    g->conn = conn;
    sl_tunnel_quic_begin(g->quic, conn);
}

/* A tunnel lives for days and carries what thousands of visitors do: more streams and larger
 * windows than a visitor gets; what is piled up is bounded by the streams (quic/stream.h). All of
 * them share one congestion window, which a path that loses one packet in a hundred would keep at
 * nothing with CUBIC: BBR carries fifty times as much there. */
struct sl_quic_settings sl_greeter_quic_settings(uint32_t idle_ms)
{
    struct sl_quic_settings s = sl_quic_settings_default;

    s.idle_timeout = idle_ms;
    s.bbr = true;
    s.max_streams_bidi = MAX_STREAMS;
    s.max_datagram = MAX_DATAGRAM;
    s.stream_window = STREAM_WINDOW;
    s.conn_window = CONN_WINDOW;
    s.max_conn_window = MAX_CONN_WINDOW;
    return s;
}

/* --- what its owner does --- */

void sl_greeter_init(struct sl_greeter *g, struct sl_loop *loop,
                     const struct sl_greeter_handler *handler)
{
    *g = (struct sl_greeter){.loop = loop, .handler = handler};
}

void sl_greeter_say(struct sl_greeter *g, const void *bytes, size_t len, bool fin)
{
    (void)sl_stream_write1(g->stream, bytes, len, fin); /* on_error() says it when it is dead */
}

void sl_greeter_read(struct sl_greeter *g, bool on)
{
    sl_stream_read(g->stream, on);
}

int sl_greeter_attach(struct sl_greeter *g, struct sl_tunnel *t,
                      const struct sl_tunnel_terms *terms)
{
    const uint8_t *first = sl_buf_at(&g->in);
    size_t n_first = sl_buf_len(&g->in);
    int rc;

    if (g->quic == NULL)
        rc = sl_tunnel_attach_frames(t, &g->stream, terms, first, n_first);
    else
        rc = sl_tunnel_attach_quic(t, &g->quic, &g->stream, terms, first, n_first);
    if (rc == 0) {
        g->conn = NULL;
        sl_buf_clear(&g->in);
    }
    return rc;
}

/* The end of a QUIC connection goes first, so that it is not taken for that of the stream. */
void sl_greeter_clear(struct sl_greeter *g)
{
    struct sl_tunnel_quic *quic = g->quic;

    g->quic = NULL;
    g->conn = NULL;
    sl_tunnel_quic_free(quic);
    sl_stream_free(&g->stream, SL_CLOSE_ABORT);
    sl_buf_clear(&g->in);
}
