/*
 * Publish and subscribe between the Lua states of the process, each on the loop of its own thread:
 * what sluice.bus is made of. Knows no Lua, and no other process.
 *
 * Any thread may publish; a subscription belongs to the thread of its loop. A message arrives there
 * later, from the loop, in the order of publication by one thread. Messages and what waits of them
 * for one subscription are bounded: a subscriber that lags loses the newest, which is counted and
 * logged.
 *
 *     sub = sl_bus_subscribe(loop, SL_STR("purge"), on_message, cache);
 *     n = sl_bus_publish(SL_STR("purge"), key);
 */
#ifndef SL_SCRIPT_BUS_H
#define SL_SCRIPT_BUS_H

#include "loop/loop.h"

enum {
    SL_BUS_MAX_TOPIC = 256,
    SL_BUS_MAX_MESSAGE = 1024 * 1024,
    SL_BUS_MAX_WAITING = 1024, /* messages on the way to one subscription */
    SL_BUS_MAX_WAITING_BYTES = 16 * 1024 * 1024,
};

struct sl_bus_sub;

/* `message` is valid during the call, which may cancel any subscription of its thread. */
typedef void sl_on_message(void *user, struct sl_str message);

/* NULL: the topic is empty or longer than SL_BUS_MAX_TOPIC. */
struct sl_bus_sub *sl_bus_subscribe(struct sl_loop *loop, struct sl_str topic, sl_on_message *fn,
                                    void *user);
/* No message arrives after this. The subscription is gone; every one must be before its loop is
 * freed. */
void sl_bus_cancel(struct sl_bus_sub *sub);
/* The number of subscriptions that will get it, or SL_E_LIMIT when topic or message are too long.
 */
int sl_bus_publish(struct sl_str topic, struct sl_str message);

#endif
