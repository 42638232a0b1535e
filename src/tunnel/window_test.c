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

    sl_check(sl_window_open(&w, &b, SL_WINDOW_FIRST) == 0 && b.committed == SL_WINDOW_FIRST);
    sl_check(sl_window_receive(&w, 100) == 0);
    sl_check(sl_window_pass(&w, &b, 100) == 4 * MB - SL_WINDOW_FIRST + 100);
    sl_check(w.granted - w.passed == 4 * MB && b.committed == 4 * MB);
    sl_check(sl_window_receive(&w, MB) == 0);
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

    sl_check(sl_window_open(&w, &b, SL_WINDOW_FIRST) == 0);
    sl_check(sl_window_receive(&w, SL_WINDOW_FIRST) == 0);
    sl_check(sl_window_receive(&w, 1) == SL_E_LIMIT);
    sl_window_close(&w, &b);
}

/* With bytes that nobody passes on, any number of streams stays within the budget. */
static void the_budget_holds_for_any_number_of_streams(void)
{
    static struct sl_window w[N_MANY];
    struct sl_window_budget b = budget();
    uint64_t waiting = 0;

    for (int i = 0; i < N_MANY; i++) {
        sl_check(sl_window_open(&w[i], &b, SL_WINDOW_FIRST) == 0);
        sl_check(sl_window_receive(&w[i], SL_WINDOW_FIRST) == 0);
    }
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < N_MANY; i++) {
            size_t n = w[i].received - w[i].passed;

            if (i % 2 == 0) /* half of them pass on what they have, the others nothing */
                (void)sl_window_pass(&w[i], &b, n);
            sl_check(sl_window_receive(&w[i], w[i].granted - w[i].received) == 0);
        }
        sl_check(b.committed <= b.total);
    }
    for (int i = 0; i < N_MANY; i++) {
        sl_check(i % 2 != 0 || w[i].granted > w[i].passed); /* nobody who reads is stuck */
        waiting += w[i].received - w[i].passed;
        sl_window_close(&w[i], &b);
    }
    sl_check(waiting <= SL_WINDOW_BUDGET && b.committed == 0 && b.n_streams == 0);
}

static void a_stream_beyond_the_budget_is_refused(void)
{
    struct sl_window_budget b = {.total = 3 * SL_WINDOW_FIRST};
    struct sl_window w[4];

    for (int i = 0; i < 3; i++)
        sl_check(sl_window_open(&w[i], &b, SL_WINDOW_FIRST) == 0);
    sl_check(sl_window_open(&w[3], &b, SL_WINDOW_FIRST) == SL_E_LIMIT && b.n_streams == 3);
    /* Those that are there go on, each with what it has. */
    sl_check(sl_window_receive(&w[0], SL_WINDOW_FIRST) == 0);
    sl_check(sl_window_pass(&w[0], &b, SL_WINDOW_FIRST) == SL_WINDOW_FIRST);
}

static void an_eager_window_gives_back_everything_that_was_passed_on(void)
{
    struct sl_window_budget b = budget();
    struct sl_window w;

    sl_check(sl_window_open(&w, &b, SL_WINDOW_MAX) == 0);
    w.is_eager = true;
    sl_check(sl_window_receive(&w, 10) == 0);
    sl_check(sl_window_pass(&w, &b, 4) == 0); /* some of it still waits */
    sl_check(sl_window_pass(&w, &b, 6) == 10);
}

/* A link with its own flow control: any number of bytes comes and goes, and then one without it
 * takes over. */
static void a_granted_window_is_as_open_as_before(void)
{
    struct sl_window_budget b = budget();
    struct sl_window w;

    sl_check(sl_window_open(&w, &b, SL_WINDOW_FIRST) == 0);
    for (int i = 0; i < 10; i++) {
        sl_window_grant(&w, &b, MB);
        sl_check(sl_window_receive(&w, MB) == 0 && b.committed == SL_WINDOW_FIRST + MB);
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

    sl_check(sl_window_open(&w, &b, SL_WINDOW_FIRST) == 0);
    sl_check(sl_window_receive(&w, SL_WINDOW_FIRST) == 0);
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
    the_budget_holds_for_any_number_of_streams();
    a_stream_beyond_the_budget_is_refused();
    an_eager_window_gives_back_everything_that_was_passed_on();
    a_granted_window_is_as_open_as_before();
    a_full_window_opens_again();
    credit_does_not_wrap_around();
    return sl_check_done();
}
