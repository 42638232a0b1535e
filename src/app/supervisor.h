/*
 * The supervisor: the process an operator starts. Keeps one runtime process alive: restarts it
 * after a crash with a backoff of 1 s to 30 s, passes signals on, ends when it ends in order. It
 * opens no socket and loads no script.
 */
#ifndef SL_APP_SUPERVISOR_H
#define SL_APP_SUPERVISOR_H

/* What the runtime process writes to its `ready_fd`, a byte each: it serves; it ends of its own
   will (a script's exit(), a signal), whatever its exit code, and is not to be started again. */
enum { SL_RUNTIME_READY = 'r', SL_RUNTIME_ENDS = 'e' };

/* How many runtimes have crashed before this one, for the runtime process; 0 without a supervisor.
 */
unsigned sl_supervisor_crashes(void);

/* Runs `runtime(ready_fd, arg)` in child processes. Returns the exit code of the program. */
int sl_supervise(int (*runtime)(int ready_fd, void *arg), void *arg);

#endif
