#include "script/shared.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include "base/check.h"
#include "base/clock.h"

static struct sl_shared_value string(struct sl_str s)
{
    return (struct sl_shared_value){.kind = SL_SHARED_STRING, .str = s};
}

static struct sl_shared_value number(double n)
{
    return (struct sl_shared_value){.kind = SL_SHARED_NUMBER, .num = n};
}

static int set(struct sl_shared *d, const char *key, struct sl_shared_value value, uint64_t ttl_ms)
{
    return sl_shared_set(d, sl_str_c(key), &value, ttl_ms);
}

static bool has_string(struct sl_shared *d, const char *key, struct sl_str want)
{
    struct sl_buf room = {0};
    struct sl_shared_value got;
    bool is_it = sl_shared_get(d, sl_str_c(key), &got, &room) == 0 &&
                 got.kind == SL_SHARED_STRING && sl_str_eq(got.str, want);

    sl_buf_clear(&room);
    return is_it;
}

static int get(struct sl_shared *d, const char *key, struct sl_shared_value *got)
{
    struct sl_buf room = {0};
    int rc = sl_shared_get(d, sl_str_c(key), got, &room);

    sl_buf_clear(&room);
    return rc;
}

static void wait_until_past(uint64_t ms)
{
    while (sl_clock_coarse_ms() < ms)
        nanosleep(&(struct timespec){.tv_nsec = 1000 * 1000}, NULL);
}

static void names_and_values(void)
{
    struct sl_shared *d = sl_shared_open(SL_STR("values"));
    struct sl_shared_value got;
    char name[SL_SHARED_MAX_NAME + 1] = {0};

    sl_check(sl_shared_open(SL_STR("values")) == d && sl_shared_open(SL_STR("others")) != d);
    sl_check(sl_shared_open(SL_STR("")) == NULL &&
             sl_shared_open(sl_str(name, sizeof(name))) == NULL);
    sl_check(get(d, "k", &got) == SL_E_NOT_FOUND);
    sl_check(set(d, "k", string(SL_STR("a\0b")), 0) == 0 && has_string(d, "k", SL_STR("a\0b")));
    sl_check(set(d, "k", string(SL_STR("longer than before")), 0) == 0);
    sl_check(has_string(d, "k", SL_STR("longer than before")));
    sl_check(set(d, "k", number(1.5), 0) == 0 && get(d, "k", &got) == 0);
    sl_check(got.kind == SL_SHARED_NUMBER && got.num == 1.5);
    sl_check(set(d, "k", (struct sl_shared_value){.kind = SL_SHARED_BOOLEAN, .flag = true}, 0) ==
             0);
    sl_check(get(d, "k", &got) == 0 && got.kind == SL_SHARED_BOOLEAN && got.flag);
    sl_check(sl_shared_delete(d, SL_STR("k")) == 0 &&
             sl_shared_delete(d, SL_STR("k")) == SL_E_NOT_FOUND);
    sl_check(get(d, "k", &got) == SL_E_NOT_FOUND && sl_shared_bytes(d) == 0);
}

static void adding_and_counting(void)
{
    struct sl_shared *d = sl_shared_open(SL_STR("counters"));
    struct sl_shared_value one = number(1);
    double zero = 0, now = -1;

    sl_check(sl_shared_add(d, SL_STR("once"), &one, 0) == 0);
    sl_check(sl_shared_add(d, SL_STR("once"), &one, 0) == SL_E_IN_USE);
    sl_check(sl_shared_incr(d, SL_STR("n"), 1, NULL, 0, &now) == SL_E_NOT_FOUND);
    sl_check(sl_shared_incr(d, SL_STR("n"), 2, &zero, 0, &now) == 0 && now == 2);
    sl_check(sl_shared_incr(d, SL_STR("n"), -0.5, &zero, 0, &now) == 0 && now == 1.5);
    sl_check(set(d, "text", string(SL_STR("7")), 0) == 0);
    sl_check(sl_shared_incr(d, SL_STR("text"), 1, &zero, 0, &now) == SL_E_IN_USE);
    sl_check(has_string(d, "text", SL_STR("7")));
}

static void entries_expire(void)
{
    struct sl_shared *d = sl_shared_open(SL_STR("mortal"));
    struct sl_shared_value got, one = number(1);
    double zero = 0, now = 0;

    sl_check(set(d, "short", one, 20) == 0 && set(d, "long", one, 60000) == 0);
    sl_check(sl_shared_incr(d, SL_STR("window"), 5, &zero, 20, &now) == 0);
    wait_until_past(sl_clock_coarse_ms() + 21);
    sl_check(get(d, "short", &got) == SL_E_NOT_FOUND && get(d, "long", &got) == 0);
    sl_check(sl_shared_add(d, SL_STR("short"), &one, 0) == 0);
    sl_check(sl_shared_incr(d, SL_STR("window"), 1, &zero, 20, &now) == 0 && now == 1);
    sl_check(set(d, "long", one, 0) == 0); /* a set without a time to live lifts the old one */
}

static void sizes_are_bounded(void)
{
    struct sl_shared *d = sl_shared_open(SL_STR("sizes"));
    size_t len = SL_SHARED_MAX_VALUE + 1;
    char *big = sl_zalloc(len);
    struct sl_shared_value value = string(sl_str(big, len));

    sl_check(sl_shared_set(d, SL_STR("k"), &value, 0) == SL_E_LIMIT);
    value.str.len--;
    sl_check(sl_shared_set(d, SL_STR("k"), &value, 0) == 0);
    sl_check(sl_shared_set(d, sl_str(big, SL_SHARED_MAX_KEY + 1), &value, 0) == SL_E_LIMIT);
    sl_free(big);
}

/* More than fits: those with a time to live give way, the others never. */
static void memory_is_bounded(void)
{
    struct sl_shared *d = sl_shared_open(SL_STR("memory"));
    size_t len = 64 * 1024, n_full = 0;
    char *bytes = sl_zalloc(len), key[32];
    struct sl_shared_value got, value = string(sl_str(bytes, len));

    sl_check(set(d, "keep", string(SL_STR("me")), 0) == 0);
    for (int i = 0; i < 3000; i++) {
        snprintf(key, sizeof(key), "mortal%d", i);
        sl_check(sl_shared_set(d, sl_str_c(key), &value, 60000) == 0);
    }
    sl_check(sl_shared_bytes(d) <= SL_SHARED_MAX_BYTES &&
             sl_shared_bytes(d) > SL_SHARED_MAX_BYTES / 2);
    sl_check(has_string(d, "keep", SL_STR("me")));
    sl_check(get(d, "mortal0", &got) == SL_E_NOT_FOUND && get(d, "mortal2999", &got) == 0);
    for (int i = 0; i < 3000; i++) {
        snprintf(key, sizeof(key), "eternal%d", i);
        n_full += sl_shared_set(d, sl_str_c(key), &value, 0) == SL_E_LIMIT;
    }
    sl_check(n_full > 1000 && sl_shared_bytes(d) <= SL_SHARED_MAX_BYTES);
    sl_check(has_string(d, "keep", SL_STR("me")) && get(d, "eternal0", &got) == 0);
    sl_free(bytes);
}

/* A write that finds no room leaves what was there. */
static void a_full_dictionary_keeps_the_old_value(void)
{
    struct sl_shared *d = sl_shared_open(SL_STR("full"));
    size_t len = 512 * 1024, n_full = 0;
    char *bytes = sl_zalloc(len), key[32];
    struct sl_shared_value value = string(sl_str(bytes, len));

    sl_check(set(d, "k", string(SL_STR("old")), 0) == 0);
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "%d", i);
        n_full += sl_shared_set(d, sl_str_c(key), &value, 0) == SL_E_LIMIT;
    }
    sl_check(n_full > 800);
    sl_check(sl_shared_set(d, SL_STR("k"), &value, 0) == SL_E_LIMIT);
    sl_check(has_string(d, "k", SL_STR("old")));
    sl_check(set(d, "k", string(SL_STR("new")), 60000) == 0 && has_string(d, "k", SL_STR("new")));
    sl_check(sl_shared_set(d, SL_STR("k"), &value, 0) == SL_E_LIMIT);
    sl_check(has_string(d, "k", SL_STR("new"))); /* it does not give way to itself */
    sl_free(bytes);
}

enum { N_THREADS = 4, N_ROUNDS = 20000 };

static void *count(void *arg)
{
    struct sl_shared *d = arg;
    double zero = 0, now;
    char key[16];

    for (int i = 0; i < N_ROUNDS; i++) {
        snprintf(key, sizeof(key), "k%d", i % 7);
        sl_assert(sl_shared_incr(d, sl_str_c(key), 1, &zero, 0, &now) == 0);
    }
    return NULL;
}

static void threads_count_together(void)
{
    struct sl_shared *d = sl_shared_open(SL_STR("threads"));
    struct sl_shared_value got;
    pthread_t threads[N_THREADS];
    double sum = 0;

    for (int i = 0; i < N_THREADS; i++)
        sl_assert(pthread_create(&threads[i], NULL, count, d) == 0);
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 7; i++) {
        char key[16];

        snprintf(key, sizeof(key), "k%d", i);
        sl_check(get(d, key, &got) == 0);
        sum += got.num;
    }
    sl_check(sum == N_THREADS * N_ROUNDS);
}

static void dictionaries_are_bounded(void)
{
    char name[16];
    int n = 0;

    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "dict%d", i);
        n += sl_shared_open(sl_str_c(name)) != NULL;
    }
    sl_check(n > 200 && n < SL_SHARED_MAX_DICTS);
}

int main(void)
{
    names_and_values();
    adding_and_counting();
    entries_expire();
    sizes_are_bounded();
    memory_is_bounded();
    a_full_dictionary_keeps_the_old_value();
    threads_count_together();
    dictionaries_are_bounded();
    return sl_check_done();
}
