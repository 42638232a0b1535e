#include "base/log_out.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/log_file.h"

static int out = STDERR_FILENO;
static bool is_socket;
static _Atomic unsigned n_lost;
static _Atomic bool is_cut; /* the last line that went into a pipe lacks its end */

/* O_NONBLOCK belongs to what all holders of the descriptor share, and others may print to it: a
 * pipe is opened once more. A socket can be told with each call. */
void sl_log_out_open(void)
{
    struct stat st;
    int fd;

    if (out != STDERR_FILENO)
        close(out);
    out = STDERR_FILENO;
    is_socket = false;
    if (fstat(STDERR_FILENO, &st) < 0)
        return;
    is_socket = S_ISSOCK(st.st_mode);
    if (S_ISFIFO(st.st_mode) &&
        (fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC)) >= 0)
        out = fd;
}

static ssize_t put(const uint8_t *bytes, size_t len)
{
    if (sl_log_file_is_open())
        return sl_log_file_write(bytes, len);
    return is_socket ? send(out, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL) : write(out, bytes, len);
}

bool sl_log_out(const uint8_t *line, size_t len)
{
    ssize_t n;

    if (atomic_load(&is_cut) && put((const uint8_t *)"\n", 1) == 1)
        atomic_store(&is_cut, false);
    n = put(line, len);
    if (n > 0 && (size_t)n < len)
        atomic_store(&is_cut, true);
    if (n != (ssize_t)len)
        atomic_fetch_add(&n_lost, 1);
    return n == (ssize_t)len;
}

void sl_log_out_last_words(const char *text, size_t len)
{
    ssize_t n = write(STDERR_FILENO, text, len);

    if (sl_log_file_is_open())
        n = sl_log_file_write_now(text, len);
    (void)n;
}

unsigned sl_log_out_lost(void)
{
    return atomic_load_explicit(&n_lost, memory_order_relaxed) > 0 ? atomic_exchange(&n_lost, 0)
                                                                   : 0;
}
