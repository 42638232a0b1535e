#include "script/bus.h"

#include <pthread.h>
#include <stdio.h>
#include "base/check.h"

/* A subscriber on a loop and thread of its own. */
struct subscriber {
    struct sl_loop *loop;
    struct sl_bus_sub *sub;
    pthread_t thread;
    int n;
    bool in_order;
};

static void on_number(void *user, struct sl_str message)
{
    struct subscriber *s = user;
    uint64_t n;

    if (sl_str_eq(message, SL_STR("end"))) {
        sl_loop_stop(s->loop);
        return;
    }
    s->in_order &= sl_str_to_u64(message, UINT64_MAX, &n) == 0 && n == (uint64_t)s->n;
    s->n++;
}

static void *run(void *arg)
{
    struct subscriber *s = arg;

    sl_loop_run(s->loop);
    sl_bus_cancel(s->sub);
    sl_loop_free(s->loop);
    return NULL;
}

static void start(struct subscriber *s)
{
    *s = (struct subscriber){.in_order = true};
    sl_assert(sl_loop_new(&s->loop) == 0);
    s->sub = sl_bus_subscribe(s->loop, SL_STR("numbers"), on_number, s);
    sl_assert(s->sub != NULL);
    sl_assert(pthread_create(&s->thread, NULL, run, s) == 0);
}

static void messages_reach_every_thread_in_order(void)
{
    struct subscriber subs[3];
    char text[16];

    for (size_t i = 0; i < SL_COUNT(subs); i++)
        start(&subs[i]);
    sl_check(sl_bus_publish(SL_STR("other topic"), SL_STR("0")) == 0);
    for (int i = 0; i < 500; i++) {
        snprintf(text, sizeof(text), "%d", i);
        sl_check(sl_bus_publish(SL_STR("numbers"), sl_str_c(text)) == (int)SL_COUNT(subs));
    }
    sl_check(sl_bus_publish(SL_STR("numbers"), SL_STR("end")) == (int)SL_COUNT(subs));
    for (size_t i = 0; i < SL_COUNT(subs); i++) {
        pthread_join(subs[i].thread, NULL);
        sl_check(subs[i].n == 500 && subs[i].in_order);
    }
    sl_check(sl_bus_publish(SL_STR("numbers"), SL_STR("0")) == 0);
}

static int n_got;

static void on_counted(void *user, struct sl_str message SL_UNUSED)
{
    n_got++;
    sl_bus_cancel(*(struct sl_bus_sub **)user); /* from its own callback */
}

static void on_last(void *user, struct sl_str message SL_UNUSED)
{
    sl_loop_stop(user);
}

static void nothing_arrives_after_a_cancellation(void)
{
    struct sl_loop *loop;
    struct sl_bus_sub *first, *second, *last;

    sl_assert(sl_loop_new(&loop) == 0);
    first = sl_bus_subscribe(loop, SL_STR("t"), on_counted, &first);
    second = sl_bus_subscribe(loop, SL_STR("t"), on_counted, &second);
    last = sl_bus_subscribe(loop, SL_STR("last"), on_last, loop);
    sl_check(sl_bus_publish(SL_STR("t"), SL_STR("1")) == 2);
    sl_check(sl_bus_publish(SL_STR("t"), SL_STR("2")) == 2);
    sl_bus_cancel(second); /* with two messages on their way */
    sl_check(sl_bus_publish(SL_STR("t"), SL_STR("3")) == 1);
    sl_check(sl_bus_publish(SL_STR("last"), SL_STR("")) == 1);
    sl_loop_run(loop);
    sl_check(n_got == 1);
    sl_bus_cancel(last);
    sl_loop_free(loop);
}

static void on_any(void *user, struct sl_str message SL_UNUSED)
{
    ++*(int *)user;
}

static void a_lagging_subscriber_is_bounded(void)
{
    struct sl_loop *loop;
    struct sl_bus_sub *sub;
    int n_sent = 0, n = 0;

    sl_assert(sl_loop_new(&loop) == 0);
    sub = sl_bus_subscribe(loop, SL_STR("flood"), on_any, &n);
    for (int i = 0; i < 5000; i++)
        n_sent += sl_bus_publish(SL_STR("flood"), SL_STR("x"));
    sl_check(n_sent == SL_BUS_MAX_WAITING);
    sl_bus_cancel(sub);
    sl_loop_free(loop);
    sl_check(n == 0);
}

static void sizes_are_bounded(void)
{
    static char big[SL_BUS_MAX_MESSAGE + 1];
    struct sl_loop *loop;

    sl_assert(sl_loop_new(&loop) == 0);
    sl_check(sl_bus_subscribe(loop, SL_STR(""), on_any, NULL) == NULL);
    sl_check(sl_bus_subscribe(loop, sl_str(big, SL_BUS_MAX_TOPIC + 1), on_any, NULL) == NULL);
    sl_check(sl_bus_publish(SL_STR("t"), sl_str(big, sizeof(big))) == SL_E_LIMIT);
    sl_check(sl_bus_publish(sl_str(big, SL_BUS_MAX_TOPIC + 1), SL_STR("")) == SL_E_LIMIT);
    sl_loop_free(loop);
}

int main(void)
{
    messages_reach_every_thread_in_order();
    nothing_arrives_after_a_cancellation();
    a_lagging_subscriber_is_bounded();
    sizes_are_bounded();
    return sl_check_done();
}
