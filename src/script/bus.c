#include "script/bus.h"

#include <pthread.h>
#include <stdatomic.h>
#include "base/log.h"
#include "base/map.h"

/* The bytes of one message, shared by all who get it: the topic, then the message. */
struct letter {
    atomic_uint refs;
    size_t topic_len, len;
    char bytes[];
};

/* Referenced by its owner and by every item, so that the last of them may come after the
 * cancellation. */
struct sl_bus_sub {
    struct sl_link link; /* in topic.subs, under the lock */
    struct topic *topic;
    struct sl_loop *loop;
    sl_on_item *fn; /* NULL once cancelled; the thread of the loop alone reads and writes it */
    void *user;
    atomic_uint refs;
    atomic_size_t n_waiting, bytes_waiting;
    bool is_lagging; /* under the lock */
};

/* Those who subscribed to one name, or to all that begins with it. */
struct topic {
    struct sl_list subs;
    bool is_prefix;
    size_t len;
    char name[];
};

struct item {
    struct sl_bus_item base;
    struct sl_bus_sub *sub;
    struct letter *letter; /* NULL: a gap */
};

enum { N_WORDS = SL_BUS_MAX_TOPIC / 64 };

static struct {
    pthread_mutex_t lock;
    struct sl_map topics, prefixes;
    /* Prefixes by their length: a published topic is looked up once for each length that there is,
     * however many prefixes have it. */
    unsigned n_of_len[SL_BUS_MAX_TOPIC];
    uint64_t lengths[N_WORDS]; /* the bits of those that are not 0 */
} bus = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void unref_sub(struct sl_bus_sub *sub)
{
    if (atomic_fetch_sub_explicit(&sub->refs, 1, memory_order_acq_rel) == 1)
        sl_free(sub);
}

static void unref_letter(struct letter *l)
{
    if (l != NULL && atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) == 1)
        sl_free(l);
}

/* --- topics, with the lock held --- */

static struct sl_map *map_of(bool is_prefix)
{
    return is_prefix ? &bus.prefixes : &bus.topics;
}

static void count_prefix(size_t len, int by)
{
    uint64_t bit = 1ULL << (len % 64);

    bus.n_of_len[len] += (unsigned)by;
    if (bus.n_of_len[len] > 0)
        bus.lengths[len / 64] |= bit;
    else
        bus.lengths[len / 64] &= ~bit;
}

static struct topic *use_topic(struct sl_str name)
{
    bool is_prefix = name.p[name.len - 1] == '*';
    struct topic *t;

    name.len -= is_prefix;
    if ((t = sl_map_get(map_of(is_prefix), name)) != NULL)
        return t;
    t = sl_zalloc(sizeof(*t) + name.len);
    t->is_prefix = is_prefix;
    t->len = name.len;
    memcpy(t->name, name.p, name.len);
    sl_list_init(&t->subs);
    *sl_map_at(map_of(is_prefix), sl_str(t->name, t->len)) = t;
    if (is_prefix)
        count_prefix(t->len, 1);
    return t;
}

static void drop_topic(struct topic *t)
{
    struct sl_map *map = map_of(t->is_prefix);

    sl_map_remove(map, sl_str(t->name, t->len));
    if (map->n == 0)
        sl_map_clear(map);
    if (t->is_prefix)
        count_prefix(t->len, -1);
    sl_free(t);
}

/* --- subscriptions --- */

struct sl_bus_sub *sl_bus_subscribe(struct sl_loop *loop, struct sl_str topic, sl_on_item *fn,
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

void sl_bus_item_free(struct sl_bus_item *base)
{
    struct item *item = sl_container_of(base, struct item, base);

    sl_link_remove(&base->link);
    atomic_fetch_sub_explicit(&item->sub->n_waiting, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&item->sub->bytes_waiting, base->message.len, memory_order_relaxed);
    unref_letter(item->letter);
    unref_sub(item->sub);
    sl_free(item);
}

/* On the subscriber's thread. */
static void deliver(void *arg)
{
    struct item *item = arg;
    struct sl_bus_sub *sub = item->sub;

    if (sub->fn != NULL)
        sub->fn(sub->user, &item->base);
    else
        sl_bus_item_free(&item->base);
}

/* --- publishing, with the lock held: a subscription that is on its list has a loop that lives ---
 */

static void send_to(struct sl_bus_sub *sub, struct letter *l)
{
    struct item *item = sl_zalloc(sizeof(*item));

    item->sub = sub;
    item->letter = l;
    item->base.is_gap = l == NULL;
    if (l != NULL) {
        item->base.topic = sl_str(l->bytes, l->topic_len);
        item->base.message = sl_str(l->bytes + l->topic_len, l->len);
        atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&sub->refs, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&sub->n_waiting, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&sub->bytes_waiting, item->base.message.len, memory_order_relaxed);
    sl_loop_post(sub->loop, deliver, item);
}

/* One gap stands for all messages that are lost until one fits again, so that gaps are bounded,
 * too. */
static bool has_room(struct sl_bus_sub *sub, size_t len)
{
    bool fits = atomic_load_explicit(&sub->n_waiting, memory_order_relaxed) < SL_BUS_MAX_WAITING &&
                atomic_load_explicit(&sub->bytes_waiting, memory_order_relaxed) + len <=
                    SL_BUS_MAX_WAITING_BYTES;

    if (!fits && !sub->is_lagging) {
        sl_log_warn("a subscriber of the bus lags, it loses messages",
                    sl_f_strn("topic", sl_str(sub->topic->name, sub->topic->len)));
        send_to(sub, NULL);
    }
    sub->is_lagging = !fits;
    return fits;
}

struct post {
    struct sl_str topic, message;
    struct letter *letter; /* made for the first who gets it */
    int n;
};

static struct letter *letter_of(struct post *p)
{
    struct letter *l = p->letter;

    if (l != NULL)
        return l;
    l = p->letter = sl_alloc(sizeof(*l) + p->topic.len + p->message.len);
    atomic_init(&l->refs, 1);
    l->topic_len = p->topic.len;
    l->len = p->message.len;
    if (p->topic.len > 0)
        memcpy(l->bytes, p->topic.p, p->topic.len);
    if (p->message.len > 0)
        memcpy(l->bytes + p->topic.len, p->message.p, p->message.len);
    return l;
}

static void send_to_all(struct post *p, struct topic *t)
{
    if (t == NULL)
        return;
    sl_list_each(&t->subs, it)
    {
        struct sl_bus_sub *sub = sl_container_of(it, struct sl_bus_sub, link);

        if (has_room(sub, p->message.len)) {
            send_to(sub, letter_of(p));
            p->n++;
        }
    }
}

static void send_to_prefixes(struct post *p)
{
    for (size_t word = 0; word < N_WORDS; word++) {
        for (uint64_t bits = bus.lengths[word]; bits != 0; bits &= bits - 1) {
            size_t len = word * 64 + (size_t)__builtin_ctzll(bits);

            if (len > p->topic.len)
                return;
            send_to_all(p, sl_map_get(&bus.prefixes, sl_str(p->topic.p, len)));
        }
    }
}

int sl_bus_publish(struct sl_str topic, struct sl_str message)
{
    struct post p = {topic, message, NULL, 0};

    if (topic.len > SL_BUS_MAX_TOPIC || message.len > SL_BUS_MAX_MESSAGE)
        return SL_E_LIMIT;
    pthread_mutex_lock(&bus.lock);
    send_to_all(&p, sl_map_get(&bus.topics, topic));
    if (bus.prefixes.n > 0)
        send_to_prefixes(&p);
    pthread_mutex_unlock(&bus.lock);
    unref_letter(p.letter);
    return p.n;
}
