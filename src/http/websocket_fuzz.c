/*
 * Any bytes from a peer, at once and in pieces: no rule of the connection is broken, and the same
 * is heard. The first byte is the length of the pieces, the second says who we are and what we do.
 */
#include <stdlib.h>
#include "http/test_ws.h"

enum { IS_CLIENT = 1, PAUSES = 2, IS_STUCK = 4, CLOSES = 8, FREES = 16, ENDS = 32 };

static struct sl_loop *loop;

static void keep_going(struct ws_rig *r, unsigned flags)
{
    if (r->ws != NULL && r->is_writing)
        ws_rig_drain(r);
    r->is_stuck = (flags & IS_STUCK) != 0;
    if (r->ws != NULL && (flags & PAUSES)) {
        ws_rig_settle(r);
        if (r->ws != NULL)
            sl_ws_read(r->ws, true);
    }
    ws_rig_settle(r);
}

/* Takes what is still kept back, one message at a time. */
static void read_on(struct ws_rig *r, unsigned flags)
{
    for (size_t before = SIZE_MAX; r->ws != NULL && before != sl_buf_len(&r->heard);) {
        before = sl_buf_len(&r->heard);
        keep_going(r, flags);
    }
}

static void check_sanity(const struct ws_rig *r, unsigned flags)
{
    if (r->n_over > 1 || (r->got_fin && sl_buf_len(&r->out) == 0))
        abort();
    if ((flags & ENDS) && !(flags & FREES) && r->ws != NULL)
        abort(); /* the peer has closed: nothing can hold us */
}

static struct sl_buf run(const uint8_t *bytes, size_t len, size_t piece, unsigned flags)
{
    struct sl_ws_opts opts = sl_ws_opts_default;
    struct sl_buf heard;
    struct ws_rig r;

    opts.is_client = (flags & IS_CLIENT) != 0;
    opts.max_message = 300;
    ws_rig_begin(&r, loop, &opts);
    r.pauses = (flags & PAUSES) != 0;
    r.is_stuck = (flags & IS_STUCK) != 0;
    r.frees_on_closed = (flags & FREES) != 0;
    if (flags & CLOSES)
        sl_ws_close(r.ws, 1000, SL_STR("done"));
    for (size_t at = 0; at < len && r.ws != NULL; at += piece) {
        ws_rig_input(&r, bytes + at, SL_MIN(piece, len - at));
        keep_going(&r, flags);
    }
    read_on(&r, flags);
    if (r.ws != NULL && (flags & ENDS))
        sl_ws_input_end(r.ws);
    read_on(&r, flags);
    check_sanity(&r, flags);
    heard = r.heard;
    r.heard = (struct sl_buf){0};
    ws_rig_end(&r);
    return heard;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct sl_buf whole, pieces;

    if (loop == NULL && sl_loop_new(&loop) < 0)
        abort();
    if (len < 2)
        return 0;
    whole = run(bytes + 2, len - 2, len, bytes[1]);
    pieces = run(bytes + 2, len - 2, 1 + bytes[0] % 16, bytes[1]);
    if (!sl_str_eq(sl_buf_str(&whole), sl_buf_str(&pieces)) || sl_check_failures > 0)
        abort();
    sl_buf_clear(&whole);
    sl_buf_clear(&pieces);
    return 0;
}
