#include "app/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "app/daemon.h"
#include "base/clock.h"
#include "base/log.h"

enum { BACKOFF_MIN_MS = 1000, BACKOFF_MAX_MS = 30000, STABLE_MS = 60000 };

struct child {
    pid_t pid;
    int ready_fd;
    uint64_t started_ms;
};

static unsigned n_crashes; /* a child has the number as it was when it began */

unsigned sl_supervisor_crashes(void)
{
    return n_crashes;
}

static const int watched[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};

static void watched_set(sigset_t *set)
{
    sigemptyset(set);
    for (size_t i = 0; i < SL_COUNT(watched); i++)
        sigaddset(set, watched[i]);
}

static int start(struct child *c, int (*runtime)(int, void *), void *arg)
{
    pid_t supervisor = getpid();
    sigset_t set;
    int fds[2];

    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return -1;
    c->started_ms = sl_clock_ns() / 1000000;
    c->pid = fork();
    if (c->pid != 0) {
        close(fds[1]);
        c->ready_fd = fds[0];
        if (c->pid < 0)
            return -1;
        sl_daemon_leave_to_child();
        return 0;
    }
    close(fds[0]);
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* a runtime without its supervisor drains and ends */
    if (getppid() != supervisor)
        _exit(1);
    watched_set(&set);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    exit(runtime(fds[1], arg));
}

/* What the child has said of itself, at its end. */
struct word {
    bool was_ready, is_orderly;
};

static struct word last_words(struct child *c)
{
    struct word word = {0};
    char bytes[8];
    ssize_t n = read(c->ready_fd, bytes, sizeof(bytes));

    for (ssize_t i = 0; i < n; i++) {
        word.was_ready = word.was_ready || bytes[i] == SL_RUNTIME_READY;
        word.is_orderly = word.is_orderly || bytes[i] == SL_RUNTIME_ENDS;
    }
    close(c->ready_fd);
    return word;
}

/* Waits for a signal; with a timeout 0 is "time is up". */
static int next_signal(const sigset_t *set, uint64_t timeout_ms)
{
    struct timespec ts = {(time_t)(timeout_ms / 1000), (long)(timeout_ms % 1000) * 1000000};
    int number;

    do {
        number = timeout_ms > 0 ? sigtimedwait(set, NULL, &ts) : sigwaitinfo(set, NULL);
    } while (number < 0 && errno == EINTR);
    return number < 0 ? 0 : number;
}

/* Has the child ended? Whoever else has was left to us: the first process of a container inherits
 * what others leave behind. */
static bool reap(const struct child *c, int *status)
{
    bool has_ended = false;
    pid_t pid;
    int how;

    while ((pid = waitpid(-1, &how, WNOHANG)) > 0) {
        if (pid != c->pid)
            continue;
        *status = how;
        has_ended = true;
    }
    return has_ended;
}

/* Until the child has ended: passes signals on. Its wait status. */
static int watch(struct child *c, const sigset_t *set, bool *is_stopping)
{
    int status;

    for (;;) {
        int number = next_signal(set, 0);

        if (number == SIGTERM || number == SIGINT)
            *is_stopping = true;
        if (number != SIGCHLD)
            kill(c->pid, number);
        else if (reap(c, &status))
            return status;
    }
}

static void log_end(const struct child *c, int status, uint64_t backoff_ms)
{
    if (WIFSIGNALED(status))
        sl_log_error("the runtime was killed, starting it again", sl_f_int("pid", c->pid),
                     sl_f_int("signal", WTERMSIG(status)),
                     sl_f_int("backoff_ms", (int64_t)backoff_ms));
    else
        sl_log_error("the runtime ended unexpectedly, starting it again", sl_f_int("pid", c->pid),
                     sl_f_int("exit_code", WEXITSTATUS(status)),
                     sl_f_int("backoff_ms", (int64_t)backoff_ms));
}

/* True when a signal that ends the program came while waiting. */
static bool rest(const sigset_t *set, uint64_t ms)
{
    uint64_t until = sl_clock_ns() / 1000000 + ms, now;

    while ((now = sl_clock_ns() / 1000000) < until) {
        int number = next_signal(set, until - now);

        if (number == SIGTERM || number == SIGINT)
            return true;
    }
    return false;
}

int sl_supervise(int (*runtime)(int ready_fd, void *arg), void *arg)
{
    uint64_t backoff_ms = BACKOFF_MIN_MS;
    bool is_stopping = false, ever_ready = false;
    struct child c;
    sigset_t set;

    watched_set(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    for (;;) {
        struct word word;
        int status;

        if (start(&c, runtime, arg) < 0) {
            sl_log_error("cannot start the runtime process", sl_f_int("errno", errno));
            return 1;
        }
        status = watch(&c, &set, &is_stopping);
        word = last_words(&c);
        ever_ready = word.was_ready || ever_ready;
        if (is_stopping || !ever_ready || word.is_orderly)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        if (sl_clock_ns() / 1000000 - c.started_ms > STABLE_MS)
            backoff_ms = BACKOFF_MIN_MS;
        n_crashes++;
        log_end(&c, status, backoff_ms);
        if (rest(&set, backoff_ms))
            return 0;
        backoff_ms = SL_MIN(backoff_ms * 2, BACKOFF_MAX_MS);
    }
}
