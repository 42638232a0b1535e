/* A tunnel with streams whose link is replaced again and again by a peer that says anything about
   what it has: no more is held than the budget allows, and nothing is left behind. Each round is a
   length, the payload of a RESUME (its ticket is made right), and frames up to the next round. */
#include "net/pair.h"
#include "tunnel/test_holder.h"
#include "tunnel/tunnel.h"

enum { STREAMS = 4, STREAMS_MAX = 8, BUDGET = 60 * 1000, LINK = 64 * 1024, ROUNDS_MAX = 16 };

static struct sl_loop *loop;
static struct sl_stream *held[STREAMS_MAX + STREAMS];
static int n_held;
static const uint8_t ticket[SL_RESUME_TICKET] = "ticket of a fuzz";

static void hold(struct sl_stream *s)
{
    if (s == NULL)
        return;
    sl_stream_set_handler(s, &holder_handler, NULL);
    if (n_held == (int)SL_COUNT(held)) {
        sl_stream_free(&s, SL_CLOSE_LINGER);
        return;
    }
    held[n_held++] = s;
    sl_stream_read(s, n_held % 3 != 0);
    (void)sl_stream_write1(s, "what was sent before", 20, n_held % 4 == 0);
}

static void on_stream(void *user, struct sl_stream *s, struct sl_str opening)
{
    (void)user;
    (void)opening;
    hold(s);
}

static void on_frame(void *user, const struct sl_frame *f)
{
    (void)user;
    (void)f;
}

static void on_down(void *user, int code, const char *why)
{
    (void)user;
    sl_assert(code < 0 && why[0] != '\0');
}

static const struct sl_tunnel_handler tunnel_handler = {
    .on_stream = on_stream, .on_frame = on_frame, .on_down = on_down};

static void turns(void)
{
    for (int i = 0; i < 100 && sl_loop_turn(loop, false); i++)
        ;
}

static void say(struct sl_stream *raw, uint32_t id, enum sl_frame_type type, const void *payload,
                size_t len)
{
    uint8_t head[SL_FRAME_HEAD];
    struct iovec iov[] = {{head, sizeof(head)}, {(void *)payload, len}};

    sl_frame_head(head, id, type, (uint32_t)len);
    if (!raw->is_writing && raw->error == 0)
        (void)sl_stream_write(raw, iov, len > 0 ? 2 : 1, false);
    turns();
}

/* A new link, and what the peer says of the streams: `payload`, or that it has none. The peer's end
 * of it. */
static struct sl_stream *join(struct sl_tunnel *t, bool is_edge, uint32_t attempt,
                              struct sl_buf *payload)
{
    struct sl_tunnel_terms terms = {.is_sluice = true};
    struct sl_resume peer = {.attempt = attempt};
    struct sl_stream *ends[2];

    memcpy(terms.ticket, ticket, sizeof(ticket));
    memcpy(peer.ticket, ticket, sizeof(ticket));
    if (sl_buf_len(payload) < SL_RESUME_HEAD) {
        sl_buf_reset(payload);
        sl_resume_begin(payload, &peer);
    }
    memcpy(sl_buf_at(payload), ticket, sizeof(ticket));
    terms.peer = is_edge ? NULL : &peer;
    if (sl_resume_parse(sl_buf_at(payload), sl_buf_len(payload), &peer) < 0)
        peer.n = 0;
    peer.attempt = attempt;
    sl_pair_new(ends, loop, LINK);
    sl_stream_set_handler(ends[1], &holder_handler, NULL);
    sl_stream_read(ends[1], true);
    sl_assert(sl_tunnel_attach_frames(t, &ends[0], &terms, NULL, 0) == 0);
    if (is_edge)
        say(ends[1], 0, SL_FRAME_RESUME, sl_buf_at(payload), sl_buf_len(payload));
    turns();
    return ends[1];
}

static void check(const struct sl_tunnel *t)
{
    struct sl_tunnel_stats stats;

    sl_tunnel_stats(t, &stats);
    sl_assert(stats.held <= BUDGET);
    sl_assert(stats.n_streams <= STREAMS_MAX);
}

static void begin(struct sl_tunnel *t, bool is_edge)
{
    struct sl_buf nothing = {0};
    struct sl_stream *raw = join(t, is_edge, 1, &nothing);

    sl_buf_clear(&nothing);
    sl_assert(sl_tunnel_is_up(t));
    for (uint32_t id = 1; id <= STREAMS; id++) {
        if (is_edge)
            hold(sl_tunnel_open(t, SL_STR("PROXY UNKNOWN\r\n"), &holder_handler, NULL));
        else
            say(raw, id, SL_FRAME_OPEN, "PROXY UNKNOWN\r\n", 15);
        say(raw, id, is_edge ? SL_FRAME_DATA_BACK : SL_FRAME_DATA, "before", 6);
    }
    sl_tunnel_detach(t, SL_E_TIMEOUT, "cut by the fuzzer");
    sl_stream_free(&raw, SL_CLOSE_ABORT);
    turns();
}

/* The bytes of the round that were used. */
static size_t play_round(struct sl_tunnel *t, bool is_edge, uint32_t attempt, const uint8_t *bytes,
                         size_t len)
{
    size_t n_payload = SL_MIN((size_t)bytes[0], len - 1), at = 1 + n_payload, n;
    struct sl_buf payload = {0};
    struct sl_stream *raw;

    sl_buf_append(&payload, bytes + 1, n_payload);
    raw = join(t, is_edge, attempt, &payload);
    sl_buf_clear(&payload);
    n = at < len ? SL_MIN((size_t)bytes[at], len - at) : 0;
    if (n > 0 && !raw->is_writing && raw->error == 0)
        (void)sl_stream_write1(raw, bytes + at, n, false);
    turns();
    check(t);
    sl_stream_free(&raw, SL_CLOSE_ABORT);
    turns();
    return at + n;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct sl_tunnel_opts opts = {
        .handler = &tunnel_handler, .max_streams = STREAMS_MAX, .budget = BUDGET};
    struct sl_tunnel *t;
    uint32_t attempt = 1;

    sl_assert(sl_loop_new(&loop) == 0);
    opts.loop = loop;
    opts.is_edge = len > 0 && bytes[0] % 2 == 0;
    n_held = 0;
    t = sl_tunnel_new(&opts);
    begin(t, opts.is_edge);
    for (size_t at = 1; at < len && attempt < ROUNDS_MAX;)
        at += play_round(t, opts.is_edge, ++attempt, bytes + at, len - at);
    sl_tunnel_give_up(t);
    turns();
    for (; n_held > 0; n_held--)
        sl_stream_free(&held[n_held - 1], n_held % 2 == 0 ? SL_CLOSE_LINGER : SL_CLOSE_ABORT);
    turns();
    sl_tunnel_free(t);
    sl_loop_free(loop);
    return 0;
}
