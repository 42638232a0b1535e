/* Any bytes are replies within the limits, or refused; all values can be looked at. */
#include "script/redis_reply.h"

#include <stdlib.h>

static size_t look_at(const struct sl_redis_reply *r, int depth)
{
    size_t n = r->text.len > 0 ? (size_t)(uint8_t)r->text.p[r->text.len - 1] : 0;

    sl_assert(depth <= SL_REDIS_MAX_DEPTH && r->n <= SL_REDIS_MAX_ELEMENTS);
    sl_assert(r->n == 0 || r->kind == SL_REDIS_ARRAY);
    for (size_t i = 0; i < r->n; i++)
        n += look_at(&r->items[i], depth + 1);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sl_redis_parser *p = sl_redis_parser_new();
    const struct sl_redis_reply *reply;
    size_t step = size > 0 ? 1 + data[0] : 1;
    int rc = 0;

    for (size_t at = 0; at < size && rc == 0; at += step) {
        sl_redis_parser_feed(p, data + at, SL_MIN(step, size - at));
        while ((rc = sl_redis_parser_next(p, &reply)) > 0)
            look_at(reply, 0);
    }
    sl_redis_parser_free(p);
    return 0;
}
