#include "app/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"

/* What comes through the pipe to whoever waits: errors as text, then a NUL when all is well. The
 * end of it without that is a failure. */
static int waiting_fd = -1;

static void to_null(int fd)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null >= 0) {
        dup2(null, fd);
        close(null);
    }
}

void sl_daemon_keep_stdio(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

/* --- in the process that was started --- */

/* Passes errors on. Did the NUL come? */
static bool hear(int fd)
{
    char text[4096];
    ssize_t n;

    while ((n = read(fd, text, sizeof(text))) != 0) {
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0 && text[n - 1] == '\0')
            return true;
        if (n > 0)
            fwrite(text, 1, (size_t)n, stderr);
    }
    return false;
}

static int wait_for(pid_t pid, int fd, const char *log_path)
{
    int status;

    if (hear(fd)) {
        printf("%d\n", (int)pid);
        return 0;
    }
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return 1;
    }
    fprintf(stderr, "sluice: it ended before it was ready; the log is in %s\n", log_path);
    return WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : 1;
}

/* --- in the daemon --- */

static void detach(int fd)
{
    setsid();
    for (int i = STDIN_FILENO; i <= STDERR_FILENO; i++)
        to_null(i);
    signal(SIGPIPE, SIG_IGN); /* nobody need wait for it */
    fcntl(fd, F_SETFL, O_NONBLOCK);
    waiting_fd = fd;
    sl_log_copy_errors(fd);
}

int sl_daemon_begin(const char *log_path)
{
    int fds[2], code;
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
        fprintf(stderr, "sluice: cannot make a process: %s\n", strerror(errno));
        return 1;
    }
    if (pid == 0) {
        close(fds[0]);
        detach(fds[1]);
        return -1;
    }
    close(fds[1]);
    code = wait_for(pid, fds[0], log_path);
    close(fds[0]);
    return code;
}

void sl_daemon_leave_to_child(void)
{
    if (waiting_fd < 0)
        return;
    sl_log_copy_errors(-1);
    close(waiting_fd);
    waiting_fd = -1;
}

void sl_daemon_ready(void)
{
    ssize_t n;

    if (waiting_fd < 0)
        return;
    n = write(waiting_fd, "", 1);
    (void)n; /* who waited may be gone */
    sl_log_copy_errors(-1);
    to_null(waiting_fd); /* not closed: another thread may be logging an error right now */
    waiting_fd = -1;
}
