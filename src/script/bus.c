#include "script/bus.h"

#include <pthread.h>
#include <stdatomic.h>
#include "base/log.h"
#include "base/map.h"

/* The bytes of one message, shared by all who get it. */
struct message {
    atomic_uint refs;
    size_t len;
    char bytes[];
};

/* Referenced by its owner and by every message on its way, so that the last of them may come after
 * the cancellation. */
struct sl_bus_sub {
    struct sl_link link; /* in topic.subs, under the lock */
    struct topic *topic;
    struct sl_loop *loop;
    sl_on_message *fn; /* NULL once cancelled; the thread of the loop alone reads and writes it */
    void *user;
    atomic_uint refs;
    atomic_size_t n_waiting, bytes_waiting;
    bool is_lagging; /* under the lock */
};

struct topic {
    struct sl_list subs;
    size_t len;
    char name[];
};

struct delivery {
    struct sl_bus_sub *sub;
    struct message *message;
};

static struct {
    pthread_mutex_t lock;
    struct sl_map topics;
} bus = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void unref_sub(struct sl_bus_sub *sub)
{
    if (atomic_fetch_sub_explicit(&sub->refs, 1, memory_order_acq_rel) == 1)
        sl_free(sub);
}

static void unref_message(struct message *m)
{
    if (atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) == 1)
        sl_free(m);
}

static struct topic *use_topic(struct sl_str name)
{
    struct topic *t = sl_map_get(&bus.topics, name);

    if (t != NULL)
        return t;
    t = sl_zalloc(sizeof(*t) + name.len);
    t->len = name.len;
    memcpy(t->name, name.p, name.len);
    sl_list_init(&t->subs);
    *sl_map_at(&bus.topics, sl_str(t->name, t->len)) = t;
    return t;
}

static void drop_topic(struct topic *t)
{
    sl_map_remove(&bus.topics, sl_str(t->name, t->len));
    if (bus.topics.n == 0)
        sl_map_clear(&bus.topics);
    sl_free(t);
}

struct sl_bus_sub *sl_bus_subscribe(struct sl_loop *loop, struct sl_str topic, sl_on_message *fn,
                                    void *user)
{
    struct sl_bus_sub *sub;

    if (topic.len == 0 || topic.len > SL_BUS_MAX_TOPIC)
        return NULL;
    sub = sl_zalloc(sizeof(*sub));
    sub->loop = loop;
    sub->fn = fn;
    sub->user = user;
    atomic_init(&sub->refs, 1);
    pthread_mutex_lock(&bus.lock);
    sub->topic = use_topic(topic);
    sl_list_append(&sub->topic->subs, &sub->link);
    pthread_mutex_unlock(&bus.lock);
    return sub;
}

void sl_bus_cancel(struct sl_bus_sub *sub)
{
    sub->fn = NULL;
    pthread_mutex_lock(&bus.lock);
    sl_link_remove(&sub->link);
    if (sl_list_is_empty(&sub->topic->subs))
        drop_topic(sub->topic);
    pthread_mutex_unlock(&bus.lock);
    unref_sub(sub);
}

/* On the subscriber's thread. */
static void deliver(void *arg)
{
    struct delivery d = *(struct delivery *)arg;

    sl_free(arg);
    atomic_fetch_sub_explicit(&d.sub->n_waiting, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&d.sub->bytes_waiting, d.message->len, memory_order_relaxed);
    if (d.sub->fn != NULL)
        d.sub->fn(d.sub->user, sl_str(d.message->bytes, d.message->len));
    unref_message(d.message);
    unref_sub(d.sub);
}

static bool has_room(struct sl_bus_sub *sub, size_t len)
{
    bool fits = atomic_load_explicit(&sub->n_waiting, memory_order_relaxed) < SL_BUS_MAX_WAITING &&
                atomic_load_explicit(&sub->bytes_waiting, memory_order_relaxed) + len <=
                    SL_BUS_MAX_WAITING_BYTES;

    if (!fits && !sub->is_lagging)
        sl_log_warn("a subscriber of the bus lags, it loses messages",
                    sl_f_strn("topic", sl_str(sub->topic->name, sub->topic->len)));
    sub->is_lagging = !fits;
    return fits;
}

static void send_to(struct sl_bus_sub *sub, struct message *m)
{
    struct delivery *d = sl_alloc(sizeof(*d));

    *d = (struct delivery){sub, m};
    atomic_fetch_add_explicit(&sub->refs, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&sub->n_waiting, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&sub->bytes_waiting, m->len, memory_order_relaxed);
    sl_loop_post(sub->loop, deliver, d);
}

/* With the lock held: a subscription that is on its list has a loop that lives. */
static int send_to_all(struct topic *t, struct sl_str text)
{
    struct message *m = sl_alloc(sizeof(*m) + text.len);
    int n = 0;

    atomic_init(&m->refs, 1);
    m->len = text.len;
    if (text.len > 0)
        memcpy(m->bytes, text.p, text.len);
    sl_list_each(&t->subs, it)
    {
        struct sl_bus_sub *sub = sl_container_of(it, struct sl_bus_sub, link);

        if (has_room(sub, text.len)) {
            send_to(sub, m);
            n++;
        }
    }
    unref_message(m);
    return n;
}

int sl_bus_publish(struct sl_str topic, struct sl_str message)
{
    struct topic *t;
    int n = 0;

    if (topic.len > SL_BUS_MAX_TOPIC || message.len > SL_BUS_MAX_MESSAGE)
        return SL_E_LIMIT;
    pthread_mutex_lock(&bus.lock);
    if ((t = sl_map_get(&bus.topics, topic)) != NULL)
        n = send_to_all(t, message);
    pthread_mutex_unlock(&bus.lock);
    return n;
}
