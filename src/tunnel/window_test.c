#include "tunnel/window.h"

#include "base/check.h"

enum { MB = 1 << 20, N_MANY = 10000 };

static struct sl_window_budget budget(void)
{
    return (struct sl_window_budget){.total = SL_WINDOW_BUDGET};
}

/* The table of remoteingress, in which the share falls from 4 MB to 1 MB. */
static void shares_fall_with_the_number_of_streams(void)
{
    static const struct {
        unsigned n;
        double mb;
    } rows[] = {{0, 4},     {1, 4},       {49, 4},      {50, 4},  {51, 3.922}, {75, 2.667},
                {100, 2.0}, {150, 1.333}, {199, 1.005}, {200, 1}, {500, 1},    {5000, 1}};

    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        struct sl_window_budget b = {.total = SL_WINDOW_BUDGET, .n_streams = rows[i].n};
        double got = (double)sl_window_share(&b) / MB;

        sl_check(got > rows[i].mb - 0.001 && got < rows[i].mb + 0.001);
    }
}

static void a_window_opens_as_its_bytes_are_passed_on(void)
{
    struct sl_window_budget b = budget();
    struct sl_window w;

    sl_window_open(&w, &b, SL_WINDOW_FIRST);
    sl_check(b.committed == SL_WINDOW_FIRST && b.held == 0);
    sl_check(sl_window_receive(&w, &b, 100) == 0 && b.held == 100);
    sl_check(sl_window_pass(&w, &b, 100) == 4 * MB - SL_WINDOW_FIRST + 100);
    sl_check(w.granted - w.passed == 4 * MB && b.committed == 4 * MB);
    sl_check(sl_window_receive(&w, &b, MB) == 0);
    sl_check(sl_window_pass(&w, &b, 1000) == 0); /* not worth a frame */
    sl_check(sl_window_pass(&w, &b, MB - 1000) == MB);
    sl_window_close(&w, &b);
    sl_check(b.committed == 0 && b.n_streams == 0);
}

/* Attack U-05. */
static void a_sender_that_ignores_its_window_is_found_out(void)
{
    struct sl_window_budget b = budget();
    struct sl_window w;

    sl_window_open(&w, &b, SL_WINDOW_FIRST);
    sl_check(sl_window_receive(&w, &b, SL_WINDOW_FIRST) == 0);
    sl_check(sl_window_receive(&w, &b, 1) == SL_E_LIMIT);
    sl_window_close(&w, &b);
}

/* One that reads, in a tunnel where others hold `held` bytes. */
static uint32_t window_of_a_reader(uint64_t held, uint32_t size)
{
    struct sl_window_budget b = budget();
    struct sl_window w;

    sl_window_open(&w, &b, SL_WINDOW_FIRST);
    for (int i = 0; i < 200; i++) {
        size_t n = (size_t)SL_MIN(w.granted - w.received, (uint64_t)SL_WINDOW_FIRST);

        if (w.granted - w.passed >= size)
            b.held = held; /* it has grown so far */
        sl_check(n > 0 && sl_window_receive(&w, &b, n) == 0);
        (void)sl_window_pass(&w, &b, n);
    }
    return (uint32_t)(w.granted - w.passed);
}

static void windows_grow_until_half_of_the_budget_is_held(void)
{
    uint64_t half = SL_WINDOW_BUDGET / 2;

    sl_check(window_of_a_reader(half - SL_WINDOW_FIRST - 1, 0) > 3 * MB);
    sl_check(window_of_a_reader(half, 0) <= SL_WINDOW_FIRST);
    sl_check(window_of_a_reader(half, 0) >= SL_WINDOW_FIRST / 2);
    /* One that had grown before keeps what it has. */
    sl_check(window_of_a_reader(half, 2 * MB) > 3 * MB);
}

/* Grants are no bytes: those who once filled their windows leave no less to those who come. */
static void streams_that_have_passed_everything_on_hold_nothing(void)
{
    static struct sl_window w[N_MANY];
    struct sl_window_budget b = budget();

    for (int i = 0; i < N_MANY; i++) {
        sl_window_open(&w[i], &b, SL_WINDOW_FIRST);
        sl_check(sl_window_receive(&w[i], &b, SL_WINDOW_FIRST) == 0);
        sl_check(sl_window_pass(&w[i], &b, SL_WINDOW_FIRST) >= SL_WINDOW_MIN - SL_WINDOW_FIRST);
        sl_check(b.held == 0);
    }
    sl_check(b.committed >= (uint64_t)N_MANY * MB);
    for (int i = 0; i < N_MANY; i++)
        sl_window_close(&w[i], &b);
    sl_check(b.committed == 0 && b.n_streams == 0);
}

static void what_waits_is_no_longer_held_when_its_stream_ends(void)
{
    struct sl_window_budget b = budget();
    struct sl_window w;

    sl_window_open(&w, &b, SL_WINDOW_FIRST);
    sl_check(sl_window_receive(&w, &b, 1000) == 0);
    (void)sl_window_pass(&w, &b, 300);
    sl_check(b.held == 700);
    sl_window_close(&w, &b);
    sl_check(b.held == 0);
}

static void an_eager_window_gives_back_everything_that_was_passed_on(void)
{
    struct sl_window_budget b = budget();
    struct sl_window w;

    sl_window_open(&w, &b, SL_WINDOW_MAX);
    w.is_eager = true;
    sl_check(sl_window_receive(&w, &b, 10) == 0);
    sl_check(sl_window_pass(&w, &b, 4) == 0); /* some of it still waits */
    sl_check(sl_window_pass(&w, &b, 6) == 10);
}

/* A link with its own flow control: any number of bytes comes and goes, and then one without it
 * takes over. */
static void a_granted_window_is_as_open_as_before(void)
{
    struct sl_window_budget b = budget();
    struct sl_window w;

    sl_window_open(&w, &b, SL_WINDOW_FIRST);
    for (int i = 0; i < 10; i++) {
        sl_window_grant(&w, &b, MB);
        sl_check(sl_window_receive(&w, &b, MB) == 0 && b.committed == SL_WINDOW_FIRST + MB);
        sl_window_pass_granted(&w, &b, MB);
        sl_check(b.committed == SL_WINDOW_FIRST);
    }
    sl_check(w.granted - w.received == SL_WINDOW_FIRST);
    sl_window_close(&w, &b);
    sl_check(b.committed == 0);
}

/* Its bytes came while windows counted, and are passed on when they do not. */
static void a_full_window_opens_again(void)
{
    struct sl_window_budget b = budget();
    struct sl_window w;

    sl_window_open(&w, &b, SL_WINDOW_FIRST);
    sl_check(sl_window_receive(&w, &b, SL_WINDOW_FIRST) == 0);
    sl_window_pass_granted(&w, &b, 100);
    sl_check(w.granted - w.received == 100 && b.committed == SL_WINDOW_FIRST);
    sl_window_pass_granted(&w, &b, SL_WINDOW_FIRST - 100);
    sl_check(w.granted - w.received == SL_WINDOW_FIRST && b.committed == SL_WINDOW_FIRST);
    sl_window_close(&w, &b);
}

static void credit_does_not_wrap_around(void)
{
    sl_check(sl_window_add(5, 10) == 15);
    sl_check(sl_window_add(UINT64_MAX - 1, 10) == UINT64_MAX);
}

int main(void)
{
    shares_fall_with_the_number_of_streams();
    a_window_opens_as_its_bytes_are_passed_on();
    a_sender_that_ignores_its_window_is_found_out();
    windows_grow_until_half_of_the_budget_is_held();
    streams_that_have_passed_everything_on_hold_nothing();
    what_waits_is_no_longer_held_when_its_stream_ends();
    an_eager_window_gives_back_everything_that_was_passed_on();
    a_granted_window_is_as_open_as_before();
    a_full_window_opens_again();
    credit_does_not_wrap_around();
    return sl_check_done();
}
