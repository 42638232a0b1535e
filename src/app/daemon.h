/*
 * sluice run --daemon: a program that leaves its terminal, once, whatever its parent is. Whoever
 * started it waits until it is ready and gets its process id, or the reason why it will not be.
 *
 *     if (opts->is_daemon && (rc = sl_daemon_begin(log_path)) >= 0)
 *         return rc; // in the process that was started
 *
 * One thread, before others begin; but for sl_daemon_ready().
 */
#ifndef SL_APP_DAEMON_H
#define SL_APP_DAEMON_H

/* Descriptors 0 to 2 are there from now on (/dev/null), so that nothing else gets these numbers. */
void sl_daemon_keep_stdio(void);
/* Forks. Returns -1 in the daemon: it leads a session of its own, its stdio is /dev/null, and the
   errors that it logs go to the terminal, too, until it is ready. In the process that was started:
   the exit code, once the daemon is ready (0; its process id is on stdout) or has ended (its exit
   code, at least 1; what it logged, and `log_path`, are on stderr). */
int sl_daemon_begin(const char *log_path);
/* The supervisor has forked the runtime, which says the rest. */
void sl_daemon_leave_to_child(void);
/* The control thread: whoever waits may go. Does nothing when nobody does. */
void sl_daemon_ready(void);

#endif
