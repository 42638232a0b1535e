/*
 * Any bytes from a target that is asked two things over HTTP/2, at once and in pieces: no rule of
 * the call is broken, and what is understood is the same. The first byte is
 * the length of the pieces, the second says what was asked for.
 */
#include "http/h2_client.h"
#include "http/test_call.h"
#include "net/pair.h"

enum { HEAD = 1, UPGRADE = 2, PAUSES = 4, GREETS = 8, BODY = 16, FREES = 32 };
enum { N_CALLS = 2 };

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

static void connect_to_wire(void)
{
    static const struct sl_stream_handler handler = {on_wire_data, on_wire_event, on_wire_event,
                                                     on_wire_error, NULL};
    static const uint8_t settings[] = {0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1};
    struct sl_stream *ends[2];

    sl_pair_new(ends, loop, 1 << 20);
    wire = ends[0];
    sl_stream_set_handler(wire, &handler, NULL);
    sl_stream_read(wire, true);
    (void)sl_h2_conn_new(pool, 7, &ends[1]);
    settle();
    if (flags & GREETS) /* and takes WebSockets */
        (void)sl_stream_write1(wire, settings, sizeof(settings), false);
    settle();
}

static void ask(struct caller *c)
{
    caller_begin(c, loop, pool, NULL);
    c->target.protocol = SL_CALL_HTTP2;
    if (flags & HEAD)
        c->req.method = SL_STR("HEAD");
    if (flags & UPGRADE)
        c->req.upgrade = SL_STR("websocket");
    c->opts.is_upgrade = flags & UPGRADE;
    if (flags & BODY)
        c->req.content_length = SL_LENGTH_UNKNOWN;
    if (flags & FREES)
        c->frees_on = CALLER_HEAD;
    caller_start(c);
    settle();
}

static void read_all(struct caller *calls, bool on)
{
    for (int i = 0; i < N_CALLS; i++) {
        if (calls[i].call != NULL)
            sl_call_read(calls[i].call, on);
    }
}

static void say(struct caller *calls, const uint8_t *bytes, size_t len, size_t piece)
{
    for (size_t at = 0; at < len && wire->error == 0; at += piece) {
        if (flags & PAUSES)
            read_all(calls, false);
        (void)sl_stream_write1(wire, bytes + at, SL_MIN(piece, len - at), false);
        settle();
        read_all(calls, true);
        settle();
    }
    if (wire->error == 0)
        (void)sl_stream_write(wire, NULL, 0, true);
    settle();
}

static void run(struct caller *calls, const uint8_t *bytes, size_t len, size_t piece)
{
    connect_to_wire();
    for (int i = 0; i < N_CALLS; i++)
        ask(&calls[i]);
    say(calls, bytes, len, piece);
    for (int i = 0; i < N_CALLS; i++) {
        /* A target that has closed leaves nothing open. */
        sl_assert(calls[i].call == NULL || calls[i].n_fin + calls[i].n_error == 1);
        sl_call_free(&calls[i].call);
    }
    sl_stream_free(&wire, SL_CLOSE_ABORT);
    settle();
    sl_assert(sl_pool_idle(pool) == 0 && sl_check_failures == 0);
}

static bool has_failed(const struct caller *calls)
{
    bool failed = false;

    for (int i = 0; i < N_CALLS; i++)
        failed = failed || calls[i].n_error > 0;
    return failed;
}

/* Once a response is broken, what becomes of the rest depends on the pieces: further frames of that
 * stream are ignored when our RST_STREAM is on its way and break the connection before. */
static void compare(const struct caller *whole, const struct caller *pieces)
{
    sl_assert(has_failed(whole) == has_failed(pieces));
    for (int i = 0; i < N_CALLS && !has_failed(whole); i++) {
        const struct caller *a = &whole[i], *b = &pieces[i];

        sl_assert(a->n_fin == b->n_fin && a->n_head == b->n_head);
        sl_assert(sl_str_eq(a->heads, b->heads) && sl_str_eq(a->trailers, b->trailers));
        sl_assert(sl_buf_len(&a->body) == sl_buf_len(&b->body));
        sl_assert(sl_buf_len(&a->body) == 0 ||
                  memcmp(sl_buf_at(&a->body), sl_buf_at(&b->body), sl_buf_len(&a->body)) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct caller whole[N_CALLS], pieces[N_CALLS];

    if (len < 2)
        return 0;
    if (loop == NULL)
        sl_assert(sl_loop_new(&loop) == 0 && sl_pool_new(&pool, loop, NULL, NULL, NULL) == 0);
    flags = bytes[1];
    run(whole, bytes + 2, len - 2, len);
    run(pieces, bytes + 2, len - 2, 1u + bytes[0]);
    if (!(flags & (PAUSES | FREES))) /* else a reset may overtake what was not taken */
        compare(whole, pieces);
    for (int i = 0; i < N_CALLS; i++) {
        caller_end(&whole[i]);
        caller_end(&pieces[i]);
    }
    return 0;
}
