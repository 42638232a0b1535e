/*
 * Any bytes from a target, at once and in pieces: no rule of the call is broken, and what is
 * understood is the same. The first byte is the length of the pieces, the second says what was
 * asked for.
 */
#include "http/pool.h"
#include "http/test_call.h"
#include "net/pair.h"

enum { HEAD = 1, UPGRADE = 2, PAUSES = 4, LINGERS = 8, BODY = 16 };

static struct sl_loop *loop;
static struct sl_pool *pool;
static struct sl_stream *wire; /* the target's end */
static unsigned flags;

static void on_wire_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    (void)s;
    (void)bytes;
    (void)len;
}

static void on_wire_event(struct sl_stream *s)
{
    (void)s;
}

static void on_wire_error(struct sl_stream *s, int code)
{
    (void)s;
    (void)code;
}

static void settle(void)
{
    while (sl_loop_turn(loop, false))
        ;
}

/* A connection that rests in the pool is what the call takes: so no socket is needed. */
static void connect_to_wire(void)
{
    static const struct sl_stream_handler handler = {on_wire_data, on_wire_event, on_wire_event,
                                                     on_wire_error, NULL};
    struct sl_stream *ends[2];

    sl_pair_new(ends, loop, 1 << 20);
    wire = ends[0];
    sl_stream_set_handler(wire, &handler, NULL);
    sl_stream_read(wire, true);
    sl_upstream_rest(sl_upstream_new(pool, 7, &ends[1]));
}

static void ask(struct caller *c)
{
    caller_begin(c, loop, pool, NULL);
    if (flags & HEAD)
        c->req.method = SL_STR("HEAD");
    if (flags & UPGRADE)
        c->req.upgrade = SL_STR("websocket");
    if (flags & BODY)
        c->req.content_length = SL_LENGTH_UNKNOWN;
    caller_start(c);
    sl_assert(c->was_reused);
    settle();
}

static void say(struct caller *c, const uint8_t *bytes, size_t len, size_t piece)
{
    for (size_t at = 0; at < len && wire->error == 0; at += piece) {
        if ((flags & PAUSES) && c->call != NULL)
            sl_call_read(c->call, false);
        (void)sl_stream_write1(wire, bytes + at, SL_MIN(piece, len - at), false);
        settle();
        if (c->call != NULL)
            sl_call_read(c->call, true);
        settle();
    }
    if (wire->error == 0)
        (void)sl_stream_write(wire, NULL, 0, true);
    settle();
}

static void run(struct caller *c, const uint8_t *bytes, size_t len, size_t piece)
{
    connect_to_wire();
    ask(c);
    say(c, bytes, len, piece);
    sl_assert(c->n_fin + c->n_error == 1); /* a target that has closed leaves nothing open */
    sl_call_free(&c->call);
    if (flags & LINGERS)
        sl_stream_free(&wire, SL_CLOSE_LINGER);
    else
        sl_stream_free(&wire, SL_CLOSE_ABORT);
    settle();
    sl_assert(sl_pool_idle(pool) == 0 && sl_check_failures == 0);
}

static void compare(const struct caller *a, const struct caller *b)
{
    sl_assert(a->n_error == b->n_error && a->code == b->code && a->n_interim == b->n_interim);
    sl_assert(a->n_head == b->n_head && sl_str_eq(a->heads, b->heads));
    if (a->n_error > 0)
        return; /* how much of a broken body was given depends on the pieces */
    sl_assert(sl_buf_len(&a->body) == sl_buf_len(&b->body) && sl_str_eq(a->trailers, b->trailers));
    sl_assert(sl_buf_len(&a->body) == 0 ||
              memcmp(sl_buf_at(&a->body), sl_buf_at(&b->body), sl_buf_len(&a->body)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct caller whole, pieces;

    if (len < 2)
        return 0;
    if (loop == NULL)
        sl_assert(sl_loop_new(&loop) == 0 && sl_pool_new(&pool, loop, NULL, NULL, NULL) == 0);
    flags = bytes[1];
    run(&whole, bytes + 2, len - 2, len);
    run(&pieces, bytes + 2, len - 2, 1u + bytes[0]);
    compare(&whole, &pieces);
    caller_end(&whole);
    caller_end(&pieces);
    return 0;
}
