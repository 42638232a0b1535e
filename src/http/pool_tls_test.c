/* Contexts with roots from files: shared while the file is the same, bounded, and never taken from
 * somebody who uses them. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/check.h"
#include "http/pool.h"

static struct sl_loop *loop;
static struct sl_pool *pool;
static char path[] = "/tmp/sluice-test-XXXXXX";

static void write_file(const char *text)
{
    FILE *f = fopen(path, "w");

    sl_assert(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

static struct sl_pool_trust *get(const char *ca_file, enum sl_pool_alpn alpn)
{
    struct sl_call_target target = {.tls = true, .ca_file = ca_file};
    struct sl_pool_trust *t = NULL;

    sl_check(sl_pool_trust_get(pool, &target, alpn, &t) == 0 && t != NULL && t->tls != NULL);
    return t;
}

static void begin(void)
{
    sl_assert(sl_pool_new(&pool, loop, NULL, NULL, NULL) == 0);
    write_file("roots");
}

static void the_same_file_is_read_once(void)
{
    struct sl_pool_trust *first, *second, *other;

    begin();
    first = get(path, SL_ALPN_HTTP1);
    second = get(path, SL_ALPN_HTTP1);
    other = get(path, SL_ALPN_BOTH);
    sl_check(first == second && first != other && pool->n_trusts == 2);
    sl_pool_trust_put(first);
    sl_pool_trust_put(second);
    sl_check(get(path, SL_ALPN_HTTP1) == first); /* it was kept */
    sl_pool_trust_put(first);
    sl_pool_free(pool);
    sl_check(other->tls != NULL); /* a dialling may end later than the pool */
    sl_pool_trust_put(other);
}

static void a_file_that_was_replaced_is_read_again(void)
{
    struct sl_pool_trust *old, *new;

    begin();
    old = get(path, SL_ALPN_HTTP1);
    write_file("other roots");
    new = get(path, SL_ALPN_HTTP1);
    sl_check(old != new && pool->n_trusts == 1);
    sl_pool_trust_put(old);
    sl_pool_trust_put(new);
    sl_pool_free(pool);
}

static void only_so_many_are_kept(void)
{
    struct sl_pool_trust *used;
    char name[64];

    begin();
    used = get(path, SL_ALPN_HTTP1);
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof(name), "/nonexistent/%d", i);
        sl_pool_trust_put(get(name, SL_ALPN_HTTP1));
    }
    sl_check(pool->n_trusts == 64 && used->tls != NULL);
    sl_pool_trust_put(used);
    sl_pool_free(pool);
}

static void a_file_without_roots_is_an_error(void)
{
    struct sl_call_target target = {.tls = true, .tls_verify = true, .ca_file = path};
    struct sl_pool_trust *t = NULL;

    begin();
    sl_check(sl_pool_trust_get(pool, &target, SL_ALPN_HTTP1, &t) < 0 && t == NULL);
    sl_check(pool->n_trusts == 0);
    sl_pool_free(pool);
}

int main(void)
{
    sl_assert(sl_loop_new(&loop) == 0);
    close(mkstemp(path));
    the_same_file_is_read_once();
    a_file_that_was_replaced_is_read_again();
    only_so_many_are_kept();
    a_file_without_roots_is_an_error();
    unlink(path);
    sl_loop_free(loop);
    return sl_check_done();
}
