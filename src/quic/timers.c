#include "quic/timers.h"

static void put(struct sl_quic_timers *all, size_t place, struct sl_quic_timer *t)
{
    all->heap[place - 1] = t;
    t->place = place;
}

static struct sl_quic_timer *at(const struct sl_quic_timers *all, size_t place)
{
    return all->heap[place - 1];
}

static void rise(struct sl_quic_timers *all, struct sl_quic_timer *t)
{
    size_t place = t->place;

    for (; place > 1 && at(all, place / 2)->key > t->key; place /= 2)
        put(all, place, at(all, place / 2));
    put(all, place, t);
}

static void sink(struct sl_quic_timers *all, struct sl_quic_timer *t)
{
    size_t place = t->place, child;

    while ((child = 2 * place) <= all->n) {
        if (child < all->n && at(all, child + 1)->key < at(all, child)->key)
            child++;
        if (at(all, child)->key >= t->key)
            break;
        put(all, place, at(all, child));
        place = child;
    }
    put(all, place, t);
}

static void insert(struct sl_quic_timers *all, struct sl_quic_timer *t)
{
    if (all->n == all->cap) {
        all->cap = SL_MAX((size_t)16, 2 * all->cap);
        all->heap = sl_realloc(all->heap, all->cap * sizeof(struct sl_quic_timer *));
    }
    all->n++;
    put(all, all->n, t);
    rise(all, t);
}

void sl_quic_timers_set(struct sl_quic_timers *all, struct sl_quic_timer *t, uint64_t due)
{
    t->due = due;
    if (t->place == 0) {
        t->key = due;
        if (due != SL_QUIC_NEVER)
            insert(all, t);
    } else if (due < t->key) {
        t->key = due;
        rise(all, t);
    }
}

void sl_quic_timers_remove(struct sl_quic_timers *all, struct sl_quic_timer *t)
{
    struct sl_quic_timer *last;

    if (t->place == 0)
        return;
    last = at(all, all->n);
    all->n--;
    if (last != t) {
        put(all, t->place, last);
        rise(all, last);
        sink(all, last);
    }
    t->place = 0;
}

uint64_t sl_quic_timers_first(const struct sl_quic_timers *all)
{
    return all->n > 0 ? all->heap[0]->key : SL_QUIC_NEVER;
}

struct sl_quic_timer *sl_quic_timers_pop(struct sl_quic_timers *all, uint64_t now)
{
    while (all->n > 0 && all->heap[0]->key <= now) {
        struct sl_quic_timer *t = all->heap[0];

        if (t->due <= now || t->due == SL_QUIC_NEVER) {
            sl_quic_timers_remove(all, t);
            if (t->due <= now)
                return t;
        } else {
            t->key = t->due;
            sink(all, t);
        }
    }
    return NULL;
}

void sl_quic_timers_clear(struct sl_quic_timers *all)
{
    sl_assert(all->n == 0);
    sl_free(all->heap);
    *all = (struct sl_quic_timers){0};
}
