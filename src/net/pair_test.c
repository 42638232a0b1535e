#include "net/pair.h"

#include "base/buf.h"
#include "base/check.h"

enum { LIMIT = 1000, QUIET_TURNS = 5 };

/* What one end saw. */
struct seen {
    struct sl_stream *stream;
    struct sl_buf got;
    int n_fin, n_written, n_error, code;
    size_t n_batches;
    bool pauses, frees;
};

static struct sl_loop *loop;
static struct seen a, b;
static size_t n_events;

static void on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    struct seen *seen = s->user;

    n_events++;
    seen->n_batches++;
    sl_buf_append(&seen->got, bytes, len);
    if (seen->pauses)
        sl_stream_read(s, false);
    if (seen->frees)
        sl_stream_free(&seen->stream, SL_CLOSE_ABORT);
}

static void on_fin(struct sl_stream *s)
{
    n_events++;
    ((struct seen *)s->user)->n_fin++;
}

static void on_written(struct sl_stream *s)
{
    n_events++;
    ((struct seen *)s->user)->n_written++;
}

static void on_error(struct sl_stream *s, int code)
{
    n_events++;
    ((struct seen *)s->user)->n_error++;
    ((struct seen *)s->user)->code = code;
}

static const struct sl_stream_handler handler = {on_data, on_fin, on_written, on_error, NULL};

/* --- the steps: each acts on what the one before has led to, once nothing happens any more --- */

static void begin(void)
{
    struct sl_stream *ends[2];

    sl_pair_new(ends, loop, LIMIT);
    a = (struct seen){.stream = ends[0]};
    b = (struct seen){.stream = ends[1]};
    sl_stream_set_handler(ends[0], &handler, &a);
    sl_stream_set_handler(ends[1], &handler, &b);
}

static void end(void)
{
    sl_stream_free(&a.stream, SL_CLOSE_ABORT);
    sl_stream_free(&b.stream, SL_CLOSE_ABORT);
    sl_buf_clear(&a.got);
    sl_buf_clear(&b.got);
}

static void write_both_ways(void)
{
    struct iovec iov[] = {{(void *)"one ", 4}, {(void *)"", 0}, {(void *)"two", 3}};

    begin();
    sl_check(sl_stream_write(a.stream, iov, 3, false) == 0);
    sl_check(sl_stream_write1(b.stream, "back", 4, false) == 0);
    sl_check(b.got.end == 0); /* never inside the call */
}

static void nothing_comes_before_reading(void)
{
    sl_check(sl_buf_len(&b.got) == 0 && sl_buf_len(&a.got) == 0);
    sl_stream_read(a.stream, true);
    sl_stream_read(b.stream, true);
    sl_check(sl_buf_len(&b.got) == 0);
}

static void both_have_read(void)
{
    sl_check_str(sl_buf_str(&b.got), SL_STR("one two"));
    sl_check_str(sl_buf_str(&a.got), SL_STR("back"));
    sl_check(b.n_batches == 1 && a.stream->bytes_out == 7 && b.stream->bytes_in == 7);
    sl_check(sl_stream_write1(a.stream, "end", 3, true) == 0);
}

static void half_closed(void)
{
    sl_check_str(sl_buf_str(&b.got), SL_STR("one twoend"));
    sl_check(b.n_fin == 1 && b.stream->got_fin && a.stream->sent_fin && a.n_fin == 0);
    sl_check(sl_stream_write1(b.stream, "still", 5, false) == 0);
    sl_check(sl_stream_write(b.stream, NULL, 0, true) == 0);
}

static void closed(void)
{
    sl_check_str(sl_buf_str(&a.got), SL_STR("backstill"));
    sl_check(a.n_fin == 1 && a.n_error == 0 && b.n_error == 0);
    sl_stream_free(&a.stream, SL_CLOSE_ABORT); /* ended both ways: no reset */
}

static void no_reset(void)
{
    sl_check(b.n_error == 0);
    end();
}

static void write_above_the_limit(void)
{
    static char big[3 * SL_SCRATCH_LEN];

    begin();
    sl_check(sl_stream_write1(a.stream, big, LIMIT, false) == 0);
    sl_check(sl_stream_write1(a.stream, big, sizeof(big), false) == SL_E_AGAIN);
    sl_check(a.stream->is_writing);
    sl_check(sl_stream_write(a.stream, NULL, 0, true) == SL_E_AGAIN);
    b.pauses = true;
    sl_stream_read(b.stream, true);
}

static void one_batch_then_a_pause(void)
{
    sl_check(b.n_batches == 1 && sl_buf_len(&b.got) == SL_SCRATCH_LEN && a.n_written == 0 &&
             b.n_fin == 0);
    b.pauses = false;
    sl_stream_read(b.stream, true);
}

static void all_arrived(void)
{
    sl_check(sl_buf_len(&b.got) == 3 * SL_SCRATCH_LEN + LIMIT && b.n_batches == 4);
    sl_check(a.n_written == 1 && !a.stream->is_writing && b.n_fin == 1);
    end();
}

static void reset_the_peer(void)
{
    begin();
    sl_stream_read(b.stream, true);
    sl_check(sl_stream_write1(b.stream, "x", 1, false) == 0);
    sl_check(sl_stream_write1(a.stream, "lost", 4, false) == 0);
    sl_stream_free(&a.stream, SL_CLOSE_ABORT);
    sl_check(a.stream == NULL && b.n_error == 0);
}

static void peer_was_reset(void)
{
    sl_check(b.n_error == 1 && b.code == SL_E_RESET && sl_buf_len(&b.got) == 0);
    sl_check(sl_stream_write1(b.stream, "x", 1, false) == SL_E_RESET);
    end();
}

static void linger(void)
{
    static char big[2 * LIMIT];

    begin();
    sl_stream_read(b.stream, true);
    sl_check(sl_stream_write1(b.stream, big, sizeof(big), false) == SL_E_AGAIN);
    sl_check(sl_stream_write1(a.stream, "last words", 10, false) == 0);
    sl_stream_free(&a.stream, SL_CLOSE_LINGER);
}

static void last_words_arrived(void)
{
    sl_check_str(sl_buf_str(&b.got), SL_STR("last words"));
    sl_check(b.n_fin == 1 && b.n_error == 0 && b.n_written == 1);
    sl_check(sl_stream_write1(b.stream, "for nobody", 10, true) == 0);
    end();
}

static void free_in_callback(void)
{
    begin();
    b.frees = true;
    sl_stream_read(b.stream, true);
    sl_check(sl_stream_write1(a.stream, "x", 1, true) == 0);
}

static void freed_in_callback(void)
{
    sl_check(b.stream == NULL && b.n_batches == 1 && b.n_fin == 0 && a.n_error == 1);
    end();
}

static void (*const steps[])(void) = {
    write_both_ways,
    nothing_comes_before_reading,
    both_have_read,
    half_closed,
    closed,
    no_reset,
    write_above_the_limit,
    one_batch_then_a_pause,
    all_arrived,
    reset_the_peer,
    peer_was_reset,
    linger,
    last_words_arrived,
    free_in_callback,
    freed_in_callback,
};

/* Runs the next step when nothing has happened for some turns. */
static void on_turn(void *user)
{
    static size_t at, seen_events, n_quiet;
    struct sl_task_link *task = user;

    n_quiet = n_events == seen_events ? n_quiet + 1 : 0;
    seen_events = n_events;
    if (n_quiet == QUIET_TURNS) {
        n_quiet = 0;
        steps[at++]();
    }
    if (at == SL_COUNT(steps))
        sl_loop_stop(loop);
    else
        sl_loop_soon(loop, task, on_turn, task);
}

int main(void)
{
    struct sl_task_link task = {0};

    sl_assert(sl_loop_new(&loop) == 0);
    sl_loop_soon(loop, &task, on_turn, &task);
    sl_loop_run(loop);
    sl_loop_free(loop);
    return sl_check_done();
}
