#include "loop/loop.h"
#include "base/buf.h"
#include "base/check.h"

#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sl_loop *loop;
static struct sl_buf said; /* who was called, in order */

static void say(const char *word)
{
    sl_buf_append(&said, word, strlen(word));
}

static struct sl_str what_was_said(void)
{
    static char text[4096];
    size_t len = SL_MIN(sl_buf_len(&said), sizeof(text));

    if (len > 0)
        memcpy(text, sl_buf_at(&said), len);
    sl_buf_reset(&said);
    return sl_str(text, len);
}

static void settle(void)
{
    while (sl_loop_turn(loop, false))
        ;
}

/* --- the end of the turn --- */

static struct sl_task_link task_a, task_b, task_c;

static void free_a(void *ptr)
{
    (void)ptr;
    say("(free a)");
}

static void defer_a(void *user)
{
    sl_loop_defer(loop, user, free_a);
    say("a ");
}

static void post_a_again(void *user)
{
    say("b ");
    sl_loop_soon(loop, &task_a, defer_a, user);
}

static void say_c(void *user)
{
    (void)user;
    say("c ");
}

static void drop_c(void *user)
{
    (void)user;
    say("drop ");
    sl_loop_unsoon(&task_c);
}

static void tasks_run_once_and_frees_follow_them(void)
{
    sl_loop_defer(loop, NULL, free_a);
    sl_loop_soon(loop, &task_a, defer_a, NULL);
    sl_loop_soon(loop, &task_a, defer_a, NULL);
    sl_check(what_was_said().len == 0);
    sl_check(!sl_loop_turn(loop, false));
    sl_check_str(what_was_said(), SL_STR("a (free a)(free a)"));
    settle();
    sl_check(what_was_said().len == 0);
}

static void a_task_of_a_task_waits_for_the_next_turn(void)
{
    sl_loop_soon(loop, &task_b, post_a_again, NULL);
    sl_check(sl_loop_turn(loop, false));
    sl_check_str(what_was_said(), SL_STR("b "));
    sl_check(!sl_loop_turn(loop, false));
    sl_check_str(what_was_said(), SL_STR("a (free a)"));
}

static void a_task_may_take_back_another(void)
{
    sl_loop_soon(loop, &task_a, drop_c, NULL);
    sl_loop_soon(loop, &task_c, say_c, NULL);
    settle();
    sl_check_str(what_was_said(), SL_STR("drop "));
    sl_loop_unsoon(&task_c);
}

/* --- timers --- */

static struct sl_timer timer_a, timer_b;

static void on_timer(struct sl_timer *t)
{
    say(t == &timer_a ? "A" : "B");
}

static void on_timer_that_sets_itself(struct sl_timer *t)
{
    say("t");
    if (sl_buf_len(&said) < 3)
        sl_timer_set(t, 0);
}

static void wait_for(size_t n)
{
    while (sl_buf_len(&said) < n)
        sl_loop_turn(loop, true);
}

static void timers_come_in_order(void)
{
    sl_timer_init(&timer_a, loop, on_timer, NULL);
    sl_timer_init(&timer_b, loop, on_timer, NULL);
    sl_timer_set(&timer_a, 3600000);
    sl_timer_set(&timer_b, 20);
    sl_timer_set(&timer_a, 1); /* earlier */
    sl_check(timer_a.on && timer_b.on);
    wait_for(2);
    sl_check_str(what_was_said(), SL_STR("AB"));
    sl_check(!timer_a.on && !timer_b.on);
}

static void a_timer_may_be_cleared_and_set_again(void)
{
    sl_timer_set(&timer_a, 0);
    sl_timer_clear(&timer_a);
    sl_timer_clear(&timer_a);
    sl_timer_set(&timer_b, 0.5);
    wait_for(1);
    sl_check_str(what_was_said(), SL_STR("B"));
    sl_timer_init(&timer_a, loop, on_timer_that_sets_itself, NULL);
    sl_timer_set(&timer_a, 0);
    wait_for(3);
    sl_check_str(what_was_said(), SL_STR("ttt"));
    sl_timer_set(&timer_a, 1e300); /* for ever */
    sl_timer_clear(&timer_a);
}

/* --- watches --- */

static struct sl_watch watch;
static unsigned seen;

static void on_ready(struct sl_watch *w, unsigned what)
{
    char byte;

    seen |= what;
    if (what & SL_READ)
        sl_check(read(w->fd, &byte, 1) == 1);
    if (what & SL_WRITE)
        sl_watch_set(w, w->mask & ~(unsigned)SL_WRITE);
}

static unsigned turn_and_see(void)
{
    seen = 0;
    sl_loop_turn(loop, false);
    return seen;
}

static void a_watch_reports_what_it_was_set_to(void)
{
    int fds[2];

    sl_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    sl_watch_init(&watch, loop, fds[0], on_ready, NULL);
    sl_check(write(fds[1], "xyz", 3) == 3);
    sl_check(turn_and_see() == 0);
    sl_watch_set(&watch, SL_READ);
    sl_check(turn_and_see() == SL_READ);
    sl_watch_set(&watch, SL_READ | SL_WRITE);
    sl_check(turn_and_see() == (SL_READ | SL_WRITE));
    sl_check(watch.mask == SL_READ && turn_and_see() == SL_READ);
    sl_check(turn_and_see() == 0);
    sl_watch_set(&watch, 0);
    sl_check(write(fds[1], "x", 1) == 1);
    sl_check(turn_and_see() == 0);
    close(fds[0]);
    close(fds[1]);
}

/* --- signals --- */

static void on_signal(struct sl_signal *s)
{
    say(s->number == SIGUSR1 ? "usr1" : "other");
}

static void a_signal_arrives(void)
{
    struct sl_signal s;

    sl_signal_start(&s, loop, SIGUSR1, on_signal, NULL);
    raise(SIGUSR1);
    wait_for(4);
    sl_check_str(what_was_said(), SL_STR("usr1"));
    sl_signal_stop(&s);
}

/* --- other threads --- */

enum { N_THREADS = 4, N_POSTS = 5000 };

static struct poster {
    pthread_t thread;
    int next; /* what the loop expects from this one */
} posters[N_THREADS];

struct post {
    struct poster *from;
    int number;
};

static int n_received, n_out_of_order;

static void on_post(void *arg)
{
    struct post *post = arg;

    n_out_of_order += post->number != post->from->next++;
    sl_free(post);
    if (++n_received == N_THREADS * N_POSTS)
        sl_loop_stop(loop);
}

static void *post_many(void *arg)
{
    for (int i = 0; i < N_POSTS; i++) {
        struct post *post = sl_alloc(sizeof(*post));

        *post = (struct post){arg, i};
        sl_loop_post(loop, on_post, post);
    }
    return NULL;
}

static void posts_of_each_thread_keep_their_order(void)
{
    for (int i = 0; i < N_THREADS; i++)
        sl_assert(pthread_create(&posters[i].thread, NULL, post_many, &posters[i]) == 0);
    sl_loop_run(loop);
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(posters[i].thread, NULL);
    sl_check(n_received == N_THREADS * N_POSTS && n_out_of_order == 0);
}

static void say_last(void *arg)
{
    (void)arg;
    say("last");
}

static void post_another(void *arg)
{
    say("post ");
    sl_loop_post(loop, say_last, arg);
}

static void what_is_queued_at_the_end_still_runs(void)
{
    sl_loop_post(loop, post_another, NULL);
    sl_loop_soon(loop, &task_a, defer_a, NULL);
    sl_loop_free(loop);
    sl_check_str(what_was_said(), SL_STR("post a (free a)last"));
}

int main(void)
{
    sl_assert(sl_loop_new(&loop) == 0);
    tasks_run_once_and_frees_follow_them();
    a_task_of_a_task_waits_for_the_next_turn();
    a_task_may_take_back_another();
    timers_come_in_order();
    a_timer_may_be_cleared_and_set_again();
    a_watch_reports_what_it_was_set_to();
    a_signal_arrives();
    posts_of_each_thread_keep_their_order();
    what_is_queued_at_the_end_still_runs();
    sl_buf_clear(&said);
    return sl_check_done();
}
