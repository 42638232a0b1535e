/* The table of visitors that PROXY headers have named. */
#include "proxy/named.h"

#include <pthread.h>
#include "base/check.h"

static struct sl_addr addr(uint32_t n)
{
    struct sl_addr a = {.in4 = {.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)(1024 + n % 60000)),
                                .sin_addr.s_addr = htonl(0x0a000000 + n / 60000)}};

    return a;
}

static struct sl_proxy_header about(uint16_t port)
{
    return (struct sl_proxy_header){.has_addresses = true, .is_datagram = true, .from_port = port};
}

static enum sl_naming put(uint32_t n, uint16_t visitor, uint64_t now)
{
    struct sl_addr a = addr(n);
    struct sl_proxy_header header = about(visitor);

    return sl_named_put(&a, 443, &header, now);
}

/* 0: nobody is known there. */
static uint16_t enter(uint32_t n, uint64_t now)
{
    struct sl_addr a = addr(n);
    struct sl_proxy_header header = {0};
    bool is_known = sl_named_has(&a, 443, now);

    sl_check(sl_named_enter(&a, 443, now, &header) == is_known);
    return header.from_port;
}

static void leave(uint32_t n, uint64_t now)
{
    struct sl_addr a = addr(n);

    sl_named_leave(&a, 443, now);
}

static void a_name_is_known_until_nobody_has_used_it_for_long(void)
{
    struct sl_addr a = addr(1);

    sl_check(enter(1, 1) == 0);
    sl_check(put(1, 7, 1) == SL_NAMING_NEW);
    sl_check(!sl_named_has(&a, 8443, 1)); /* another port */
    sl_check(enter(1, SL_NAMED_IDLE_MS) == 7);
    sl_check(enter(1, 100 * SL_NAMED_IDLE_MS) == 7); /* in use */
    leave(1, 100 * SL_NAMED_IDLE_MS);
    leave(1, 200 * SL_NAMED_IDLE_MS);
    sl_check(sl_named_has(&a, 443, 201 * SL_NAMED_IDLE_MS));
    sl_check(!sl_named_has(&a, 443, 201 * SL_NAMED_IDLE_MS + 1));
}

static void the_last_header_counts(void)
{
    uint64_t now = 1000 * SL_NAMED_IDLE_MS;

    sl_check(put(2, 7, now) == SL_NAMING_NEW);
    sl_check(put(2, 7, now) == SL_NAMING_SAME);
    sl_check(enter(2, now) == 7);
    sl_check(put(2, 8, now) == SL_NAMING_CHANGED); /* whoever uses it has the old one */
    sl_check(enter(2, now) == 8);
    leave(2, now);
    leave(2, now);
}

/* The addresses of a flood end each other, and never those in use. */
static void the_table_is_bounded(void)
{
    uint64_t now = 2000 * SL_NAMED_IDLE_MS;
    size_t n_known = 0, n_full = 0;

    sl_check(put(3, 7, now) == SL_NAMING_NEW && enter(3, now) == 7);
    for (uint32_t n = 10; n < 10 + 3 * SL_NAMED_MAX; n++)
        sl_check(put(n, 9, now) == SL_NAMING_NEW);
    sl_check(enter(3, now) == 7);
    for (uint32_t n = 10; n < 10 + 3 * SL_NAMED_MAX; n++)
        n_known += enter(n, now) == 9;
    sl_check(n_known > SL_NAMED_MAX / 2 && n_known < SL_NAMED_MAX);
    for (uint32_t n = 10 + 3 * SL_NAMED_MAX; n < 10 + 4 * SL_NAMED_MAX; n++)
        n_full += put(n, 9, now) == SL_NAMING_FULL;
    sl_check(n_full > SL_NAMED_MAX / 2); /* all are in use now */
}

/* Two workers at once. */
static void *use_names(void *unused SL_UNUSED)
{
    uint64_t now = 3000 * SL_NAMED_IDLE_MS;

    for (uint32_t n = 0; n < 20000; n++) {
        struct sl_addr a = addr(n % 100);
        struct sl_proxy_header header = about(7);

        (void)sl_named_put(&a, 80, &header, now);
        if (sl_named_enter(&a, 80, now, &header))
            sl_named_leave(&a, 80, now);
    }
    return NULL;
}

static void any_thread_may_use_it(void)
{
    pthread_t threads[2];
    struct sl_addr a = addr(1);

    for (int i = 0; i < 2; i++)
        sl_assert(pthread_create(&threads[i], NULL, use_names, NULL) == 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    sl_check(sl_named_has(&a, 80, 3000 * SL_NAMED_IDLE_MS));
}

int main(void)
{
    any_thread_may_use_it();
    a_name_is_known_until_nobody_has_used_it_for_long();
    the_last_header_counts();
    the_table_is_bounded();
    return sl_check_done();
}
