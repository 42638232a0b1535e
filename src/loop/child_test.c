#include "loop/child.h"
#include "base/check.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* One child in a loop of its own, and what became of it. */
struct run {
    struct sl_loop *loop;
    struct sl_child *child;
    int n_ends, code, status, signal;
    size_t out_len;
    char out[256], err[256];
};

static void copy(char *out, size_t len, struct sl_str text)
{
    snprintf(out, len, "%.*s", (int)text.len, text.len > 0 ? text.p : "");
}

static void on_end(void *user, const struct sl_child_end *end)
{
    struct run *r = user;

    r->n_ends++;
    r->code = end->code;
    r->status = end->status;
    r->signal = end->signal;
    r->out_len = end->out.len;
    copy(r->out, sizeof(r->out), end->out);
    copy(r->err, sizeof(r->err), end->err);
    sl_loop_stop(r->loop);
}

static int start_with(struct run *r, const struct sl_child_opts *opts)
{
    struct sl_err err = {0};
    int rc;

    *r = (struct run){0};
    sl_assert(sl_loop_new(&r->loop) == 0);
    rc = sl_child_start(&r->child, r->loop, opts, on_end, r, &err);
    copy(r->err, sizeof(r->err), sl_str_c(err.text));
    return rc;
}

static bool has_children(void)
{
    siginfo_t info;

    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

/* One that was killed is reaped after its end was told. */
static struct run run_with(const struct sl_child_opts *opts)
{
    struct run r;

    sl_check(start_with(&r, opts) == 0);
    sl_loop_run(r.loop);
    while (has_children())
        sl_loop_turn(r.loop, true);
    sl_loop_free(r.loop);
    sl_check(r.n_ends == 1);
    return r;
}

static struct sl_child_opts sh(const char **argv, const char *text)
{
    argv[0] = "sh";
    argv[1] = "-c";
    argv[2] = text;
    argv[3] = NULL;
    return (struct sl_child_opts){.argv = argv, .max_output = 4096, .timeout_ms = 60000};
}

static struct run run(const char *text)
{
    const char *argv[4];
    struct sl_child_opts opts = sh(argv, text);

    return run_with(&opts);
}

static void what_it_says_and_how_it_ends(void)
{
    struct run r = run("echo out; echo err >&2; exit 7");

    sl_check(r.code == 0 && r.status == 7 && r.signal == 0);
    sl_check_str(sl_str_c(r.out), SL_STR("out\n"));
    sl_check_str(sl_str_c(r.err), SL_STR("err\n"));
    r = run("kill -TERM $$");
    sl_check(r.code == 0 && r.status == -1 && r.signal == SIGTERM);
}

static void input_longer_than_a_pipe(void)
{
    static char text[300000];
    const char *argv[4];
    struct sl_child_opts opts = sh(argv, "cat");
    struct run r;

    memset(text, 'x', sizeof(text));
    opts.input = sl_str(text, sizeof(text));
    opts.max_output = sizeof(text);
    r = run_with(&opts);
    sl_check(r.code == 0 && r.status == 0 && r.out_len == sizeof(text));
    opts.max_output--;
    sl_check(run_with(&opts).code == SL_E_LIMIT);
    argv[2] = "exec cat <&- >&-"; /* which ends without a look at it */
    sl_check(run_with(&opts).code == 0);
}

static void environment_and_folder(void)
{
    static const char *const env[] = {"CHILD_TEST=new", "MORE=a=b", NULL};
    const char *argv[4];
    struct sl_child_opts opts = sh(argv, "echo $CHILD_TEST $MORE $CHILD_TEST_LONGER; pwd");

    setenv("CHILD_TEST", "old", 1);
    setenv("CHILD_TEST_LONGER", "kept", 1);
    opts.env = env;
    opts.cwd = "/usr";
    sl_check_str(sl_str_c(run_with(&opts).out), SL_STR("new a=b kept\n/usr\n"));
}

static void fails_to_start(const char *program, const char *cwd, int code)
{
    const char *argv[] = {program, NULL};
    struct sl_child_opts opts = {.argv = argv, .cwd = cwd, .timeout_ms = 1000};
    struct run r;

    sl_check(start_with(&r, &opts) == code && r.err[0] != '\0');
    sl_loop_free(r.loop);
}

static void what_cannot_start(void)
{
    fails_to_start("no-such-program-here", NULL, SL_E_NOT_FOUND);
    fails_to_start("/etc/passwd", NULL, SL_E_DENIED);
    fails_to_start("true", "/no/such/folder", SL_E_CONFIG);
}

static void a_deadline_is_kept(void)
{
    const char *argv[4];
    struct sl_child_opts opts = sh(argv, "trap '' TERM; while :; do sleep 600; done");

    opts.timeout_ms = 50;
    sl_check(run_with(&opts).code == SL_E_TIMEOUT);
}

/* The background process holds both outputs open. */
static void what_is_left_is_killed(void)
{
    struct run r = run("sleep 600 & echo $!");
    pid_t pid = atoi(r.out);
    char path[64], state[512];
    FILE *f;

    sl_check(r.status == 0 && pid > 1);
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    for (;;) { /* until it is gone, or a zombie of whoever inherited it */
        f = fopen(path, "r");
        if (f == NULL || fgets(state, sizeof(state), f) == NULL || strstr(state, ") Z") != NULL)
            break;
        fclose(f);
        usleep(1000);
    }
    if (f != NULL)
        fclose(f);
}

static void a_cancelled_child_is_reaped(void)
{
    const char *argv[4];
    struct sl_child_opts opts = sh(argv, "exec sleep 600");
    struct run r;

    sl_check(start_with(&r, &opts) == 0);
    sl_child_cancel(r.child);
    while (has_children())
        sl_loop_turn(r.loop, true);
    sl_loop_free(r.loop);
    sl_check(r.n_ends == 0 && !has_children());
}

static void the_loop_may_go_first(void)
{
    const char *argv[4];
    struct sl_child_opts opts = sh(argv, "exec sleep 600");
    struct run r;

    sl_check(start_with(&r, &opts) == 0);
    sl_child_cancel(r.child);
    sl_loop_free(r.loop);
    while (waitpid(-1, NULL, 0) >= 0)
        ;
    sl_check(r.n_ends == 0);
}

static void their_number_is_limited(void)
{
    static struct run runs[SL_CHILDREN_MAX];
    const char *argv[4];
    struct sl_child_opts opts = sh(argv, "exec sleep 600");
    struct run more;

    for (int i = 0; i < SL_CHILDREN_MAX; i++)
        sl_check(start_with(&runs[i], &opts) == 0);
    sl_check(start_with(&more, &opts) == SL_E_LIMIT);
    sl_loop_free(more.loop);
    for (int i = 0; i < SL_CHILDREN_MAX; i++) {
        sl_child_cancel(runs[i].child);
        sl_loop_free(runs[i].loop);
    }
    while (waitpid(-1, NULL, 0) >= 0)
        ;
    sl_check(run("exit 0").status == 0);
}

static void *run_some(void *arg SL_UNUSED)
{
    size_t n_right = 0;

    for (int i = 0; i < 20; i++) {
        const char *argv[4];
        struct sl_child_opts opts = sh(argv, "cat; exit 3");
        struct run r;

        opts.input = SL_STR("text");
        if (start_with(&r, &opts) == 0)
            sl_loop_run(r.loop);
        sl_loop_free(r.loop);
        n_right += r.status == 3 && r.out_len == 4;
    }
    return (void *)n_right;
}

static void threads_start_children_at_the_same_time(void)
{
    pthread_t threads[4];
    void *n_right;

    for (size_t i = 0; i < SL_COUNT(threads); i++)
        sl_assert(pthread_create(&threads[i], NULL, run_some, NULL) == 0);
    for (size_t i = 0; i < SL_COUNT(threads); i++) {
        pthread_join(threads[i], &n_right);
        sl_check((size_t)n_right == 20);
    }
}

static int count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

int main(void)
{
    int n_before;

    signal(SIGPIPE, SIG_IGN);
    n_before = count_descriptors();
    what_it_says_and_how_it_ends();
    input_longer_than_a_pipe();
    environment_and_folder();
    what_cannot_start();
    a_deadline_is_kept();
    what_is_left_is_killed();
    a_cancelled_child_is_reaped();
    the_loop_may_go_first();
    their_number_is_limited();
    threads_start_children_at_the_same_time();
    sl_check(count_descriptors() == n_before);
    sl_check(!has_children());
    return sl_check_done();
}
