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

static void on_number(void *user, struct sl_bus_item *item)
{
    struct subscriber *s = user;
    uint64_t n;

    if (sl_str_eq(item->message, SL_STR("end"))) {
        sl_loop_stop(s->loop);
    } else {
        s->in_order &= sl_str_to_u64(item->message, UINT64_MAX, &n) == 0 && n == (uint64_t)s->n;
        s->n++;
    }
    sl_bus_item_free(item);
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

static void on_counted(void *user, struct sl_bus_item *item)
{
    n_got++;
    sl_bus_item_free(item);
    sl_bus_cancel(*(struct sl_bus_sub **)user); /* from its own callback */
}

static void on_last(void *user, struct sl_bus_item *item)
{
    sl_bus_item_free(item);
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

/* Keeps what it gets. */
struct keeper {
    struct sl_list items;
    int n_messages, n_gaps;
};

static void on_any(void *user, struct sl_bus_item *item)
{
    struct keeper *k = user;

    sl_list_append(&k->items, &item->link);
    k->n_messages += !item->is_gap;
    k->n_gaps += item->is_gap;
}

static struct sl_bus_item *first_of(struct keeper *k)
{
    return sl_container_of(sl_list_first(&k->items), struct sl_bus_item, link);
}

static void drain(struct keeper *k)
{
    while (!sl_list_is_empty(&k->items))
        sl_bus_item_free(first_of(k));
}

static void run_turn(struct sl_loop *loop)
{
    while (sl_loop_turn(loop, false))
        ;
}

static int publish_many(int n)
{
    int n_sent = 0;

    for (int i = 0; i < n; i++)
        n_sent += sl_bus_publish(SL_STR("flood"), SL_STR("x"));
    return n_sent;
}

static void a_lagging_subscriber_is_bounded_and_told(void)
{
    enum { OVER = 1000 };
    struct keeper k = {0};
    struct sl_loop *loop;
    struct sl_bus_sub *sub;

    sl_list_init(&k.items);
    sl_assert(sl_loop_new(&loop) == 0);
    sub = sl_bus_subscribe(loop, SL_STR("flood"), on_any, &k);
    sl_check(publish_many(SL_BUS_MAX_WAITING + OVER) == SL_BUS_MAX_WAITING);
    run_turn(loop);
    sl_check(k.n_messages == SL_BUS_MAX_WAITING && k.n_gaps == 1);
    sl_check(publish_many(1) == 0); /* what arrived and was not freed still counts */
    for (int i = 0; i < 3; i++)
        sl_bus_item_free(first_of(&k));
    sl_check(publish_many(OVER) == 2); /* the gap takes a place as well */
    run_turn(loop);
    sl_check(k.n_messages == SL_BUS_MAX_WAITING + 2 && k.n_gaps == 2);
    for (int i = 3; i < SL_BUS_MAX_WAITING; i++)
        sl_bus_item_free(first_of(&k));
    sl_check(first_of(&k)->is_gap); /* in the place of those that are missing */
    sl_bus_cancel(sub);
    drain(&k);
    sl_loop_free(loop);
}

static void one_that_lags_holds_so_many_bytes(void)
{
    static char big[SL_BUS_MAX_MESSAGE];
    struct keeper k = {0};
    struct sl_loop *loop;
    struct sl_bus_sub *sub;
    int n = 0;

    sl_list_init(&k.items);
    sl_assert(sl_loop_new(&loop) == 0);
    sub = sl_bus_subscribe(loop, SL_STR("flood"), on_any, &k);
    for (int i = 0; i < 100; i++)
        n += sl_bus_publish(SL_STR("flood"), sl_str(big, sizeof(big)));
    sl_check(n == SL_BUS_MAX_WAITING_BYTES / SL_BUS_MAX_MESSAGE);
    sl_bus_cancel(sub); /* with all of it on its way */
    sl_loop_free(loop);
    sl_check(k.n_messages == 0);
}

static void a_star_takes_all_that_begins_so(void)
{
    static const char *const names[] = {"*", "a*", "ab*", "ab", "abc*", "b*"};
    struct sl_bus_sub *subs[SL_COUNT(names)];
    char longest[SL_BUS_MAX_TOPIC];
    struct keeper k = {0};
    struct sl_loop *loop;

    sl_list_init(&k.items);
    sl_assert(sl_loop_new(&loop) == 0);
    for (size_t i = 0; i < SL_COUNT(names); i++)
        subs[i] = sl_bus_subscribe(loop, sl_str_c(names[i]), on_any, &k);
    sl_check(sl_bus_publish(SL_STR("ab"), SL_STR("m")) == 4);
    sl_check(sl_bus_publish(SL_STR("abcd"), SL_STR("m")) == 4);
    sl_check(sl_bus_publish(SL_STR("a*"), SL_STR("m")) == 2);
    sl_check(sl_bus_publish(SL_STR(""), SL_STR("m")) == 1);
    run_turn(loop);
    sl_check(k.n_messages == 11 && sl_str_eq(first_of(&k)->topic, SL_STR("ab")));
    drain(&k);
    sl_bus_cancel(subs[0]);
    sl_bus_cancel(subs[1]);
    sl_check(sl_bus_publish(SL_STR("ab"), SL_STR("m")) == 2);
    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = '*';
    subs[0] = sl_bus_subscribe(loop, sl_str(longest, sizeof(longest)), on_any, &k);
    longest[sizeof(longest) - 1] = 'x';
    sl_check(sl_bus_publish(sl_str(longest, sizeof(longest)), SL_STR("m")) == 1);
    sl_bus_cancel(subs[0]);
    for (size_t i = 2; i < SL_COUNT(names); i++)
        sl_bus_cancel(subs[i]);
    sl_check(sl_bus_publish(SL_STR("ab"), SL_STR("m")) == 0);
    sl_loop_free(loop);
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
    a_lagging_subscriber_is_bounded_and_told();
    one_that_lags_holds_so_many_bytes();
    a_star_takes_all_that_begins_so();
    sizes_are_bounded();
    return sl_check_done();
}
