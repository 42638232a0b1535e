/*
 * A child process for a moment: started without a shell, given its input, its output collected,
 * ended with its process group. Not the supervisor, which forks the runtime itself.
 *
 * The child leads a process group of its own, has none of our descriptors, none of our ignored or
 * blocked signals, and /dev/null as its input when there is none. Whatever is left of its group
 * when it ends, or must end, is killed (SIGKILL). It is reaped by its pidfd (Linux 5.4), so that
 * SIGCHLD means nothing here and any thread with a loop may start one. It does outlive a process of
 * ours that is killed.
 *
 * Owner: this module, until `on_end` was called or sl_child_cancel() returned; after either, the
 * pointer is void. One thread: the loop's. A child that does not die at once is reaped later; the
 * loop may be freed meanwhile.
 *
 *     struct sl_child_opts opts = {.argv = argv, .max_output = 65536, .timeout_ms = 1000};
 *     rc = sl_child_start(&child, loop, &opts, on_end, task, &err);
 */
#ifndef SL_LOOP_CHILD_H
#define SL_LOOP_CHILD_H

#include "base/buf.h"
#include "loop/loop.h"

/* Of this process, all threads together: a child takes four descriptors, and memory for what it
 * says. */
enum { SL_CHILDREN_MAX = 256 };

struct sl_child_opts {
    const char *const *argv; /* ends with NULL; without a slash argv[0] is looked for in PATH */
    const char *const *env;  /* "NAME=value", …, NULL: set beside our own; NULL: none */
    const char *cwd;         /* NULL: ours */
    struct sl_str input;     /* copied */
    size_t max_output;       /* bytes of both outputs together */
    double timeout_ms;
};

struct sl_child_end {
    int code;   /* 0: it ended by itself; SL_E_TIMEOUT; SL_E_LIMIT: more than max_output */
    int status; /* code 0: its exit status, or -1 when a signal ended it */
    int signal; /* code 0: that signal, or 0 */
    struct sl_str out, err;
};

struct sl_child;

/* Comes once, from the loop; `end` is valid during the call. */
typedef void sl_on_child_end(void *user, const struct sl_child_end *end);

/* 0, or negative with the sentence in `err`: SL_E_NOT_FOUND (no such program), SL_E_DENIED,
   SL_E_CONFIG (cwd), SL_E_LIMIT (too many children, descriptors or processes), SL_E_SYSTEM. The
   strings are not used later. Waits for the execve(), some milliseconds on a slow disk. */
int sl_child_start(struct sl_child **out, struct sl_loop *loop, const struct sl_child_opts *opts,
                   sl_on_child_end *on_end, void *user, struct sl_err *err);
/* Kills it; `on_end` does not come. */
void sl_child_cancel(struct sl_child *c);

#endif
