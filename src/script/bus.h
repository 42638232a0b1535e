/*
 * Publish and subscribe between the Lua states of the process, each on the loop of its own thread:
 * what sluice.bus is made of. Knows no Lua, and no other process.
 *
 * Any thread may publish; a subscription belongs to the thread of its loop. A message arrives there
 * later, from the loop, in the order of publication by one thread. Messages and what waits of them
 * for one subscription are bounded: one that lags loses the newest. It is told where in the order
 * they are missing, and the log says so.
 *
 * A subscription to "x*" gets the messages of every topic that begins with "x". What publishing
 * costs does not depend on the number of subscriptions to other topics, with a star or without.
 *
 *     sub = sl_bus_subscribe(loop, SL_STR("purge"), on_item, cache);
 *     n = sl_bus_publish(SL_STR("purge"), key);
 *
 *     static void on_item(void *user, struct sl_bus_item *item)
 *     {
 *         purge(user, item->message);
 *         sl_bus_item_free(item);
 *     }
 */
#ifndef SL_SCRIPT_BUS_H
#define SL_SCRIPT_BUS_H

#include "loop/loop.h"

enum {
    SL_BUS_MAX_TOPIC = 256,
    SL_BUS_MAX_MESSAGE = 1024 * 1024,
    SL_BUS_MAX_WAITING = 16 * 1024, /* messages that one subscription has not freed yet */
    SL_BUS_MAX_WAITING_BYTES = 16 * 1024 * 1024,
};

struct sl_bus_sub;

/* A message as one subscription gets it. Its owner frees it, on the thread of the subscription. */
struct sl_bus_item {
    struct sl_link link; /* for the owner */
    struct sl_str topic, message;
    bool is_gap; /* no message: here some are missing */
};

/* Takes the item: it waits, in the sense of the limits, until it is freed. May cancel any
 * subscription of its thread. */
typedef void sl_on_item(void *user, struct sl_bus_item *item);

/* NULL: the topic is empty or longer than SL_BUS_MAX_TOPIC. */
struct sl_bus_sub *sl_bus_subscribe(struct sl_loop *loop, struct sl_str topic, sl_on_item *fn,
                                    void *user);
/* No item arrives after this; those that did are still to be freed. The subscription is gone; every
 * one must be before its loop is freed. */
void sl_bus_cancel(struct sl_bus_sub *sub);
void sl_bus_item_free(struct sl_bus_item *item);
/* The number of subscriptions that will get it, or SL_E_LIMIT when topic or message are too long.
 * The topic is meant as it is: a star at its end is a star. */
int sl_bus_publish(struct sl_str topic, struct sl_str message);

#endif
