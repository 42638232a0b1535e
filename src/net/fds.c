#include "net/fds.h"

#include <fcntl.h>
#include <unistd.h>
#include "base/error.h"

void sl_fds_add(struct sl_fds *fds, int fd)
{
    if (fds->n == fds->cap) {
        fds->cap = fds->cap > 0 ? 2 * fds->cap : 8;
        fds->at = sl_realloc(fds->at, fds->cap * sizeof(*fds->at));
    }
    fds->at[fds->n++] = fd;
}

int sl_fds_add_copy(struct sl_fds *fds, int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

    if (copy < 0)
        return SL_E_LIMIT;
    sl_fds_add(fds, copy);
    return 0;
}

void sl_fds_clear(struct sl_fds *fds)
{
    for (size_t i = 0; i < fds->n; i++) {
        if (fds->at[i] >= 0)
            close(fds->at[i]);
    }
    sl_free(fds->at);
    *fds = (struct sl_fds){0};
}
