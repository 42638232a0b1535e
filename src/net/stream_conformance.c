/*
 * Each check has the ends `a` and `b` in a `struct link`. What travels is a pattern that is
 * computed from the position, so that loss, doubling and disorder all show.
 */
#include "net/stream_conformance.h"

#include "base/check.h"

enum {
    GUARD_MS = 20000,  /* a check that hangs for this long has failed */
    QUIET_TURNS = 100, /* after which nothing is expected any more */
    CHUNK = 60000,
    TOO_MUCH = 64 << 20, /* no stream takes this much from a writer whose peer does not read */
};

enum call { NEVER, ON_DATA, ON_FIN, ON_WRITTEN, ON_ERROR };

struct end {
    struct sl_stream *stream;
    uint64_t n_in, n_out; /* bytes */
    uint64_t n_wrong;     /* bytes that were not those expected at their place */
    int n_data, n_fin, n_written, n_error, code;
    int n_stale;        /* callbacks after the stream was freed */
    int n_inside;       /* callbacks inside a call */
    bool is_in_call;    /* the test is calling the stream */
    bool pauses;        /* after each batch */
    enum call frees_on; /* frees itself in this callback */
    uint64_t pumps_to;  /* goes on writing in on_written() until this many bytes have left */
    bool fin_after_pump;
};

struct link {
    struct sl_loop *loop;
    struct end a, b;
    struct sl_timer guard;
    bool is_late;
};

static uint8_t pattern(uint64_t at)
{
    return (uint8_t)(at * 7 ^ at >> 8 ^ at >> 17);
}

/* --- what an end hears --- */

static struct end *heard(struct sl_stream *s, enum call what)
{
    struct end *e = s->user;

    e->n_stale += e->stream == NULL;
    e->n_inside += e->is_in_call;
    if (e->frees_on == what)
        sl_stream_free(&e->stream, SL_CLOSE_ABORT);
    return e;
}

static void on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    struct end *e = s->user;

    sl_check(len > 0 && len <= SL_SCRATCH_LEN);
    for (size_t i = 0; i < len; i++)
        e->n_wrong += bytes[i] != pattern(e->n_in + i);
    e->n_in += len;
    e->n_data++;
    heard(s, ON_DATA);
    if (e->pauses && e->stream != NULL)
        sl_stream_read(s, false);
}

static void on_fin(struct sl_stream *s)
{
    sl_check(s->got_fin);
    heard(s, ON_FIN)->n_fin++;
}

static int put(struct end *e, size_t len, bool fin)
{
    static uint8_t bytes[CHUNK];
    int rc;

    sl_assert(len <= sizeof(bytes));
    for (size_t i = 0; i < len; i++)
        bytes[i] = pattern(e->n_out + i);
    e->n_out += len;
    e->is_in_call = true;
    rc = sl_stream_write1(e->stream, bytes, len, fin);
    e->is_in_call = false;
    return rc;
}

static void pump(struct end *e)
{
    int rc = 0;

    while (rc == 0 && e->n_out < e->pumps_to)
        rc = put(e, (size_t)SL_MIN(e->pumps_to - e->n_out, (uint64_t)CHUNK), false);
    sl_check(rc == 0 || rc == SL_E_AGAIN);
    if (rc == 0 && e->fin_after_pump) {
        e->fin_after_pump = false;
        (void)put(e, 0, true);
    }
}

static void on_written(struct sl_stream *s)
{
    struct end *e = heard(s, ON_WRITTEN);

    e->n_written++;
    if (e->stream == NULL)
        return;
    sl_check(!s->is_writing);
    if (e->pumps_to > 0)
        pump(e);
}

static void on_error(struct sl_stream *s, int code)
{
    struct end *e = s->user;

    sl_check(code < 0 && code == s->error);
    e->code = code;
    heard(s, ON_ERROR)->n_error++;
}

static const struct sl_stream_handler handler = {on_data, on_fin, on_written, on_error, NULL};

/* --- the frame of a check --- */

static void on_guard(struct sl_timer *t)
{
    ((struct link *)t->user)->is_late = true;
}

/* Runs the loop until this holds; a check that it does. */
#define until(l, cond)                                                                             \
    do {                                                                                           \
        sl_timer_set(&(l)->guard, GUARD_MS);                                                       \
        while (!(cond) && !(l)->is_late)                                                           \
            sl_loop_turn((l)->loop, true);                                                         \
        sl_timer_clear(&(l)->guard);                                                               \
        sl_check(cond);                                                                            \
    } while (0)

/* Lets everything happen that would happen by itself. */
static void settle(struct link *l)
{
    for (int i = 0; i < QUIET_TURNS; i++)
        sl_loop_turn(l->loop, false);
}

static void read_on(struct end *e)
{
    e->is_in_call = true;
    sl_stream_read(e->stream, true);
    e->is_in_call = false;
}

static void finish_end(struct end *e)
{
    sl_check(e->n_wrong == 0 && e->n_stale == 0 && e->n_inside == 0);
    sl_check(e->n_error <= 1 && e->n_fin <= 1);
    sl_stream_free(&e->stream, SL_CLOSE_ABORT);
}

/* --- the checks --- */

static void order_is_kept_both_ways(struct link *l)
{
    uint8_t bytes[6];
    struct iovec iov[] = {{bytes, 3}, {bytes, 0}, {bytes + 3, 1}, {bytes + 4, 2}};

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = pattern(i);
    sl_check(sl_stream_write(l->a.stream, iov, 4, false) == 0);
    l->a.n_out += sizeof(bytes);
    for (size_t i = 1; i < 40; i++) {
        sl_check(put(&l->a, i, false) == 0);
        sl_check(put(&l->b, i * 3, false) == 0);
    }
    settle(l);
    sl_check(l->a.n_in == 0 && l->b.n_in == 0); /* both start paused */
    read_on(&l->a);
    read_on(&l->b);
    until(l, l->a.n_in == l->b.n_out && l->b.n_in == l->a.n_out);
    sl_check(l->a.stream->bytes_out == l->b.stream->bytes_in);
    sl_check(l->b.stream->bytes_out == l->a.stream->bytes_in);
    sl_check(l->a.stream->bytes_out == l->a.n_out);
}

static void nothing_is_written(struct link *l)
{
    read_on(&l->b);
    sl_check(put(&l->a, 0, false) == 0);
    sl_check(sl_stream_write(l->a.stream, NULL, 0, false) == 0);
    settle(l);
    sl_check(l->b.n_data == 0 && l->b.n_fin == 0 && l->a.n_written == 0);
}

/* Fills the stream until it asks for a pause. */
static void fill(struct end *e)
{
    while (!e->stream->is_writing && e->n_out < TOO_MUCH)
        (void)put(e, CHUNK, false);
    sl_check(e->stream->is_writing);
}

static void a_writer_waits_for_its_reader(struct link *l)
{
    fill(&l->a);
    settle(l);
    sl_check(l->a.n_written == 0 && l->a.stream->is_writing);
    read_on(&l->b);
    until(l, l->b.n_in == l->a.n_out && l->a.n_written == 1);
    sl_check(!l->a.stream->is_writing);
    sl_check(put(&l->a, 100, false) == 0);
    until(l, l->b.n_in == l->a.n_out);
    sl_check(l->a.n_written == 1);
}

static void much_flows_both_ways_at_once(struct link *l)
{
    l->a.pumps_to = l->b.pumps_to = 4 << 20;
    l->a.fin_after_pump = l->b.fin_after_pump = true;
    read_on(&l->a);
    read_on(&l->b);
    pump(&l->a);
    pump(&l->b);
    until(l, l->a.n_fin == 1 && l->b.n_fin == 1);
    sl_check(l->a.n_in == 4 << 20 && l->b.n_in == 4 << 20);
    sl_check(l->a.n_error == 0 && l->b.n_error == 0);
}

static void one_way_closes_before_the_other(struct link *l)
{
    read_on(&l->a);
    read_on(&l->b);
    sl_check(put(&l->a, 1000, true) == 0 && l->a.stream->sent_fin);
    until(l, l->b.n_fin == 1);
    sl_check(l->b.n_in == 1000 && l->b.stream->got_fin && l->a.n_fin == 0);
    sl_check(put(&l->b, 500, false) == 0);
    until(l, l->a.n_in == 500);
    sl_check(put(&l->b, 0, true) == 0);
    until(l, l->a.n_fin == 1);
    settle(l);
    sl_check(l->a.n_error == 0 && l->b.n_error == 0);
}

static void a_fin_waits_behind_what_is_in_flight(struct link *l)
{
    fill(&l->a);
    sl_check(put(&l->a, 0, true) == SL_E_AGAIN);
    settle(l);
    read_on(&l->b);
    until(l, l->b.n_fin == 1);
    sl_check(l->b.n_in == l->a.n_out);
    until(l, !l->a.stream->is_writing);
    sl_check(l->a.n_error == 0);
}

static void a_paused_reader_hears_nothing(struct link *l)
{
    l->b.pauses = true;
    read_on(&l->b);
    sl_check(put(&l->a, CHUNK, false) == 0 || l->a.stream->is_writing);
    until(l, l->b.n_data == 1);
    until(l, !l->a.stream->is_writing || l->b.n_in < CHUNK);
    settle(l);
    sl_check(l->b.n_data == 1);
    while (l->b.n_in < CHUNK && !l->is_late) {
        int n_before = l->b.n_data;

        read_on(&l->b);
        until(l, l->b.n_data > n_before);
        settle(l);
        sl_check(l->b.n_data == n_before + 1);
    }
    sl_check(put(&l->a, 0, true) == 0);
    settle(l);
    sl_check(l->b.n_fin == 0);
    read_on(&l->b);
    until(l, l->b.n_fin == 1);
}

static void an_abort_is_heard_as_a_reset(struct link *l)
{
    read_on(&l->b);
    sl_check(put(&l->a, 10, false) == 0);
    until(l, l->b.n_in == 10);
    sl_check(put(&l->b, 10, false) == 0); /* unread by the other side */
    settle(l);
    sl_stream_free(&l->a.stream, SL_CLOSE_ABORT);
    sl_check(l->a.stream == NULL);
    until(l, l->b.n_error == 1);
    sl_check(l->b.code == SL_E_RESET && l->b.n_fin == 0);
    sl_check(put(&l->b, 10, false) == SL_E_RESET);
    settle(l);
    sl_check(l->b.n_error == 1);
}

/* The one who writes learns it from the write or from on_error(), but never inside the call. */
static void a_write_to_a_dead_peer_fails_later(struct link *l)
{
    int rc = 0;

    fill(&l->a);
    sl_stream_free(&l->b.stream, SL_CLOSE_ABORT);
    read_on(&l->a);
    until(l, l->a.n_error == 1);
    rc = put(&l->a, 1, false);
    sl_check(rc == l->a.code && rc < 0 && rc != SL_E_AGAIN);
    settle(l);
    sl_check(l->a.n_error == 1 && l->a.n_written == 0);
}

static void last_words_arrive(struct link *l)
{
    fill(&l->a);
    sl_stream_free(&l->a.stream, SL_CLOSE_LINGER);
    sl_check(put(&l->b, 1000, false) == 0); /* swallowed */
    settle(l);
    read_on(&l->b);
    until(l, l->b.n_fin == 1);
    sl_check(l->b.n_in == l->a.n_out && l->b.n_error == 0);
}

static void last_words_of_a_stream_that_said_fin(struct link *l)
{
    sl_check(put(&l->a, 1000, true) == 0);
    sl_stream_free(&l->a.stream, SL_CLOSE_LINGER);
    read_on(&l->b);
    until(l, l->b.n_fin == 1);
    sl_check(l->b.n_in == 1000 && l->b.n_error == 0);
}

static void both_have_ended_so_nobody_is_reset(struct link *l)
{
    read_on(&l->a);
    read_on(&l->b);
    sl_check(put(&l->a, 10, true) == 0 && put(&l->b, 10, true) == 0);
    until(l, l->a.n_fin == 1 && l->b.n_fin == 1);
    sl_stream_free(&l->a.stream, SL_CLOSE_ABORT);
    settle(l);
    sl_check(l->b.n_error == 0);
}

static void freed_in_on_data(struct link *l)
{
    l->b.frees_on = ON_DATA;
    read_on(&l->b);
    sl_check(put(&l->a, 1000, true) == 0);
    until(l, l->b.stream == NULL);
    settle(l);
    sl_check(l->b.n_data == 1 && l->b.n_fin == 0);
}

static void freed_in_on_fin(struct link *l)
{
    l->b.frees_on = ON_FIN;
    read_on(&l->b);
    sl_check(put(&l->a, 1000, true) == 0);
    until(l, l->b.stream == NULL);
    settle(l);
    sl_check(l->b.n_in == 1000);
}

static void freed_in_on_written(struct link *l)
{
    l->a.frees_on = ON_WRITTEN;
    fill(&l->a);
    read_on(&l->b);
    until(l, l->a.stream == NULL);
    settle(l);
    sl_check(l->a.n_written == 1);
}

static void freed_in_on_error(struct link *l)
{
    l->b.frees_on = ON_ERROR;
    read_on(&l->b);
    sl_check(put(&l->b, 10, false) == 0); /* a Unix socket resets when bytes are unread */
    settle(l);
    sl_stream_free(&l->a.stream, SL_CLOSE_ABORT);
    until(l, l->b.stream == NULL);
    settle(l);
    sl_check(l->b.n_error == 1);
}

static void freed_at_once(struct link *l)
{
    sl_check(put(&l->a, 1000, false) == 0);
    sl_stream_free(&l->a.stream, SL_CLOSE_LINGER);
    sl_stream_free(&l->b.stream, SL_CLOSE_LINGER);
    settle(l);
}

static const struct {
    const char *name;
    void (*run)(struct link *l);
} checks[] = {
#define CHECK(name) {#name, name}
    CHECK(order_is_kept_both_ways),
    CHECK(nothing_is_written),
    CHECK(a_writer_waits_for_its_reader),
    CHECK(much_flows_both_ways_at_once),
    CHECK(one_way_closes_before_the_other),
    CHECK(a_fin_waits_behind_what_is_in_flight),
    CHECK(a_paused_reader_hears_nothing),
    CHECK(an_abort_is_heard_as_a_reset),
    CHECK(a_write_to_a_dead_peer_fails_later),
    CHECK(last_words_arrive),
    CHECK(last_words_of_a_stream_that_said_fin),
    CHECK(both_have_ended_so_nobody_is_reset),
    CHECK(freed_in_on_data),
    CHECK(freed_in_on_fin),
    CHECK(freed_in_on_written),
    CHECK(freed_in_on_error),
    CHECK(freed_at_once),
#undef CHECK
};

int sl_stream_conformance(struct sl_loop *loop, const char *kind, sl_make_ends *make, void *user)
{
    int n_before = sl_check_failures;

    for (size_t i = 0; i < SL_COUNT(checks); i++) {
        struct link l = {.loop = loop};
        struct sl_stream *ends[2];
        int n_failed = sl_check_failures;

        sl_timer_init(&l.guard, loop, on_guard, &l);
        make(ends, loop, user);
        l.a.stream = ends[0];
        l.b.stream = ends[1];
        sl_stream_set_handler(ends[0], &handler, &l.a);
        sl_stream_set_handler(ends[1], &handler, &l.b);
        checks[i].run(&l);
        finish_end(&l.a);
        finish_end(&l.b);
        settle(&l);
        if (sl_check_failures != n_failed)
            fprintf(stderr, "%s: failed: %s\n", kind, checks[i].name);
    }
    return sl_check_failures - n_before;
}
