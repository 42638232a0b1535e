/*
 * Dictionaries shared by all threads of the process: what sluice.shared(name) opens. Values are
 * strings, numbers and booleans; an entry may have a time to live. Knows no Lua.
 *
 * Any thread. Sixteen shards with a mutex each, held for one look-up or copy. A dictionary is made
 * by the first who opens its name and lives as long as the process.
 *
 * Memory: at most SL_SHARED_MAX_BYTES per dictionary. When its shard is full, entries with a time
 * to live give way, the one that was not used for longest first; entries without one are never
 * lost, and SL_E_LIMIT says so instead.
 *
 *     struct sl_shared *hits = sl_shared_open(SL_STR("hits"));
 *     rc = sl_shared_incr(hits, ip, 1, &zero, 60 * 1000, &count);
 */
#ifndef SL_SCRIPT_SHARED_H
#define SL_SCRIPT_SHARED_H

#include "base/buf.h"
#include "base/error.h"

enum {
    SL_SHARED_MAX_DICTS = 256,
    SL_SHARED_MAX_NAME = 64,
    SL_SHARED_MAX_KEY = 1024,
    SL_SHARED_MAX_VALUE = 1024 * 1024,
    SL_SHARED_MAX_BYTES = 64 * 1024 * 1024,
};

struct sl_shared;

enum sl_shared_kind { SL_SHARED_STRING, SL_SHARED_NUMBER, SL_SHARED_BOOLEAN };

struct sl_shared_value {
    enum sl_shared_kind kind;
    struct sl_str str;
    double num;
    bool flag;
};

/* NULL: the name is empty or longer than SL_SHARED_MAX_NAME, or there are SL_SHARED_MAX_DICTS
 * already. */
struct sl_shared *sl_shared_open(struct sl_str name);

/* Below, `ttl_ms` 0 means for ever. All return 0 or:
     SL_E_NOT_FOUND  there is no such key (get, delete, incr without init)
     SL_E_IN_USE     the key exists (add), or what it holds is no number (incr)
     SL_E_LIMIT      key or value are too long, or the dictionary is full */

/* The bytes of a string are copied to the end of `room`, and out->str points there. */
int sl_shared_get(struct sl_shared *d, struct sl_str key, struct sl_shared_value *out,
                  struct sl_buf *room);
int sl_shared_set(struct sl_shared *d, struct sl_str key, const struct sl_shared_value *value,
                  uint64_t ttl_ms);
/* Only when the key is absent. */
int sl_shared_add(struct sl_shared *d, struct sl_str key, const struct sl_shared_value *value,
                  uint64_t ttl_ms);
/* Adds to a number. An absent key begins with `*init` and the time to live, or is SL_E_NOT_FOUND
 * when init is NULL. */
int sl_shared_incr(struct sl_shared *d, struct sl_str key, double by, const double *init,
                   uint64_t ttl_ms, double *out);
int sl_shared_delete(struct sl_shared *d, struct sl_str key);
/* Bytes that its entries take, for tests and statistics. */
size_t sl_shared_bytes(struct sl_shared *d);

#endif
