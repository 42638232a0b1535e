#include "proxy/visitors.h"

#include <pthread.h>
#include "base/map.h"

enum { N_SHARDS = 64, MINUTE_MS = 60000, SWEEP_EVERY = 4096 };

struct visitor {
    uint8_t ip[16];
    uint32_t n_open;
    uint32_t n_now, n_before; /* opened in this minute and the one before */
    uint64_t minute;          /* number of the minute that n_now counts */
};

static struct shard {
    pthread_mutex_t lock;
    struct sl_map visitors; /* key: the 16 bytes in the value */
    unsigned n_until_sweep;
} shards[N_SHARDS];

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void init_shards(void)
{
    for (int i = 0; i < N_SHARDS; i++)
        pthread_mutex_init(&shards[i].lock, NULL);
}

static struct sl_str key_of(const uint8_t ip[16])
{
    return sl_str((const char *)ip, 16);
}

static struct shard *shard_of(const uint8_t ip[16])
{
    pthread_once(&once, init_shards);
    return &shards[sl_map_hash(key_of(ip)) >> 32 & (N_SHARDS - 1)];
}

static void turn_minute(struct visitor *v, uint64_t minute)
{
    if (v->minute == minute)
        return;
    v->n_before = v->minute + 1 == minute ? v->n_now : 0;
    v->n_now = 0;
    v->minute = minute;
}

/* A sliding minute: what is left of the former one counts by its share. */
static bool is_too_fast(const struct visitor *v, uint64_t now_ms, unsigned per_minute)
{
    uint64_t into = now_ms % MINUTE_MS;
    uint64_t weighted = v->n_now + v->n_before * (MINUTE_MS - into) / MINUTE_MS;

    return per_minute > 0 && weighted >= per_minute;
}

/* The visitors in whom nothing is worth remembering, at most SWEEP_EVERY. */
static size_t find_forgettable(const struct shard *s, uint64_t minute, struct visitor **out)
{
    size_t n = 0;

    sl_map_each(&s->visitors, it)
    {
        struct visitor *v = it->value;

        if (v->n_open == 0 && v->minute + 1 < minute && n < SWEEP_EVERY)
            out[n++] = v;
    }
    return n;
}

/* The map must not grow with every address ever seen. One walk for many new visitors, so that the
 * cost of each is small whoever comes. */
static void sweep(struct shard *s, uint64_t minute)
{
    struct visitor *old[SWEEP_EVERY];
    size_t n;

    if (s->n_until_sweep-- > 0)
        return;
    s->n_until_sweep = SWEEP_EVERY;
    n = find_forgettable(s, minute, old);
    for (size_t i = 0; i < n; i++) {
        sl_map_remove(&s->visitors, key_of(old[i]->ip));
        sl_free(old[i]);
    }
}

static struct visitor *visitor_at(struct shard *s, const uint8_t ip[16])
{
    struct visitor *v = sl_map_get(&s->visitors, key_of(ip));

    if (v == NULL) {
        v = sl_zalloc(sizeof(*v));
        memcpy(v->ip, ip, 16);
        *sl_map_at(&s->visitors, key_of(v->ip)) = v;
    }
    return v;
}

bool sl_visitor_enter(const uint8_t ip[16], const struct sl_policy *policy, uint64_t now_ms)
{
    struct shard *s = shard_of(ip);
    uint64_t minute = now_ms / MINUTE_MS;
    struct visitor *v;
    bool ok;

    pthread_mutex_lock(&s->lock);
    sweep(s, minute);
    v = visitor_at(s, ip);
    turn_minute(v, minute);
    ok = (policy->max_connections_per_ip == 0 || v->n_open < policy->max_connections_per_ip) &&
         !is_too_fast(v, now_ms, policy->connections_per_minute);
    if (ok) {
        v->n_open++;
        v->n_now++;
    }
    pthread_mutex_unlock(&s->lock);
    return ok;
}

bool sl_visitor_admit(const uint8_t ip[16], const struct sl_policy *policy, uint64_t now_ms,
                      bool *is_counted)
{
    *is_counted = false;
    if (!sl_access_allows(&policy->access, ip))
        return false;
    if (policy->max_connections_per_ip == 0 && policy->connections_per_minute == 0)
        return true;
    *is_counted = sl_visitor_enter(ip, policy, now_ms);
    return *is_counted;
}

void sl_visitor_leave(const uint8_t ip[16])
{
    struct shard *s = shard_of(ip);
    struct visitor *v;

    pthread_mutex_lock(&s->lock);
    v = sl_map_get(&s->visitors, key_of(ip));
    sl_assert(v != NULL && v->n_open > 0);
    v->n_open--;
    pthread_mutex_unlock(&s->lock);
}
