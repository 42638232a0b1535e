/*
 * A table of shared objects that forgets each of them with its last reference: find what was made
 * before, keep nothing alive.
 *
 * Any thread: one mutex guards the table and the step from one reference to none. A reference is
 * taken without the mutex.
 *
 *     struct sl_weak *w = sl_weak_find(&table, digest);
 *     if (w == NULL)
 *         w = sl_weak_add(&table, &fresh->weak, digest);
 */
#ifndef SL_TLS_WEAK_H
#define SL_TLS_WEAK_H

#include <pthread.h>
#include "base/map.h"

enum { SL_WEAK_KEY_LEN = 32 };

/* Embedded in the object. */
struct sl_weak {
    uint8_t key[SL_WEAK_KEY_LEN]; /* a SHA-256 */
    _Atomic(unsigned) n_refs;
};

struct sl_weak_table {
    pthread_mutex_t lock;
    struct sl_map map;
    void (*free_fn)(struct sl_weak *w);
};

#define SL_WEAK_TABLE(fn) {PTHREAD_MUTEX_INITIALIZER, {0}, (fn)}

/* A new reference, or NULL. */
struct sl_weak *sl_weak_find(struct sl_weak_table *table, const uint8_t key[SL_WEAK_KEY_LEN]);
/* Puts a new object in, with one reference, which is returned. When another thread was faster, `w`
   is freed and a reference to the other's is returned. */
struct sl_weak *sl_weak_add(struct sl_weak_table *table, struct sl_weak *w,
                            const uint8_t key[SL_WEAK_KEY_LEN]);
struct sl_weak *sl_weak_ref(struct sl_weak *w);
void sl_weak_unref(struct sl_weak_table *table, struct sl_weak *w);

#endif
