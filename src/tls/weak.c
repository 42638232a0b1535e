#include "tls/weak.h"

#include <stdatomic.h>

static struct sl_str key_of(const uint8_t *key)
{
    return sl_str((const char *)key, SL_WEAK_KEY_LEN);
}

/* What is in the table has at least one reference while the lock is held. */
static struct sl_weak *find_locked(struct sl_weak_table *table, const uint8_t *key)
{
    struct sl_weak *w = sl_map_get(&table->map, key_of(key));

    return w != NULL ? sl_weak_ref(w) : NULL;
}

struct sl_weak *sl_weak_find(struct sl_weak_table *table, const uint8_t key[SL_WEAK_KEY_LEN])
{
    struct sl_weak *w;

    pthread_mutex_lock(&table->lock);
    w = find_locked(table, key);
    pthread_mutex_unlock(&table->lock);
    return w;
}

struct sl_weak *sl_weak_add(struct sl_weak_table *table, struct sl_weak *w,
                            const uint8_t key[SL_WEAK_KEY_LEN])
{
    struct sl_weak *first;

    memcpy(w->key, key, SL_WEAK_KEY_LEN);
    atomic_init(&w->n_refs, 1);
    pthread_mutex_lock(&table->lock);
    first = find_locked(table, key);
    if (first == NULL)
        *sl_map_at(&table->map, key_of(w->key)) = w;
    pthread_mutex_unlock(&table->lock);
    if (first == NULL)
        return w;
    table->free_fn(w);
    return first;
}

struct sl_weak *sl_weak_ref(struct sl_weak *w)
{
    atomic_fetch_add_explicit(&w->n_refs, 1, memory_order_relaxed);
    return w;
}

/* Gives one reference back unless it is the last one. */
static bool drop_unless_last(struct sl_weak *w)
{
    unsigned n = atomic_load_explicit(&w->n_refs, memory_order_relaxed);

    while (n > 1)
        if (atomic_compare_exchange_weak_explicit(&w->n_refs, &n, n - 1, memory_order_release,
                                                  memory_order_relaxed))
            return true;
    return false;
}

void sl_weak_unref(struct sl_weak_table *table, struct sl_weak *w)
{
    bool is_last;

    if (drop_unless_last(w))
        return;
    /* The last one goes under the lock, so that nobody finds the object on its way out. */
    pthread_mutex_lock(&table->lock);
    is_last = atomic_fetch_sub_explicit(&w->n_refs, 1, memory_order_acq_rel) == 1;
    if (is_last)
        sl_map_remove(&table->map, key_of(w->key));
    pthread_mutex_unlock(&table->lock);
    if (is_last)
        table->free_fn(w);
}
