#include "script/redis_reply.h"

#include <hiredis/hiredis.h>
#include "base/arena.h"

enum { KEPT_ARENA = 64 * 1024 };

struct sl_redis_parser {
    redisReader *reader;
    struct sl_arena arena; /* of the reply that is being made, or was taken last */
    struct sl_redis_reply root;
    size_t used;  /* bytes of that reply */
    int failure;  /* why a function below refused */
    bool is_done; /* the reply in the arena was handed out */
};

/* --- what the reader calls --- */

static bool charge(struct sl_redis_parser *p, size_t len)
{
    if (len > SL_REDIS_MAX_REPLY - p->used) {
        p->failure = SL_E_LIMIT;
        return false;
    }
    p->used += len;
    return true;
}

/* The place of a value in the tree; its parent has made it. */
static struct sl_redis_reply *place(const redisReadTask *task, enum sl_redis_kind kind)
{
    struct sl_redis_parser *p = task->privdata;
    const struct sl_redis_reply *parent = task->parent != NULL ? task->parent->obj : NULL;
    struct sl_redis_reply *r = &p->root;

    if (parent != NULL) {
        sl_assert(task->idx >= 0 && (size_t)task->idx < parent->n);
        r = &parent->items[task->idx];
    }
    *r = (struct sl_redis_reply){.kind = kind};
    return r;
}

static void *make_text(const redisReadTask *task, char *bytes, size_t len)
{
    struct sl_redis_parser *p = task->privdata;
    struct sl_redis_reply *r;

    if (!charge(p, len))
        return NULL;
    r = place(task, task->type == REDIS_REPLY_ERROR ? SL_REDIS_ERROR : SL_REDIS_TEXT);
    r->text = sl_arena_dup(&p->arena, sl_str(bytes, len));
    return r;
}

static void *make_array(const redisReadTask *task, size_t n)
{
    struct sl_redis_parser *p = task->privdata;
    struct sl_redis_reply *r;
    int depth = 1;

    for (const redisReadTask *up = task->parent; up != NULL; up = up->parent)
        depth++;
    if (depth > SL_REDIS_MAX_DEPTH || n > SL_REDIS_MAX_ELEMENTS) {
        p->failure = SL_E_LIMIT;
        return NULL;
    }
    if (!charge(p, n * sizeof(*r)))
        return NULL;
    r = place(task, SL_REDIS_ARRAY);
    r->n = n;
    r->items = n > 0 ? sl_arena_alloc(&p->arena, n * sizeof(*r)) : NULL;
    return r;
}

static void *make_integer(const redisReadTask *task, long long value)
{
    struct sl_redis_reply *r = place(task, SL_REDIS_INTEGER);

    r->integer = value;
    return r;
}

static void *make_double(const redisReadTask *task, double value SL_UNUSED, char *bytes, size_t len)
{
    return make_text(task, bytes, len);
}

static void *make_nil(const redisReadTask *task)
{
    return place(task, SL_REDIS_NIL);
}

static void *make_bool(const redisReadTask *task, int value)
{
    return make_integer(task, value);
}

static void free_nothing(void *reply SL_UNUSED)
{
    /* the arena has it all */
}

/* --- the parser --- */

struct sl_redis_parser *sl_redis_parser_new(void)
{
    static redisReplyObjectFunctions functions = {make_text, make_array, make_integer, make_double,
                                                  make_nil,  make_bool,  free_nothing};
    struct sl_redis_parser *p = sl_zalloc(sizeof(*p));

    p->reader = redisReaderCreateWithFunctions(&functions);
    sl_assert(p->reader != NULL);
    p->reader->privdata = p;
    return p;
}

void sl_redis_parser_free(struct sl_redis_parser *p)
{
    if (p == NULL)
        return;
    redisReaderFree(p->reader);
    sl_arena_clear(&p->arena);
    sl_free(p);
}

void sl_redis_parser_feed(struct sl_redis_parser *p, const void *bytes, size_t len)
{
    (void)redisReaderFeed(p->reader, bytes, len); /* a failure stays in the reader */
}

static void forget_last(struct sl_redis_parser *p)
{
    if (!p->is_done)
        return;
    p->is_done = false;
    if (p->used > KEPT_ARENA)
        sl_arena_clear(&p->arena);
    else
        sl_arena_reset(&p->arena);
    p->used = 0;
}

int sl_redis_parser_next(struct sl_redis_parser *p, const struct sl_redis_reply **out)
{
    void *reply = NULL;

    forget_last(p);
    if (redisReaderGetReply(p->reader, &reply) != REDIS_OK)
        return p->failure != 0 ? p->failure : SL_E_PROTOCOL;
    if (reply == NULL) /* the reader holds what is not complete, a long bulk say */
        return p->reader->len - p->reader->pos > SL_REDIS_MAX_REPLY ? SL_E_LIMIT : 0;
    p->is_done = true;
    *out = reply;
    return 1;
}
