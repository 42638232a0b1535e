/*
 * For the tests of this layer: a loop, scripts from text, and exchanges and connections that are
 * made up. Not for the program.
 */
#ifndef SL_SCRIPT_TEST_SCRIPT_H
#define SL_SCRIPT_TEST_SCRIPT_H

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/check.h"
#include "proxy/hooks.h"
#include "script/library.h"
#include "script/state.h"
#include "script/task.h"

static struct sl_loop *test_loop;
static char test_dir[] = "/tmp/sluice-script-XXXXXX";

static inline void test_begin(void)
{
    int rc = sl_loop_new(&test_loop);

    sl_check(rc == 0 && mkdtemp(test_dir) != NULL);
}

static inline int test_end(void)
{
    sl_loop_free(test_loop);
    rmdir(test_dir);
    return sl_check_done();
}

static inline char *test_path(const char *name)
{
    static char path[256];

    snprintf(path, sizeof(path), "%s/%s", test_dir, name);
    return path;
}

static inline void test_write(const char *name, const char *text)
{
    FILE *f = fopen(test_path(name), "w");

    sl_check(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

static inline int test_load_as(struct sl_script **out, enum sl_script_kind kind, const char *text,
                               struct sl_err *err)
{
    struct sl_script_opts opts = {.loop = test_loop, .kind = kind, .path = test_path("policy.lua")};
    int rc;

    test_write("policy.lua", text);
    opts.worker = kind == SL_SCRIPT_WORKER;
    opts.lua_dir = SLUICE_SOURCE_DIR "/lua";
    opts.library = sl_library_open;
    rc = sl_script_load(out, &opts, err);
    unlink(test_path("policy.lua"));
    return rc;
}

/* Loads what must load. */
static inline struct sl_script *test_load(const char *text)
{
    struct sl_script *s = NULL;
    struct sl_err err = {0};

    if (test_load_as(&s, SL_SCRIPT_WORKER, text, &err) < 0)
        fprintf(stderr, "%s\n", err.text);
    sl_check(s != NULL);
    return s;
}

/* Loads what must not; the sentence must hold `part`. */
static inline void test_refuse(const char *text, const char *part)
{
    struct sl_script *s = NULL;
    struct sl_err err = {0};

    sl_check(test_load_as(&s, SL_SCRIPT_WORKER, text, &err) < 0);
    if (strstr(err.text, part) == NULL)
        fprintf(stderr, "got: %s\nwant: %s\n", err.text, part);
    sl_check(strstr(err.text, part) != NULL);
    sl_script_free(s);
}

/* Between these two the log goes nowhere; the second returns it. */
static int test_stderr, test_log;

static inline void test_log_begin(void)
{
    test_stderr = dup(STDERR_FILENO);
    test_log = memfd_create("log", MFD_CLOEXEC);
    sl_check(test_stderr >= 0 && test_log >= 0 && dup2(test_log, STDERR_FILENO) >= 0);
}

static inline const char *test_log_end(void)
{
    static char text[16384];
    ssize_t n = pread(test_log, text, sizeof(text) - 1, 0);

    dup2(test_stderr, STDERR_FILENO);
    close(test_stderr);
    close(test_log);
    sl_check(n >= 0);
    text[SL_MAX(n, 0)] = '\0';
    return text;
}

static inline void test_on_deadline(struct sl_timer *t)
{
    *(bool *)t->user = true;
}

/* Runs the loop until `*done` is not 0; false after 20 s. */
static inline bool test_run_until(const int *done)
{
    bool is_late = false;
    struct sl_timer timer;

    sl_timer_init(&timer, test_loop, test_on_deadline, &is_late);
    sl_timer_set(&timer, 20000);
    while (*done == 0 && !is_late)
        sl_loop_turn(test_loop, true);
    sl_timer_clear(&timer);
    return !is_late;
}

/* Runs what is queued; more turns than any chain of tasks in these tests is long. */
static inline void test_settle(void)
{
    for (int i = 0; i < 16; i++)
        sl_loop_turn(test_loop, false);
}

/* --- a made-up exchange --- */

struct test_exchange {
    struct sl_exchange ex;
    struct sl_peer peer;
    struct sl_hook_slot slot;
    struct sl_response res;
    struct sl_verdict verdict; /* of a hook that waited */
    int n_verdicts;
};

static inline void test_on_verdict(struct sl_hook_slot *slot, const struct sl_verdict *v)
{
    struct test_exchange *t = sl_container_of(slot, struct test_exchange, slot);

    t->verdict = *v;
    t->n_verdicts++;
}

static inline void test_add_header(struct test_exchange *t, struct sl_headers *h,
                                   struct sl_str name, struct sl_str value)
{
    sl_headers_add(h, &t->ex.arena, name, value);
}

/* GET /a/b?c=d from 203.0.113.9 with a few headers. */
static inline void test_exchange_init(struct test_exchange *t)
{
    struct sl_request *req = &t->ex.req;

    *t = (struct test_exchange){.slot = {.on_verdict = test_on_verdict}};
    sl_addr_parse(&t->peer.remote, SL_STR("203.0.113.9"), 40000);
    sl_addr_parse(&t->peer.local, SL_STR("192.0.2.1"), 443);
    t->peer.is_tls = true;
    t->peer.sni = SL_STR("shop.example");
    t->peer.tls_version = "TLSv1.3";
    t->ex.peer = &t->peer;
    t->ex.loop = test_loop;
    t->ex.id = 7;
    req->version = SL_HTTP_11;
    req->method = SL_STR("GET");
    req->scheme = SL_STR("https");
    req->authority = SL_STR("Shop.example:8443");
    req->host = SL_STR("shop.example");
    req->path = SL_STR("/a/b");
    req->query = SL_STR("c=d");
    test_add_header(t, &req->headers, SL_STR("Host"), SL_STR("Shop.example:8443"));
    test_add_header(t, &req->headers, SL_STR("User-Agent"), SL_STR("check/1"));
    test_add_header(t, &req->headers, SL_STR("X-Two"), SL_STR("one"));
    test_add_header(t, &req->headers, SL_STR("x-two"), SL_STR("two"));
    test_add_header(t, &req->headers, SL_STR("Cookie"), SL_STR("a=1; session=s3"));
    t->res.status = 200;
    test_add_header(t, &t->res.headers, SL_STR("Server"), SL_STR("origin"));
}

/* The exchange ends. */
static inline void test_exchange_clear(struct test_exchange *t, struct sl_script *s)
{
    if (t->slot.script != NULL)
        sl_script_hooks(s)->forget(sl_script_hooks(s)->host, &t->slot);
    sl_arena_clear(&t->ex.arena);
}

static inline int test_on_request(struct test_exchange *t, struct sl_script *s,
                                  struct sl_verdict *v)
{
    const struct sl_hooks *hooks = sl_script_hooks(s);

    return hooks->on_request(hooks->host, &t->slot, &t->ex, v);
}

static inline struct sl_str test_header(const struct sl_headers *h, const char *name)
{
    return sl_headers_get(h, sl_str_c(name));
}

#endif
