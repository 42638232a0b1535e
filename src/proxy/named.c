#include "proxy/named.h"

#include <pthread.h>
#include "base/list.h"
#include "base/map.h"

enum { N_SHARDS = 64, SHARD_MAX = SL_NAMED_MAX / N_SHARDS };

struct key {
    uint8_t ip[16];
    uint16_t source_port, port;
};

struct name {
    struct sl_link link; /* in shard->unused while n_users is 0 */
    struct key key;
    uint32_t n_users;
    uint64_t used_ms;
    struct sl_proxy_header header;
};

static struct shard {
    pthread_mutex_t lock;
    struct sl_map names;
    struct sl_list unused; /* oldest first */
} shards[N_SHARDS];

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void init_shards(void)
{
    for (int i = 0; i < N_SHARDS; i++) {
        pthread_mutex_init(&shards[i].lock, NULL);
        sl_list_init(&shards[i].unused);
    }
}

static struct sl_str text_of(const struct key *key)
{
    return sl_str((const char *)key, sizeof(*key));
}

/* The shard of this key, locked. */
static struct shard *lock(const struct sl_addr *source, uint16_t port, struct key *key)
{
    struct shard *s;

    *key = (struct key){.source_port = sl_addr_port(source), .port = port};
    sl_addr_to_ip16(source, key->ip);
    pthread_once(&once, init_shards);
    s = &shards[sl_map_hash(text_of(key)) >> 32 & (N_SHARDS - 1)];
    pthread_mutex_lock(&s->lock);
    return s;
}

static void unlock(struct shard *s)
{
    pthread_mutex_unlock(&s->lock);
}

static void drop(struct shard *s, struct name *n)
{
    sl_link_remove(&n->link);
    sl_map_remove(&s->names, text_of(&n->key));
    sl_free(n);
}

static bool is_over(const struct name *n, uint64_t now_ms)
{
    return n->n_users == 0 && now_ms > n->used_ms + SL_NAMED_IDLE_MS;
}

/* Lets go of what is over, and of the oldest when there is no room. */
static bool make_room(struct shard *s, uint64_t now_ms)
{
    struct sl_link *first;

    while ((first = sl_list_first(&s->unused)) != NULL) {
        struct name *n = sl_container_of(first, struct name, link);

        if (s->names.n < SHARD_MAX && !is_over(n, now_ms))
            break;
        drop(s, n);
    }
    return s->names.n < SHARD_MAX;
}

static struct name *find(const struct shard *s, const struct key *key, uint64_t now_ms)
{
    struct name *n = sl_map_get(&s->names, text_of(key));

    return n != NULL && !is_over(n, now_ms) ? n : NULL;
}

static void touch(struct shard *s, struct name *n, uint64_t now_ms)
{
    n->used_ms = now_ms;
    sl_link_remove(&n->link);
    if (n->n_users == 0)
        sl_list_append(&s->unused, &n->link);
}

static bool is_same(const struct sl_proxy_header *a, const struct sl_proxy_header *b)
{
    return a->has_addresses == b->has_addresses && a->from_port == b->from_port &&
           a->to_port == b->to_port && memcmp(a->from, b->from, sizeof(a->from)) == 0 &&
           memcmp(a->to, b->to, sizeof(a->to)) == 0;
}

static enum sl_naming add(struct shard *s, const struct key *key,
                          const struct sl_proxy_header *header, uint64_t now_ms)
{
    struct name *n;

    if (!make_room(s, now_ms))
        return SL_NAMING_FULL;
    n = sl_zalloc(sizeof(*n));
    n->key = *key;
    n->header = *header;
    *sl_map_at(&s->names, text_of(&n->key)) = n;
    touch(s, n, now_ms);
    return SL_NAMING_NEW;
}

enum sl_naming sl_named_put(const struct sl_addr *source, uint16_t port,
                            const struct sl_proxy_header *header, uint64_t now_ms)
{
    struct key key;
    struct shard *s = lock(source, port, &key);
    struct name *n = sl_map_get(&s->names, text_of(&key));
    enum sl_naming naming = SL_NAMING_SAME;

    if (n == NULL) {
        naming = add(s, &key, header, now_ms);
    } else {
        if (!is_same(&n->header, header))
            naming = SL_NAMING_CHANGED;
        n->header = *header;
        touch(s, n, now_ms);
    }
    unlock(s);
    return naming;
}

bool sl_named_has(const struct sl_addr *source, uint16_t port, uint64_t now_ms)
{
    struct key key;
    struct shard *s = lock(source, port, &key);
    bool is_known = find(s, &key, now_ms) != NULL;

    unlock(s);
    return is_known;
}

bool sl_named_enter(const struct sl_addr *source, uint16_t port, uint64_t now_ms,
                    struct sl_proxy_header *header)
{
    struct key key;
    struct shard *s = lock(source, port, &key);
    struct name *n = find(s, &key, now_ms);

    if (n != NULL) {
        n->n_users++;
        touch(s, n, now_ms);
        *header = n->header;
    }
    unlock(s);
    return n != NULL;
}

void sl_named_leave(const struct sl_addr *source, uint16_t port, uint64_t now_ms)
{
    struct key key;
    struct shard *s = lock(source, port, &key);
    struct name *n = sl_map_get(&s->names, text_of(&key));

    sl_assert(n != NULL && n->n_users > 0); /* names in use are never dropped */
    n->n_users--;
    touch(s, n, now_ms);
    unlock(s);
}
