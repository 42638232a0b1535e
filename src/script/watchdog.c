#include "script/watchdog.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/log.h"
#include "base/log_out.h"

enum {
    POLL_MS = 10,
    IDLE_POLLS = 100, /* polls without a run before the watchdog goes to sleep */
    HARD_EXTRA_MS = 2000,
    LAST_WORDS_MS = 500, /* how long a stuck thread has to write its traceback */
};

_Atomic bool sl_watchdog_sleeps;
__thread struct sl_budget *sl_budget_current;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* woken, or a budget came */
    struct sl_list budgets;
    bool is_running;
} dog = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static int stop_signal(void)
{
    return SIGRTMIN + 6;
}

/* --- on the thread that runs Lua --- */

static void on_instruction(lua_State *L, lua_Debug *ar)
{
    struct sl_budget *b = sl_budget_current;

    (void)ar;
    if (b == NULL || !b->armed) {
        lua_sethook(L, NULL, 0, 0);
        return;
    }
    /* Not luaL_error(): a hook is no level of its own, so its caller's place would be named. */
    luaL_where(L, 0);
    lua_pushfstring(L, "%sCPU budget of %d ms used up", lua_tostring(L, -1),
                    (int)atomic_load_explicit(&b->limit_ms, memory_order_relaxed));
    lua_error(L);
}

static void put(const char *text)
{
    sl_log_out_last_words(text, strlen(text));
}

/* Names file and line of each level into a fixed buffer: Lua may be in the middle of anything, so
   nothing here may allocate. */
static SL_NORETURN void write_last_words(const struct sl_budget *b)
{
    lua_State *L = atomic_load_explicit(&b->running, memory_order_relaxed);
    lua_Debug ar;
    char line[128];

    put("sluice: the script is stuck here, innermost first:\n");
    for (int level = 0; L != NULL && level < 32 && lua_getstack(L, level, &ar); level++) {
        if (!lua_getinfo(L, "Sl", &ar))
            break;
        snprintf(line, sizeof(line), "    %s:%d\n", ar.short_src, ar.currentline);
        put(line);
    }
    abort();
}

/* lua_sethook() is what LuaJIT itself documents for use in signal handlers. If this one came in
   the very moment when the compiler switched its dispatch table, the hook could be lost: the
   watchdog signals again at each poll. */
static void on_signal(int number)
{
    struct sl_budget *b = sl_budget_current;
    int saved = errno;

    (void)number;
    if (b == NULL || atomic_load(&b->sequence) != atomic_load(&b->over))
        return;
    if (atomic_load(&b->give_up))
        write_last_words(b);
    b->armed = 1;
    lua_sethook(b->L, on_instruction, LUA_MASKCALL | LUA_MASKRET | LUA_MASKCOUNT, 1);
    errno = saved;
}

void sl_budget_disarm(struct sl_budget *b)
{
    b->armed = 0;
    lua_sethook(b->L, NULL, 0, 0);
}

void sl_budget_new_thread(struct sl_budget *b)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, stop_signal());
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    atomic_store(&b->thread, pthread_self());
}

void sl_watchdog_wake(void)
{
    pthread_mutex_lock(&dog.lock);
    atomic_store(&sl_watchdog_sleeps, false);
    pthread_cond_signal(&dog.changed);
    pthread_mutex_unlock(&dog.lock);
}

/* --- on the watchdog's thread --- */

static uint64_t cpu_ns(pthread_t thread)
{
    struct timespec ts;
    clockid_t clock;

    if (pthread_getcpuclockid(thread, &clock) != 0 || clock_gettime(clock, &ts) != 0)
        return 0;
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void sleep_ms(long ms)
{
    struct timespec ts = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&ts, NULL);
}

static SL_NORETURN void end_process(struct sl_budget *b, pthread_t thread)
{
    sl_log_error("a script did not return to the runtime, which ends now and is started again",
                 sl_f_int("cpu_ms", atomic_load(&b->hard_ms)),
                 sl_f_str("hint", "a long call of a C function, or a loop compiled under jit = "
                                  "true; its Lua traceback follows if it can be had"));
    atomic_store(&b->give_up, true);
    pthread_kill(thread, stop_signal());
    sleep_ms(LAST_WORDS_MS);
    abort();
}

static void stop_run(struct sl_budget *b, uint64_t sequence, pthread_t thread, uint64_t cpu)
{
    if (cpu - b->cpu_then_ns >= (uint64_t)atomic_load(&b->hard_ms) * 1000000u)
        end_process(b, thread);
    if (b->signalled_ns == cpu)
        return; /* the thread has not run since: the signal is still on its way */
    b->signalled_ns = cpu;
    atomic_store(&b->over, sequence);
    pthread_kill(thread, stop_signal());
}

/* Did Lua run since the last look? */
static bool look_at(struct sl_budget *b)
{
    uint64_t sequence = atomic_load_explicit(&b->sequence, memory_order_acquire);
    pthread_t thread = atomic_load(&b->thread);
    bool has_moved = sequence != b->seen;
    uint64_t cpu;

    b->seen = sequence;
    if (sequence % 2 == 0)
        return has_moved;
    cpu = cpu_ns(thread);
    if (has_moved) {
        b->cpu_then_ns = cpu;
        b->signalled_ns = 0;
    } else if (cpu > b->cpu_then_ns &&
               cpu - b->cpu_then_ns >= (uint64_t)atomic_load(&b->limit_ms) * 1000000u) {
        stop_run(b, sequence, thread, cpu);
    }
    return true;
}

static bool look_at_all(void)
{
    bool any = false;

    pthread_mutex_lock(&dog.lock);
    sl_list_each(&dog.budgets, it) any |= look_at(sl_container_of(it, struct sl_budget, link));
    pthread_mutex_unlock(&dog.lock);
    return any;
}

/* Says that it sleeps, and looks once more a poll later: whoever began to run Lua before he could
   see the flag is found then, and later ones wake us. */
static void sleep_until_needed(void)
{
    atomic_store(&sl_watchdog_sleeps, true);
    sleep_ms(POLL_MS);
    if (look_at_all()) {
        atomic_store(&sl_watchdog_sleeps, false);
        return;
    }
    pthread_mutex_lock(&dog.lock);
    while (atomic_load(&sl_watchdog_sleeps))
        pthread_cond_wait(&dog.changed, &dog.lock);
    pthread_mutex_unlock(&dog.lock);
}

static void *watch(void *arg)
{
    int idle = 0;

    (void)arg;
    sl_log_thread_name("watchdog");
    for (;;) {
        sleep_ms(POLL_MS);
        idle = look_at_all() ? 0 : idle + 1;
        if (idle < IDLE_POLLS)
            continue;
        sleep_until_needed();
        idle = 0;
    }
    return NULL;
}

/* --- starting and stopping --- */

/* Called with the lock. The thread lives as long as the process and blocks every signal. */
static void start_dog(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | SA_ONSTACK};
    sigset_t all, old;
    pthread_t thread;
    int rc;

    sl_list_init(&dog.budgets);
    sigemptyset(&action.sa_mask);
    rc = sigaction(stop_signal(), &action, NULL);
    sl_assert(rc == 0);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&thread, NULL, watch, NULL);
    sl_assert(rc == 0);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_detach(thread);
    dog.is_running = true;
}

void sl_budget_limit(struct sl_budget *b, uint32_t limit_ms)
{
    atomic_store(&b->limit_ms, limit_ms);
    atomic_store(&b->hard_ms, limit_ms + HARD_EXTRA_MS);
}

void sl_budget_start(struct sl_budget *b, lua_State *L, uint32_t limit_ms)
{
    b->L = L;
    sl_budget_limit(b, limit_ms);
    pthread_mutex_lock(&dog.lock);
    if (!dog.is_running)
        start_dog();
    sl_list_append(&dog.budgets, &b->link);
    pthread_mutex_unlock(&dog.lock);
}

void sl_budget_stop(struct sl_budget *b)
{
    pthread_mutex_lock(&dog.lock);
    sl_link_remove(&b->link);
    pthread_mutex_unlock(&dog.lock);
}
