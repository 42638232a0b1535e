#include "route/target.h"

#include <pthread.h>
#include <stdatomic.h>
#include "base/hash.h"
#include "base/map.h"
#include "route/snapshot.h"

enum { REST_MS = 2000, KEY_MAX = 4 + 256 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sl_map table; /* key -> struct sl_target_state */
static uint32_t last_id;

/* Flags and port, then the host, the path or the tunnel: texts that are equal exactly when the
 * targets are. */
static struct sl_str make_key(const struct sl_target *t, char room[KEY_MAX])
{
    bool is_unix = t->unix_path.len > 0, is_tunnel = t->tunnel.len > 0;
    struct sl_str name = is_unix ? t->unix_path : is_tunnel ? t->tunnel : t->host;

    sl_assert(name.len <= KEY_MAX - 4);
    room[0] = (char)(is_unix | t->tls << 1 | t->tls_verify << 2 | is_tunnel << 3);
    room[1] = (char)(t->port >> 8);
    room[2] = (char)t->port;
    memcpy(room + 3, name.p, name.len);
    return sl_str(room, 3 + name.len);
}

static uint32_t next_id(void)
{
    sl_assert(last_id < UINT32_MAX);
    return ++last_id;
}

static struct sl_target_state *state_new(struct sl_str key)
{
    static const struct sl_hash_key fixed = {0x736c756963652031u, 0x7461726765742031u};
    struct sl_target_state *state = sl_zalloc(sizeof(*state) + key.len);
    char *copy = (char *)(state + 1);

    memcpy(copy, key.p, key.len);
    state->key = sl_str(copy, key.len);
    state->name_hash = sl_hash_with(&fixed, key.p, key.len);
    state->id = next_id();
    return state;
}

struct sl_target_state *sl_target_state_get(const struct sl_target *t)
{
    char room[KEY_MAX];
    struct sl_str key = make_key(t, room);
    struct sl_target_state *state;

    pthread_mutex_lock(&lock);
    state = sl_map_get(&table, key);
    if (state == NULL) {
        state = state_new(key);
        *sl_map_at(&table, state->key) = state;
    }
    state->n_refs++;
    pthread_mutex_unlock(&lock);
    return state;
}

void sl_target_state_put(struct sl_target_state *state)
{
    if (state == NULL)
        return;
    pthread_mutex_lock(&lock);
    if (--state->n_refs == 0) {
        sl_map_remove(&table, state->key);
        sl_free(state);
        if (table.n == 0)
            sl_map_clear(&table);
    }
    pthread_mutex_unlock(&lock);
}

uint32_t sl_target_id_new(void)
{
    uint32_t id;

    pthread_mutex_lock(&lock);
    id = next_id();
    pthread_mutex_unlock(&lock);
    return id;
}

size_t sl_target_states(void)
{
    size_t n;

    pthread_mutex_lock(&lock);
    n = table.n;
    pthread_mutex_unlock(&lock);
    return n;
}

void sl_target_failed(const struct sl_target *t, uint64_t now_ms)
{
    atomic_store_explicit(&t->state->rests_until_ms, now_ms + REST_MS, memory_order_relaxed);
}

/* Reads before it writes: nearly always there is nothing to change, and all workers read this line.
 */
void sl_target_ok(const struct sl_target *t)
{
    if (atomic_load_explicit(&t->state->rests_until_ms, memory_order_relaxed) != 0)
        atomic_store_explicit(&t->state->rests_until_ms, 0, memory_order_relaxed);
}

bool sl_target_is_resting(const struct sl_target *t, uint64_t now_ms)
{
    return atomic_load_explicit(&t->state->rests_until_ms, memory_order_relaxed) > now_ms;
}

void sl_target_begin(const struct sl_target *t)
{
    atomic_fetch_add_explicit(&t->state->n_active, 1, memory_order_relaxed);
}

void sl_target_end(const struct sl_target *t)
{
    uint32_t before = atomic_fetch_sub_explicit(&t->state->n_active, 1, memory_order_relaxed);

    sl_assert(before > 0);
}

uint32_t sl_target_active(const struct sl_target *t)
{
    return atomic_load_explicit(&t->state->n_active, memory_order_relaxed);
}
