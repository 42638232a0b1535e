/* A hub with two edges, and connections that say anything: greetings, first frames with the tickets
   of each other, frames; while time passes, the table changes and a script decides. Each byte that
   is no text is something that happens. Nothing is left behind, whatever the order. */
#include "net/pair.h"
#include "tunnel/hub_internal.h"

enum { CONNS = 3, HELD_MAX = 8 };

struct conn {
    struct sl_stream *stream;
    struct sl_buf in;
};

static struct sl_loop *loop;
static struct sl_hub *hub;
static struct conn conns[CONNS];
static struct sl_hub_edge *asked;
static struct sl_stream *held[HELD_MAX];
static struct sl_session *session;
static int n_held, n_up;
static uint8_t mood; /* of the script */

/* --- the hub's handler --- */

static int on_edge(void *user, struct sl_hub_edge *e)
{
    (void)user;
    if (mood % 4 == 1)
        return SL_E_DENIED;
    if (mood % 4 == 0)
        return 0;
    sl_assert(asked == NULL || asked != e);
    asked = e;
    return SL_E_AGAIN;
}

static void on_edge_gone(void *user, struct sl_hub_edge *e)
{
    (void)user;
    if (asked == e)
        asked = NULL;
}

static void on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    struct conn *c = s->user;

    if (c != NULL)
        sl_buf_append(&c->in, bytes, len);
}

static void ignore(struct sl_stream *s)
{
    (void)s;
}

static void on_error(struct sl_stream *s, int code)
{
    sl_assert(code < 0 && s->error == code);
}

static const struct sl_stream_handler handler = {on_data, ignore, ignore, on_error, NULL};

static void on_stream(void *user, struct sl_hub_edge *e, struct sl_stream *s,
                      const struct sl_proxy_header *from)
{
    (void)user;
    (void)from;
    sl_assert(sl_hub_edge_id(e).len > 0);
    sl_stream_set_handler(s, &handler, NULL);
    sl_stream_read(s, mood % 2 == 0);
    if (n_held < HELD_MAX)
        held[n_held++] = s;
    else
        sl_stream_free(&s, SL_CLOSE_ABORT);
}

static void on_datagram(struct sl_session *s, const uint8_t *bytes, size_t len)
{
    (void)sl_session_send(s, bytes, len);
}

static void on_session_closed(struct sl_session *s)
{
    sl_assert(s == session);
    sl_session_free(&session);
}

static const struct sl_session_handler session_handler = {on_datagram, on_session_closed};

static void on_session(void *user, struct sl_hub_edge *e, struct sl_session *s,
                       const struct sl_proxy_header *from)
{
    (void)user;
    (void)e;
    (void)from;
    sl_session_free(&session);
    session = s;
    s->handler = &session_handler;
}

static void on_event(void *user, enum sl_hub_event event, struct sl_hub_edge *e, uint32_t stream)
{
    (void)user;
    (void)e;
    sl_assert((stream != 0) == (event >= SL_HUB_STREAM_OPENED));
    n_up += (event == SL_HUB_EDGE_UP) - (event == SL_HUB_EDGE_DOWN);
    sl_assert(n_up >= 0 && n_up <= 2);
}

static const struct sl_hub_handler hub_handler = {on_edge, on_edge_gone, on_stream, on_session,
                                                  on_event};

/* --- what happens --- */

static void turns(void)
{
    for (int i = 0; i < 100 && sl_loop_turn(loop, false); i++)
        ;
}

static void set_table(unsigned how)
{
    struct sl_hub_edge_spec specs[] = {
        {SL_STR("a"), how % 4 == 3 ? SL_STR("z") : SL_STR("s"), SL_STR("{}")},
        {SL_STR("b"), SL_STR("s"), how % 2 == 0 ? SL_STR("{}") : SL_STR("{\"listenPorts\":[1]}")}};

    sl_hub_set_edges(hub, specs, how % 8 == 5 ? 1 : 2);
}

static void hang_up(struct conn *c)
{
    sl_stream_free(&c->stream, SL_CLOSE_ABORT);
    sl_buf_clear(&c->in);
}

static void begin(struct conn *c)
{
    struct sl_stream *ends[2];
    struct sl_addr at;

    hang_up(c);
    sl_assert(sl_addr_parse(&at, SL_STR("192.0.2.1"), 1) == 0);
    sl_pair_new(ends, loop, 1 << 20);
    c->stream = ends[1];
    sl_stream_set_handler(c->stream, &handler, c);
    sl_stream_read(c->stream, true);
    sl_hub_conn_accept_ready(hub, &ends[0], &at);
}

static void say(struct conn *c, const void *bytes, size_t len)
{
    if (c->stream != NULL && c->stream->error == 0 && !c->stream->is_writing)
        (void)sl_stream_write1(c->stream, bytes, len, false);
}

static int hex(uint8_t c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* With the ticket that the hub has offered to one of the connections, or with zeros. */
static void say_resume(struct conn *c, const struct conn *offered, uint32_t attempt)
{
    static const char key[] = "\"ticket\":\"";
    const uint8_t *at = sl_buf_len(&offered->in) > 0
                            ? memmem(sl_buf_at(&offered->in), sl_buf_len(&offered->in), key, 10)
                            : NULL;
    struct sl_resume r = {.attempt = attempt};
    uint8_t head[SL_FRAME_HEAD];
    struct sl_buf frame = {0};

    for (int i = 0; at != NULL && i < SL_RESUME_TICKET; i++)
        r.ticket[i] = (uint8_t)(hex(at[10 + 2 * i]) << 4 | hex(at[11 + 2 * i]));
    sl_frame_head(head, 0, SL_FRAME_RESUME, SL_RESUME_HEAD + SL_RESUME_ENTRY);
    sl_buf_append(&frame, head, sizeof(head));
    sl_resume_begin(&frame, &r);
    sl_resume_add(&frame, &(struct sl_resume_entry){.id = 1, .granted = 1000});
    say(c, sl_buf_at(&frame), sl_buf_len(&frame));
    sl_buf_clear(&frame);
}

static void say_open(struct conn *c, uint8_t id)
{
    static const char opening[] = "PROXY UNKNOWN\r\n";
    uint8_t frame[SL_FRAME_HEAD + sizeof(opening) - 1];

    sl_frame_head(frame, id, SL_FRAME_OPEN, sizeof(opening) - 1);
    memcpy(frame + SL_FRAME_HEAD, opening, sizeof(opening) - 1);
    say(c, frame, sizeof(frame));
}

static void decide(int rc)
{
    struct sl_hub_edge *e = asked;

    asked = NULL;
    if (e != NULL)
        sl_hub_decide(e, rc);
}

/* Returns how many bytes it took. */
static size_t step(const uint8_t *bytes, size_t len)
{
    uint8_t arg = len > 1 ? bytes[1] : 0;
    struct conn *c = &conns[arg % CONNS];
    size_t n = SL_MIN((size_t)(arg / CONNS), len - SL_MIN(len, (size_t)2));

    switch (bytes[0] % 12) {
    case 0:
        begin(c);
        break;
    case 1:
        say(c, arg & 0x80 ? "EDGE a s\n" : "EDGE b s\n", 9);
        break;
    case 2:
        say_resume(c, &conns[arg / CONNS % CONNS], arg / (CONNS * CONNS));
        break;
    case 3:
        say_open(c, arg);
        break;
    case 4:
        say(c, bytes + 2, n);
        return 2 + n;
    case 5:
        sl_loop_skip(loop, arg * 500u);
        break;
    case 6:
        set_table(arg);
        break;
    case 7:
        decide(arg % 2 == 0 ? 0 : SL_E_DENIED);
        break;
    case 8:
        hang_up(c);
        break;
    case 9:
        mood = arg;
        break;
    case 10:
        if (n_held > 0)
            sl_stream_free(&held[--n_held], arg % 2 == 0 ? SL_CLOSE_ABORT : SL_CLOSE_LINGER);
        break;
    default:
        turns();
        return 1;
    }
    return 2;
}

static void end(void)
{
    for (int i = 0; i < CONNS; i++)
        hang_up(&conns[i]);
    while (n_held > 0)
        sl_stream_free(&held[--n_held], SL_CLOSE_ABORT);
    sl_session_free(&session);
    sl_hub_free(hub);
    sl_assert(n_up == 0 && asked == NULL);
    while (n_held > 0)
        sl_stream_free(&held[--n_held], SL_CLOSE_ABORT);
    sl_loop_free(loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct sl_hub_opts opts = {.handler = &hub_handler, .max_greetings = CONNS + 1};

    sl_log_setup(SL_LOG_ERROR, SL_LOG_JSON);
    sl_assert(sl_loop_new(&loop) == 0);
    sl_assert(sl_cert_self_signed(&opts.cert, SL_STR("hub.example"), NULL) == 0);
    opts.loop = loop;
    hub = sl_hub_new(&opts);
    sl_cert_unref(opts.cert);
    set_table(0);
    for (size_t at = 0; at < len;)
        at += step(bytes + at, len - at);
    turns();
    end();
    return 0;
}
