/* A hub whose edge says anything, in pieces of any size, while holders of streams answer, stop
   reading and go: no more is held than the budget allows, and nothing is left behind. */
#include "net/pair.h"
#include "tunnel/test_holder.h"
#include "tunnel/tunnel.h"

enum { STREAMS_MAX = 8, BUDGET = 2000 };

static struct sl_loop *loop;
static struct sl_stream *held[STREAMS_MAX];
static int n_held, n_opened;

static void on_stream(void *user, struct sl_stream *s, struct sl_str opening)
{
    (void)user;
    (void)opening;
    sl_stream_set_handler(s, &holder_handler, NULL);
    sl_stream_read(s, n_opened++ % 3 != 0);
    if (n_held < STREAMS_MAX)
        held[n_held++] = s;
    else
        sl_stream_free(&s, n_opened % 2 == 0 ? SL_CLOSE_ABORT : SL_CLOSE_LINGER);
}

static void on_frame(void *user, const struct sl_frame *f)
{
    (void)user;
    sl_assert(f->type >= SL_FRAME_CONFIG);
}

static void on_down(void *user, int code, const char *why)
{
    (void)user;
    sl_assert(code < 0 && why[0] != '\0');
}

static const struct sl_tunnel_handler hub = {
    .on_stream = on_stream, .on_frame = on_frame, .on_down = on_down};

static void turns(void)
{
    for (int i = 0; i < 100 && sl_loop_turn(loop, false); i++)
        ;
}

static void check(const struct sl_tunnel *t)
{
    struct sl_tunnel_stats stats;

    sl_tunnel_stats(t, &stats);
    sl_assert(stats.held <= BUDGET);
    sl_assert(stats.n_streams <= 2 * STREAMS_MAX);
}

static void free_held(void)
{
    for (; n_held > 0; n_held--)
        sl_stream_free(&held[n_held - 1], n_held % 2 == 0 ? SL_CLOSE_LINGER : SL_CLOSE_ABORT);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct sl_tunnel_opts opts = {
        .handler = &hub, .max_streams = 2 * STREAMS_MAX, .budget = BUDGET};
    struct sl_resume peer = {.attempt = 1};
    struct sl_tunnel_terms terms = {.is_sluice = len > 1 && bytes[1] % 2 != 0};
    struct sl_stream *ends[2];
    struct sl_tunnel *t;
    size_t piece = len > 0 ? bytes[0] + 1u : 1;

    sl_assert(sl_loop_new(&loop) == 0);
    opts.loop = loop;
    terms.peer = terms.is_sluice ? &peer : NULL;
    n_held = n_opened = 0;
    t = sl_tunnel_new(&opts);
    sl_pair_new(ends, loop, 4096);
    sl_stream_set_handler(ends[1], &holder_handler, NULL);
    sl_stream_read(ends[1], true);
    sl_assert(sl_tunnel_attach_frames(t, &ends[0], &terms, NULL, 0) == 0);
    for (size_t at = SL_MIN(len, (size_t)2); at < len && ends[1]->error == 0; at += piece) {
        if (!ends[1]->is_writing)
            (void)sl_stream_write1(ends[1], bytes + at, SL_MIN(piece, len - at), false);
        turns();
        check(t);
    }
    free_held();
    turns();
    free_held(); /* what was still under way may have opened more */
    sl_tunnel_free(t);
    sl_stream_free(&ends[1], SL_CLOSE_ABORT);
    sl_loop_free(loop);
    return 0;
}
