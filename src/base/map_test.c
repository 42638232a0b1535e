#include "base/map.h"
#include "base/check.h"

enum { N_KEYS = 1000 };

static char names[N_KEYS][8];

static struct sl_str name(size_t i)
{
    return sl_str_c(names[i]);
}

static void an_empty_map_has_nothing(void)
{
    struct sl_map map = {0};

    sl_check(sl_map_get(&map, SL_STR("a")) == NULL);
    sl_check(sl_map_remove(&map, SL_STR("a")) == NULL);
    sl_map_each(&map, it) sl_check(it == NULL);
    sl_map_reserve(&map, 0);
    sl_check(map.slots == NULL);
    sl_map_clear(&map);
}

static void at_adds_once(void)
{
    struct sl_map map = {0};
    int one, two;

    sl_check(*sl_map_at(&map, SL_STR("a")) == NULL);
    *sl_map_at(&map, SL_STR("a")) = &one;
    *sl_map_at(&map, SL_STR("a")) = &two;
    *sl_map_at(&map, SL_STR("")) = &one; /* the empty string is a key like any other */
    sl_check(map.n == 2);
    sl_check(sl_map_get(&map, SL_STR("a")) == &two);
    sl_check(sl_map_get(&map, SL_STR("")) == &one);
    sl_check(sl_map_get(&map, SL_STR("b")) == NULL);
    sl_check(sl_map_get_hashed(&map, SL_STR("a"), sl_map_hash(SL_STR("a"))) == &two);
    sl_map_clear(&map);
    sl_check(map.n == 0 && sl_map_get(&map, SL_STR("a")) == NULL);
}

/* Every key is where it belongs, and no other. */
static void check_against(const struct sl_map *map, const bool *in)
{
    size_t n = 0;

    for (size_t i = 0; i < N_KEYS; i++) {
        sl_check(sl_map_get(map, name(i)) == (in[i] ? names[i] : NULL));
        n += in[i];
    }
    sl_check(map->n == n);
    sl_map_each(map, it)
    {
        sl_check(it->value == it->key.p);
        n--;
    }
    sl_check(n == 0);
}

/* Removal moves other keys, which is where an open table goes wrong: compare with a plain array
 * after many changes. */
static void many_changes_keep_all_keys(void)
{
    struct sl_map map = {0};
    bool in[N_KEYS] = {false};
    uint32_t dice = 1;

    for (int round = 0; round < 20000; round++) {
        size_t i = (dice = dice * 1664525 + 1013904223) >> 8;

        i %= N_KEYS;
        if (in[i])
            sl_check(sl_map_remove(&map, name(i)) == names[i]);
        else
            *sl_map_at(&map, name(i)) = names[i];
        in[i] = !in[i];
        if (round % 1000 == 0)
            check_against(&map, in);
    }
    check_against(&map, in);
    for (size_t i = 0; i < N_KEYS; i++)
        sl_map_remove(&map, name(i));
    sl_check(map.n == 0);
    sl_map_clear(&map);
}

static void reserve_makes_room_once(void)
{
    struct sl_map map = {0};
    struct sl_map_slot *slots;

    *sl_map_at(&map, name(0)) = names[0];
    sl_map_reserve(&map, N_KEYS);
    slots = map.slots;
    for (size_t i = 0; i < N_KEYS; i++)
        *sl_map_at(&map, name(i)) = names[i];
    sl_check(map.slots == slots);
    sl_check(map.n == N_KEYS);
    sl_map_clear(&map);
}

int main(void)
{
    for (size_t i = 0; i < N_KEYS; i++)
        snprintf(names[i], sizeof(names[i]), "k%zu", i);
    an_empty_map_has_nothing();
    at_adds_once();
    many_changes_keep_all_keys();
    reserve_makes_room_once();
    return sl_check_done();
}
