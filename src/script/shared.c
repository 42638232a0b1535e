#include "script/shared.h"

#include <pthread.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/list.h"
#include "base/map.h"

enum {
    N_SHARDS = 16,
    SHARD_BYTES = SL_SHARED_MAX_BYTES / N_SHARDS,
    SWEEP = 2, /* expired entries that one write looks for */
};

struct item {
    struct sl_link used; /* in shard.mortal, the latest last; off the list without a time to live */
    uint64_t expires_ms; /* 0: never */
    enum sl_shared_kind kind;
    bool flag;
    double num;
    uint32_t key_len, value_len;
    char bytes[]; /* key, value */
};

struct shard {
    pthread_mutex_t lock;
    struct sl_map items;
    struct sl_list mortal;
    size_t bytes;
} __attribute__((aligned(64))); /* two workers in neighbouring shards must not share a cache line */

struct sl_shared {
    struct shard shards[N_SHARDS];
    char name[SL_SHARED_MAX_NAME + 1];
};

static struct {
    pthread_mutex_t lock;
    struct sl_map dicts;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* --- dictionaries --- */

static struct sl_shared *new_dict(struct sl_str name)
{
    struct sl_shared *d = aligned_alloc(_Alignof(struct sl_shared), sizeof(*d));

    sl_assert(d != NULL);
    memset(d, 0, sizeof(*d));
    memcpy(d->name, name.p, name.len);
    for (size_t i = 0; i < N_SHARDS; i++) {
        pthread_mutex_init(&d->shards[i].lock, NULL);
        sl_list_init(&d->shards[i].mortal);
    }
    return d;
}

struct sl_shared *sl_shared_open(struct sl_str name)
{
    struct sl_shared *d;

    if (name.len == 0 || name.len > SL_SHARED_MAX_NAME)
        return NULL;
    pthread_mutex_lock(&all.lock);
    d = sl_map_get(&all.dicts, name);
    if (d == NULL && all.dicts.n < SL_SHARED_MAX_DICTS) {
        d = new_dict(name);
        *sl_map_at(&all.dicts, sl_str(d->name, name.len)) = d;
    }
    pthread_mutex_unlock(&all.lock);
    return d;
}

/* --- items; the caller holds the lock of the shard --- */

static struct sl_str key_of(const struct item *it)
{
    return sl_str(it->bytes, it->key_len);
}

static struct sl_str value_of(const struct item *it)
{
    return sl_str(it->bytes + it->key_len, it->value_len);
}

static size_t cost(size_t key_len, size_t value_len)
{
    return sizeof(struct item) + 2 * sizeof(struct sl_map_slot) + key_len + value_len;
}

static bool is_expired(const struct item *it, uint64_t now)
{
    return it->expires_ms != 0 && now >= it->expires_ms;
}

static void drop(struct shard *s, struct item *it)
{
    sl_map_remove(&s->items, key_of(it));
    sl_link_remove(&it->used);
    s->bytes -= cost(it->key_len, it->value_len);
    sl_free(it);
}

static void touch(struct shard *s, struct item *it)
{
    sl_link_remove(&it->used);
    if (it->expires_ms != 0)
        sl_list_append(&s->mortal, &it->used);
}

/* The live entry of a key, or NULL. */
static struct item *find(struct shard *s, struct sl_str key)
{
    struct item *it = sl_map_get(&s->items, key);

    if (it == NULL)
        return NULL;
    if (is_expired(it, sl_clock_coarse_ms())) {
        drop(s, it);
        return NULL;
    }
    touch(s, it);
    return it;
}

/* A few entries that have expired go with every write, so that a dictionary that is only written to
 * does not keep them. */
static void sweep(struct shard *s)
{
    uint64_t now = sl_clock_coarse_ms();

    for (int i = 0; i < SWEEP && !sl_list_is_empty(&s->mortal); i++) {
        struct item *it = sl_container_of(sl_list_first(&s->mortal), struct item, used);

        if (!is_expired(it, now))
            return;
        drop(s, it);
    }
}

/* Mortal entries give way, oldest use first, until `bytes` more fit when `freed` are given back;
 * false when they do not. */
static bool make_room(struct shard *s, size_t bytes, size_t freed)
{
    while (s->bytes - freed + bytes > SHARD_BYTES) {
        if (sl_list_is_empty(&s->mortal))
            return false;
        drop(s, sl_container_of(sl_list_first(&s->mortal), struct item, used));
    }
    return true;
}

static void set_number_or_flag(struct item *it, const struct sl_shared_value *value)
{
    it->kind = value->kind;
    it->num = value->num;
    it->flag = value->flag;
}

static uint64_t expiry(uint64_t ttl_ms)
{
    return ttl_ms == 0 ? 0 : sl_clock_coarse_ms() + ttl_ms;
}

static size_t value_len(const struct sl_shared_value *value)
{
    return value->kind == SL_SHARED_STRING ? value->str.len : 0;
}

/* A new entry in the place of `old`, if any, which stays when there is no room. */
static int put(struct shard *s, struct item *old, struct sl_str key,
               const struct sl_shared_value *value, uint64_t ttl_ms)
{
    size_t len = value_len(value), freed = 0;
    struct item *it = NULL;

    if (old != NULL) {
        freed = cost(old->key_len, old->value_len);
        sl_link_remove(&old->used); /* it must not give way to itself */
    }
    sweep(s);
    if (make_room(s, cost(key.len, len), freed))
        it = sl_try_alloc(sizeof(*it) + key.len + len);
    if (old != NULL && it == NULL)
        touch(s, old);
    if (it == NULL)
        return SL_E_LIMIT;
    if (old != NULL)
        drop(s, old);
    *it = (struct item){
        .expires_ms = expiry(ttl_ms), .key_len = (uint32_t)key.len, .value_len = (uint32_t)len};
    set_number_or_flag(it, value);
    memcpy(it->bytes, key.p, key.len);
    if (len > 0)
        memcpy(it->bytes + key.len, value->str.p, len);
    *sl_map_at(&s->items, key_of(it)) = it;
    s->bytes += cost(key.len, len);
    touch(s, it);
    return 0;
}

/* --- the interface --- */

static struct shard *lock_shard(struct sl_shared *d, struct sl_str key)
{
    struct shard *s = &d->shards[sl_map_hash(key) >> 60];

    _Static_assert(N_SHARDS == 1 << 4, "the shard is the four highest bits of the hash");
    pthread_mutex_lock(&s->lock);
    return s;
}

int sl_shared_get(struct sl_shared *d, struct sl_str key, struct sl_shared_value *out,
                  struct sl_buf *room)
{
    struct shard *s = lock_shard(d, key);
    struct item *it = find(s, key);

    if (it != NULL) {
        *out = (struct sl_shared_value){.kind = it->kind, .num = it->num, .flag = it->flag};
        if (it->value_len > 0) {
            sl_buf_append_str(room, value_of(it));
            out->str = sl_str((char *)room->base + room->end - it->value_len, it->value_len);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return it != NULL ? 0 : SL_E_NOT_FOUND;
}

static bool fits(struct sl_str key, const struct sl_shared_value *value)
{
    return key.len <= SL_SHARED_MAX_KEY && value_len(value) <= SL_SHARED_MAX_VALUE;
}

int sl_shared_set(struct sl_shared *d, struct sl_str key, const struct sl_shared_value *value,
                  uint64_t ttl_ms)
{
    struct shard *s;
    struct item *it;
    int rc = 0;

    if (!fits(key, value))
        return SL_E_LIMIT;
    s = lock_shard(d, key);
    it = find(s, key);
    if (it != NULL && value->kind != SL_SHARED_STRING && it->value_len == 0) {
        set_number_or_flag(it, value);
        it->expires_ms = expiry(ttl_ms);
        touch(s, it);
    } else {
        rc = put(s, it, key, value, ttl_ms);
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

int sl_shared_add(struct sl_shared *d, struct sl_str key, const struct sl_shared_value *value,
                  uint64_t ttl_ms)
{
    struct shard *s;
    int rc = SL_E_IN_USE;

    if (!fits(key, value))
        return SL_E_LIMIT;
    s = lock_shard(d, key);
    if (find(s, key) == NULL)
        rc = put(s, NULL, key, value, ttl_ms);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int incr(struct shard *s, struct sl_str key, double by, const double *init, uint64_t ttl_ms,
                double *out)
{
    struct item *it = find(s, key);

    if (it != NULL) {
        if (it->kind != SL_SHARED_NUMBER)
            return SL_E_IN_USE;
        *out = it->num += by;
        return 0;
    }
    if (init == NULL)
        return SL_E_NOT_FOUND;
    *out = *init + by;
    return put(s, NULL, key, &(struct sl_shared_value){.kind = SL_SHARED_NUMBER, .num = *out},
               ttl_ms);
}

int sl_shared_incr(struct sl_shared *d, struct sl_str key, double by, const double *init,
                   uint64_t ttl_ms, double *out)
{
    struct shard *s;
    int rc;

    if (key.len > SL_SHARED_MAX_KEY)
        return SL_E_LIMIT;
    s = lock_shard(d, key);
    rc = incr(s, key, by, init, ttl_ms, out);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

int sl_shared_delete(struct sl_shared *d, struct sl_str key)
{
    struct shard *s = lock_shard(d, key);
    struct item *it = find(s, key);

    if (it != NULL)
        drop(s, it);
    pthread_mutex_unlock(&s->lock);
    return it != NULL ? 0 : SL_E_NOT_FOUND;
}

size_t sl_shared_bytes(struct sl_shared *d)
{
    size_t bytes = 0;

    for (size_t i = 0; i < N_SHARDS; i++) {
        pthread_mutex_lock(&d->shards[i].lock);
        bytes += d->shards[i].bytes;
        pthread_mutex_unlock(&d->shards[i].lock);
    }
    return bytes;
}
