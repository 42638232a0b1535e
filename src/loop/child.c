#include "loop/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N_STDIO = 3 };

struct sl_child {
    struct sl_loop *loop;
    sl_on_child_end *on_end; /* NULL: nobody waits for it any more */
    void *user;
    pid_t pid; /* its process group as well */
    int pidfd;
    struct sl_watch exited;
    int pipes[N_STDIO]; /* our ends; -1: closed */
    struct sl_watch watches[N_STDIO];
    struct sl_buf input, output[N_STDIO]; /* output[0] is not used */
    size_t max_output;
    struct sl_timer timer;
    struct sl_task_link adopted; /* once nobody waits */
};

static atomic_uint n_children;

/* --- the end --- */

static void close_pipe(struct sl_child *c, int which)
{
    if (c->pipes[which] < 0)
        return;
    sl_watch_set(&c->watches[which], 0);
    close(c->pipes[which]);
    c->pipes[which] = -1;
}

static void free_child(void *ptr)
{
    struct sl_child *c = ptr;

    for (int i = 0; i < N_STDIO; i++)
        sl_buf_clear(&c->output[i]);
    sl_buf_clear(&c->input);
    sl_free(c);
}

/* Everything that is not the process itself. */
static void let_go(struct sl_child *c)
{
    for (int i = 0; i < N_STDIO; i++)
        close_pipe(c, i);
    sl_timer_clear(&c->timer);
    c->on_end = NULL;
}

/* After the process was reaped, or when it never was one. */
static void end(struct sl_child *c)
{
    let_go(c);
    sl_loop_unsoon(&c->adopted);
    if (c->pidfd >= 0) {
        sl_watch_set(&c->exited, 0);
        close(c->pidfd);
    }
    atomic_fetch_sub(&n_children, 1);
    sl_loop_defer(c->loop, c, free_child);
}

/* The loop goes before the killed process does: it is left to whoever inherits it. */
static void on_loop_end(void *user)
{
    struct sl_child *c = user;
    siginfo_t info;

    waitid(P_PIDFD, (id_t)c->pidfd, &info, WEXITED | WNOHANG);
    end(c);
}

void sl_child_cancel(struct sl_child *c)
{
    kill(-c->pid, SIGKILL); /* not reaped yet, so the number is still its own */
    let_go(c);
    sl_loop_adopt(c->loop, &c->adopted, on_loop_end, c);
}

static void fail(struct sl_child *c, int code)
{
    sl_on_child_end *on_end = c->on_end;
    struct sl_child_end result = {.code = code, .status = -1};

    sl_child_cancel(c);
    on_end(c->user, &result);
}

static void on_due(struct sl_timer *t)
{
    fail(t->user, SL_E_TIMEOUT);
}

/* --- what it says --- */

/* Takes what is there. 0, SL_E_AGAIN: more may come, SL_E_LIMIT: that was too much. */
static int take_some(struct sl_child *c, int which)
{
    uint8_t *room = sl_loop_scratch(c->loop, 0);
    ssize_t n = read(c->pipes[which], room, SL_SCRATCH_LEN);

    if (n < 0 && errno == EINTR)
        return 0;
    if (n < 0 && errno == EAGAIN)
        return SL_E_AGAIN;
    if (n <= 0) {
        close_pipe(c, which);
        return SL_E_AGAIN;
    }
    if ((size_t)n > c->max_output - sl_buf_len(&c->output[1]) - sl_buf_len(&c->output[2]))
        return SL_E_LIMIT;
    sl_buf_append(&c->output[which], room, (size_t)n);
    return 0;
}

static void on_output(struct sl_watch *w, unsigned what SL_UNUSED)
{
    struct sl_child *c = w->user;

    if (take_some(c, (int)(w - c->watches)) == SL_E_LIMIT)
        fail(c, SL_E_LIMIT);
}

static void on_input(struct sl_watch *w, unsigned what SL_UNUSED)
{
    struct sl_child *c = w->user;
    ssize_t n = write(c->pipes[0], sl_buf_at(&c->input), sl_buf_len(&c->input));

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        sl_buf_consume(&c->input, (size_t)n);
    if (n < 0 || sl_buf_len(&c->input) == 0) /* it need not read all of it */
        close_pipe(c, 0);
}

/* It has ended; what it said before is in the pipes. */
static int take_rest(struct sl_child *c)
{
    for (int i = 1; i < N_STDIO; i++) {
        int rc = 0;

        while (c->pipes[i] >= 0 && rc == 0)
            rc = take_some(c, i);
        if (rc == SL_E_LIMIT)
            return rc;
    }
    return 0;
}

static void on_exited(struct sl_watch *w, unsigned what SL_UNUSED)
{
    struct sl_child *c = w->user;
    sl_on_child_end *on_end = c->on_end;
    struct sl_child_end result = {.status = -1};
    siginfo_t info = {0};

    kill(-c->pid, SIGKILL); /* before it is reaped: nobody else can have its number yet */
    if (waitid(P_PIDFD, (id_t)c->pidfd, &info, WEXITED) < 0 && errno == EINTR)
        return;
    if (info.si_code == CLD_EXITED)
        result.status = info.si_status;
    else
        result.signal = info.si_status;
    if (on_end != NULL && (result.code = take_rest(c)) == 0) {
        result.out = sl_buf_str(&c->output[1]);
        result.err = sl_buf_str(&c->output[2]);
    }
    end(c);
    if (on_end != NULL)
        on_end(c->user, &result);
}

/* --- the beginning --- */

/* Ours and theirs; theirs is /dev/null when there is nothing to say. */
static int open_pipe(struct sl_child *c, int which, int *theirs)
{
    int fds[2];

    if (which == 0 && sl_buf_len(&c->input) == 0) {
        *theirs = open("/dev/null", O_RDONLY | O_CLOEXEC);
        return *theirs < 0 ? sl_error_from_errno(errno) : 0;
    }
    if (pipe2(fds, O_CLOEXEC) < 0)
        return sl_error_from_errno(errno);
    c->pipes[which] = fds[which == 0 ? 1 : 0];
    *theirs = fds[which == 0 ? 0 : 1];
    return fcntl(c->pipes[which], F_SETFL, O_NONBLOCK) < 0 ? sl_error_from_errno(errno) : 0;
}

static bool is_named(const char *entry, const char *const *among)
{
    const char *equals = strchr(entry, '=');
    size_t len = equals != NULL ? (size_t)(equals - entry) + 1 : strlen(entry);

    for (; *among != NULL; among++) {
        if (strncmp(entry, *among, len) == 0)
            return true;
    }
    return false;
}

/* Ours but for those with new values, then the new ones. The array is the caller's. */
static char **merge_env(const char *const *added)
{
    size_t n = 0, n_all = 1;
    char **all;

    for (char **e = environ; *e != NULL; e++)
        n_all++;
    for (const char *const *a = added; *a != NULL; a++)
        n_all++;
    all = sl_alloc(n_all * sizeof(*all));
    for (char **e = environ; *e != NULL; e++) {
        if (!is_named(*e, added))
            all[n++] = *e;
    }
    for (; *added != NULL; added++)
        all[n++] = (char *)*added;
    all[n] = NULL;
    return all;
}

static int spawn_with(struct sl_child *c, const struct sl_child_opts *opts, const int *theirs,
                      int cwd)
{
    static const char *const no_env[] = {NULL};
    char **env = merge_env(opts->env != NULL ? opts->env : no_env);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t set;
    int rc;

    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    if (cwd >= 0)
        posix_spawn_file_actions_addfchdir_np(&actions, cwd);
    for (int i = 0; i < N_STDIO; i++)
        posix_spawn_file_actions_adddup2(&actions, theirs[i], i);
    posix_spawn_file_actions_addclosefrom_np(&actions, N_STDIO);
    sigemptyset(&set);
    posix_spawnattr_setsigmask(&attr, &set);
    sigfillset(&set);
    posix_spawnattr_setsigdefault(&attr, &set);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                        POSIX_SPAWN_SETPGROUP);
    rc = posix_spawnp(&c->pid, opts->argv[0], &actions, &attr, (char *const *)opts->argv, env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    sl_free(env);
    return rc;
}

static int explain(int cause, const struct sl_child_opts *opts, struct sl_err *err)
{
    if (cause == ENOENT || cause == ENOTDIR)
        return sl_err_set(err, SL_E_NOT_FOUND, "not found");
    if (cause == E2BIG)
        return sl_err_set(err, SL_E_LIMIT, "the arguments are too long");
    return sl_err_set(err, cause == EAGAIN ? SL_E_LIMIT : sl_error_from_errno(cause),
                      "cannot start %s: %s", opts->argv[0], strerrordesc_np(cause));
}

/* Makes the process. Without a pidfd nothing could wait for it, so it must go again. */
static int spawn(struct sl_child *c, const struct sl_child_opts *opts, const int *theirs,
                 struct sl_err *err)
{
    int cause, cwd = -1;

    if (opts->cwd != NULL && (cwd = open(opts->cwd, O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0)
        return sl_err_set(err, SL_E_CONFIG, "cannot enter %s: %s", opts->cwd,
                          strerrordesc_np(errno));
    cause = spawn_with(c, opts, theirs, cwd);
    if (cwd >= 0)
        close(cwd);
    if (cause != 0)
        return explain(cause, opts, err);
    if ((c->pidfd = pidfd_open(c->pid, 0)) >= 0)
        return 0;
    cause = errno;
    kill(-c->pid, SIGKILL);
    while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return explain(cause, opts, err);
}

static int open_and_spawn(struct sl_child *c, const struct sl_child_opts *opts, struct sl_err *err)
{
    int theirs[N_STDIO] = {-1, -1, -1}, rc = 0;

    for (int i = 0; i < N_STDIO && rc == 0; i++)
        rc = open_pipe(c, i, &theirs[i]);
    rc = rc < 0 ? sl_err_set(err, rc, "no descriptor is left: %s", sl_error_text(rc))
                : spawn(c, opts, theirs, err);
    for (int i = 0; i < N_STDIO; i++) {
        if (theirs[i] >= 0)
            close(theirs[i]);
    }
    return rc;
}

static void watch(struct sl_child *c, double timeout_ms)
{
    sl_watch_init(&c->exited, c->loop, c->pidfd, on_exited, c);
    sl_watch_set(&c->exited, SL_READ);
    for (int i = 0; i < N_STDIO; i++) {
        sl_watch_init(&c->watches[i], c->loop, c->pipes[i], i == 0 ? on_input : on_output, c);
        if (c->pipes[i] >= 0)
            sl_watch_set(&c->watches[i], i == 0 ? SL_WRITE : SL_READ);
    }
    sl_timer_set(&c->timer, timeout_ms);
}

int sl_child_start(struct sl_child **out, struct sl_loop *loop, const struct sl_child_opts *opts,
                   sl_on_child_end *on_end, void *user, struct sl_err *err)
{
    struct sl_child *c;
    int rc;

    if (atomic_fetch_add(&n_children, 1) >= SL_CHILDREN_MAX) {
        atomic_fetch_sub(&n_children, 1);
        return sl_err_set(err, SL_E_LIMIT, "too many processes at a time");
    }
    c = sl_zalloc(sizeof(*c));
    c->loop = loop;
    c->pidfd = -1;
    for (int i = 0; i < N_STDIO; i++)
        c->pipes[i] = -1;
    c->max_output = opts->max_output;
    sl_timer_init(&c->timer, loop, on_due, c);
    sl_buf_append_str(&c->input, opts->input);
    if ((rc = open_and_spawn(c, opts, err)) < 0) {
        end(c);
        return rc;
    }
    c->on_end = on_end;
    c->user = user;
    watch(c, opts->timeout_ms);
    *out = c;
    return 0;
}
