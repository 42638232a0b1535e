#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>
#include "quic/internal.h"

static int name_of(char *out, size_t len, const char *dir, const ngtcp2_cid *odcid)
{
    char hex[2 * NGTCP2_MAX_CIDLEN + 1] = "";

    for (size_t i = 0; i < odcid->datalen; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", odcid->data[i]);
    return snprintf(out, len, "%s/%s.sqlog", dir, hex) < (int)len ? 0 : SL_E_LIMIT;
}

FILE *sl_quic_qlog_open(struct sl_quic_endpoint *e, const ngtcp2_cid *odcid)
{
    const char *dir = e->settings.qlog_dir;
    unsigned n_suppressed = 0;
    char name[PATH_MAX];
    FILE *file = NULL;
    int fd;

    if (dir == NULL || name_of(name, sizeof(name), dir, odcid) < 0)
        return NULL;
    /* The client has chosen the name's digits: it must not choose a file that is there. */
    fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd >= 0 && (file = fdopen(fd, "w")) == NULL)
        close(fd);
    if (file == NULL && sl_log_may(&e->failures, &n_suppressed))
        sl_log_warn("cannot make a qlog file", sl_f_str("file", name), sl_f_int("errno", errno),
                    sl_f_int("suppressed", n_suppressed));
    return file;
}

void sl_quic_qlog_write(void *user, uint32_t flags, const void *bytes, size_t len)
{
    struct sl_qconn *c = user;

    if (c->qlog == NULL)
        return;
    (void)fwrite(bytes, 1, len, c->qlog); /* a full disk costs the log alone */
    if ((flags & NGTCP2_QLOG_WRITE_FLAG_FIN) != 0) {
        (void)fclose(c->qlog);
        c->qlog = NULL;
    }
}
