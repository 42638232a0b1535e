#include "base/map.h"

#include "base/hash.h"

enum { FIRST_SLOTS = 8 };

uint64_t sl_map_hash(struct sl_str key)
{
    uint64_t hash = sl_hash(key.p, key.len);

    return hash != 0 ? hash : 1; /* 0 marks a free slot */
}

/* The slot that holds the key, or the free one where it would go. There is always a free one. */
static struct sl_map_slot *probe(const struct sl_map *map, struct sl_str key, uint64_t hash)
{
    size_t i = hash & map->mask;

    for (;; i = (i + 1) & map->mask) {
        struct sl_map_slot *slot = &map->slots[i];

        if (slot->hash == 0 || (slot->hash == hash && sl_str_eq(slot->key, key)))
            return slot;
    }
}

void *sl_map_get_hashed(const struct sl_map *map, struct sl_str key, uint64_t hash)
{
    return map->n > 0 ? probe(map, key, hash)->value : NULL;
}

void *sl_map_get(const struct sl_map *map, struct sl_str key)
{
    return map->n > 0 ? probe(map, key, sl_map_hash(key))->value : NULL;
}

static void resize(struct sl_map *map, size_t n_slots)
{
    struct sl_map bigger = {
        .slots = sl_zalloc(n_slots * sizeof(struct sl_map_slot)), .n = map->n, .mask = n_slots - 1};

    sl_map_each(map, it) * probe(&bigger, it->key, it->hash) = *it;
    sl_free(map->slots);
    *map = bigger;
}

/* At most three quarters of the slots are used: beyond that the runs grow long. */
static size_t max_keys(size_t n_slots)
{
    return n_slots / 4 * 3;
}

void sl_map_reserve(struct sl_map *map, size_t n)
{
    size_t n_slots = map->slots != NULL ? map->mask + 1 : FIRST_SLOTS;

    if (n == 0 || (map->slots != NULL && n <= max_keys(n_slots)))
        return;
    sl_assert(n < SIZE_MAX / sizeof(struct sl_map_slot) / 4);
    while (n > max_keys(n_slots))
        n_slots *= 2;
    resize(map, n_slots);
}

void **sl_map_at(struct sl_map *map, struct sl_str key)
{
    uint64_t hash = sl_map_hash(key);
    struct sl_map_slot *slot;

    sl_map_reserve(map, map->n + 1);
    slot = probe(map, key, hash);
    if (slot->hash == 0) {
        *slot = (struct sl_map_slot){.key = key, .hash = hash};
        map->n++;
    }
    return &slot->value;
}

/* Closes the gap at `i`: every later key of the run that may move there does, so that no marker for
 * "was here" is needed. */
static void close_gap(struct sl_map *map, size_t i)
{
    for (size_t j = (i + 1) & map->mask; map->slots[j].hash != 0; j = (j + 1) & map->mask) {
        size_t home = map->slots[j].hash & map->mask;

        if (((j - home) & map->mask) < ((j - i) & map->mask))
            continue; /* its home lies behind the gap */
        map->slots[i] = map->slots[j];
        i = j;
    }
    map->slots[i] = (struct sl_map_slot){0};
}

void *sl_map_remove(struct sl_map *map, struct sl_str key)
{
    struct sl_map_slot *slot;
    void *value;

    if (map->n == 0)
        return NULL;
    slot = probe(map, key, sl_map_hash(key));
    if (slot->hash == 0)
        return NULL;
    value = slot->value;
    close_gap(map, (size_t)(slot - map->slots));
    map->n--;
    return value;
}

struct sl_map_slot *sl_map_next(const struct sl_map *map, struct sl_map_slot *slot)
{
    struct sl_map_slot *end;

    if (map->slots == NULL)
        return NULL;
    for (end = map->slots + map->mask + 1; slot < end; slot++) {
        if (slot->hash != 0)
            return slot;
    }
    return NULL;
}

void sl_map_clear(struct sl_map *map)
{
    sl_free(map->slots);
    *map = (struct sl_map){0};
}
