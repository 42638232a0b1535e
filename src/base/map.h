/*
 * A hash map from strings to pointers: open addressing, linear probing, keys hashed under the
 * secret of this process. Embedded in its owner and zero when empty; one thread, or any number of
 * readers while nobody writes.
 *
 * The map owns neither keys nor values: the bytes of a key must outlive its entry (they usually lie
 * in the value). A map that strangers can fill needs a limit in front of it; there is none in here.
 *
 *     *sl_map_at(&map, user->name) = user;
 *     user = sl_map_get(&map, SL_STR("alice"));
 *     sl_map_each(&map, it)
 *         greet(it->value);
 */
#ifndef SL_BASE_MAP_H
#define SL_BASE_MAP_H

#include "base/str.h"

struct sl_map_slot {
    struct sl_str key;
    uint64_t hash; /* 0: the slot is free */
    void *value;
};

struct sl_map {
    struct sl_map_slot *slots; /* NULL until the first key */
    size_t n, mask;
};

/* The hash of a key, for callers that look the same key up in several maps. */
uint64_t sl_map_hash(struct sl_str key);
/* The value, or NULL. */
void *sl_map_get(const struct sl_map *map, struct sl_str key);
void *sl_map_get_hashed(const struct sl_map *map, struct sl_str key, uint64_t hash);
/* The place of the value; a key that was missing is added with the value NULL. Valid until the map
 * changes. */
void **sl_map_at(struct sl_map *map, struct sl_str key);
/* Takes the key out; its value, or NULL when it was not there. Not inside sl_map_each(). */
void *sl_map_remove(struct sl_map *map, struct sl_str key);
/* Room for `n` keys without growing on the way. */
void sl_map_reserve(struct sl_map *map, size_t n);
/* Frees the memory and leaves an empty map that may be used again. */
void sl_map_clear(struct sl_map *map);

/* The first occupied slot at or after `slot`, or NULL; sl_map_each() is what to use. */
struct sl_map_slot *sl_map_next(const struct sl_map *map, struct sl_map_slot *slot);

#define sl_map_each(map, it)                                                                       \
    for (struct sl_map_slot *it = sl_map_next((map), (map)->slots); it != NULL;                    \
         it = sl_map_next((map), it + 1))

#endif
