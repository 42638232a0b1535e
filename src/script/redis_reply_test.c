#include "script/redis_reply.h"

#include <stdio.h>
#include "base/buf.h"
#include "base/check.h"

/* A reply as text: "[1,'a',nil]". */
static void show(const struct sl_redis_reply *r, struct sl_buf *out)
{
    switch (r->kind) {
    case SL_REDIS_NIL:
        sl_buf_printf(out, "nil");
        break;
    case SL_REDIS_TEXT:
    case SL_REDIS_ERROR:
        sl_buf_printf(out, "%c%.*s", r->kind == SL_REDIS_TEXT ? '\'' : '!', SL_STR_FMT(r->text));
        break;
    case SL_REDIS_INTEGER:
        sl_buf_printf(out, "%lld", (long long)r->integer);
        break;
    case SL_REDIS_ARRAY:
        sl_buf_printf(out, "[");
        for (size_t i = 0; i < r->n; i++) {
            show(&r->items[i], out);
            sl_buf_printf(out, ",");
        }
        sl_buf_printf(out, "]");
        break;
    }
}

/* All replies in `bytes`, fed in pieces of `step`; what ended it is `*rc`. */
static void parse(struct sl_str bytes, size_t step, struct sl_buf *out, int *rc)
{
    struct sl_redis_parser *p = sl_redis_parser_new();
    const struct sl_redis_reply *reply;

    *rc = 0;
    for (size_t at = 0; at < bytes.len && *rc == 0; at += step) {
        sl_redis_parser_feed(p, bytes.p + at, SL_MIN(step, bytes.len - at));
        while ((*rc = sl_redis_parser_next(p, &reply)) > 0) {
            show(reply, out);
            sl_buf_printf(out, ";");
        }
    }
    sl_redis_parser_free(p);
}

static void check(const char *bytes, const char *want, int want_rc)
{
    static const size_t steps[] = {1, 3, 1 << 20};

    for (size_t i = 0; i < SL_COUNT(steps); i++) {
        struct sl_buf out = {0};
        int rc;

        parse(sl_str_c(bytes), steps[i], &out, &rc);
        sl_check(rc == want_rc);
        sl_check_str(sl_buf_str(&out), sl_str_c(want));
        sl_buf_clear(&out);
    }
}

static void replies_of_every_kind(void)
{
    check("+OK\r\n:-7\r\n$3\r\na\nb\r\n$-1\r\n*-1\r\n-ERR no\r\n$0\r\n\r\n",
          "'OK;-7;'a\nb;nil;nil;!ERR no;';", 0);
    check("*0\r\n*3\r\n:1\r\n*2\r\n$1\r\na\r\n$-1\r\n-E x\r\n+k\r\n", "[];[1,['a,nil,],!E x,];'k;",
          0);
    check("*2\r\n:1\r\n", "", 0);
    check("%1\r\n+k\r\n#t\r\n,1.5\r\n", "['k,1,];'1.5;", 0); /* of RESP3, nobody asked for */
}

static void what_is_no_reply(void)
{
    check("+a\r\nHTTP/1.1 400\r\n", "'a;", SL_E_PROTOCOL);
    check(":x\r\n", "", SL_E_PROTOCOL);
    check("$-2\r\n", "", SL_E_PROTOCOL);
}

static void nesting_is_bounded(void)
{
    check("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "[[[[[[[[1,],],],],],],],];",
          0);
    check("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "", SL_E_LIMIT);
}

static void sizes_are_bounded(void)
{
    static char big[SL_REDIS_MAX_REPLY + 64];
    struct sl_buf out = {0};
    int head, rc;

    check("*1048577\r\n", "", SL_E_LIMIT);
    check("*4000000000\r\n", "", SL_E_LIMIT);
    check("*2\r\n*300000\r\n", "", 0);
    memset(big, 'x', sizeof(big));
    head = snprintf(big, sizeof(big), "$%d\r\n", SL_REDIS_MAX_REPLY + 1);
    big[head] = 'x';
    parse(sl_str(big, sizeof(big)), 65536, &out, &rc);
    sl_check(rc == SL_E_LIMIT);
    memset(big, 'x', 16);
    big[0] = '+'; /* a line that does not end */
    parse(sl_str(big, sizeof(big)), 65536, &out, &rc);
    sl_check(rc == SL_E_LIMIT && sl_buf_len(&out) == 0);
    sl_buf_clear(&out);
}

int main(void)
{
    replies_of_every_kind();
    what_is_no_reply();
    nesting_is_bounded();
    sizes_are_bounded();
    return sl_check_done();
}
