#include "script/file_job.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/folder.h"

/* --- the work --- */

static void fail(struct sl_file_job *job, int cause)
{
    job->code = sl_error_from_errno(cause);
    switch (cause) {
    case ENOENT:
    case ENOTDIR:
        job->code = SL_E_NOT_FOUND;
        job->text = "not found";
        return;
    case EACCES:
    case EPERM:
        job->text = "permission denied";
        return;
    case EISDIR:
        job->text = "is a folder";
        return;
    case ENOTEMPTY:
    case EEXIST:
        job->text = "the folder is not empty";
        return;
    case ENOSPC:
    case EDQUOT:
        job->text = "the disk is full";
        return;
    case EROFS:
        job->text = "the file system is read-only";
        return;
    default:
        job->text = strerrordesc_np(cause);
    }
}

static void fail_with(struct sl_file_job *job, int code, const char *text)
{
    job->code = code;
    job->text = text;
}

enum { CHUNK = 64 * 1024 };

/* Until the end rather than until st_size: files of /proc say 0. */
static void read_all(struct sl_file_job *job, int fd)
{
    for (;;) {
        size_t left = job->max - sl_buf_len(&job->bytes);
        ssize_t n = read(fd, sl_buf_reserve(&job->bytes, CHUNK), SL_MIN(left + 1, CHUNK));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            fail(job, errno);
        else if ((size_t)n > left)
            fail_with(job, SL_E_LIMIT, "too large");
        if (n <= 0 || job->code != 0)
            return;
        sl_buf_commit(&job->bytes, (size_t)n);
    }
}

/* Non-blocking, so that a pipe in the place of the file does not hold the thread. */
static void run_read(struct sl_file_job *job)
{
    int fd = open(job->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0) {
        fail(job, errno);
        return;
    }
    if (fstat(fd, &st) < 0)
        fail(job, errno);
    else if (S_ISDIR(st.st_mode))
        fail(job, EISDIR);
    else if (!S_ISREG(st.st_mode))
        fail_with(job, SL_E_CONFIG, "not a regular file");
    else
        read_all(job, fd);
    close(fd);
}

static int write_all(int fd, const struct sl_buf *bytes)
{
    const uint8_t *p = sl_buf_at(bytes);
    size_t left = sl_buf_len(bytes);

    while (left > 0) {
        ssize_t n = write(fd, p, left);

        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0) {
            p += n;
            left -= (size_t)n;
        }
    }
    return 0;
}

/* The rename itself must be on the disk, too. */
static int sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder =
        slash == NULL ? sl_strdup(".") : sl_strndup(path, SL_MAX((size_t)(slash - path), 1));
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

    sl_free(folder);
    if (fd < 0)
        return -1;
    rc = fsync(fd);
    close(fd);
    return rc;
}

static int write_and_rename(struct sl_file_job *job, int fd, const char *temporary)
{
    int rc = fchmod(fd, job->mode);

    if (rc == 0)
        rc = write_all(fd, &job->bytes);
    if (rc == 0)
        rc = fsync(fd);
    if (rc == 0)
        rc = rename(temporary, job->path);
    return rc == 0 ? sync_folder(job->path) : rc;
}

static void run_write(struct sl_file_job *job)
{
    static atomic_uint counter;
    size_t room = strlen(job->path) + 64;
    char *temporary = sl_alloc(room);
    int fd;

    snprintf(temporary, room, "%s.%d.%u.new", job->path, (int)getpid(),
             atomic_fetch_add(&counter, 1));
    fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        fail(job, errno);
    } else {
        if (write_and_rename(job, fd, temporary) < 0) {
            fail(job, errno);
            unlink(temporary);
        }
        close(fd);
    }
    sl_free(temporary);
}

static void run_mkdir(struct sl_file_job *job)
{
    if (sl_folder_make(job->path, job->mode) == 0)
        return;
    if (errno == EEXIST)
        fail_with(job, SL_E_IN_USE, "exists and is no folder");
    else
        fail(job, errno);
}

void sl_file_run(struct sl_file_job *job)
{
    switch (job->kind) {
    case SL_FILE_READ:
        run_read(job);
        return;
    case SL_FILE_WRITE:
        run_write(job);
        return;
    case SL_FILE_EXISTS:
        if (access(job->path, F_OK) < 0)
            fail(job, errno);
        return;
    case SL_FILE_REMOVE:
        if (remove(job->path) < 0)
            fail(job, errno);
        return;
    case SL_FILE_MKDIR:
        run_mkdir(job);
        return;
    }
}

/* --- jobs --- */

struct sl_file_job *sl_file_job_new(enum sl_file_kind kind, struct sl_str path)
{
    struct sl_file_job *job = sl_zalloc(sizeof(*job));

    job->kind = kind;
    job->path = sl_strndup(path.p, path.len);
    return job;
}

void sl_file_job_free(struct sl_file_job *job)
{
    if (job == NULL)
        return;
    sl_buf_clear(&job->bytes);
    sl_free(job->path);
    sl_free(job);
}

/* --- on the helper's thread --- */

static struct sl_helper files = SL_HELPER("files", SL_FILE_MAX_JOBS);

static struct sl_file_job *file_job(struct sl_job *job)
{
    return sl_container_of(job, struct sl_file_job, job);
}

static void do_run(struct sl_job *job)
{
    sl_file_run(file_job(job));
}

static void on_done(struct sl_job *job)
{
    file_job(job)->done(file_job(job));
}

static void do_free(struct sl_job *job)
{
    sl_file_job_free(file_job(job));
}

int sl_file_submit(struct sl_file_job *job, struct sl_loop *loop,
                   void (*done)(struct sl_file_job *), void *user)
{
    static const struct sl_job_ops ops = {do_run, on_done, do_free};

    job->job.ops = &ops;
    job->done = done;
    job->user = user;
    return sl_helper_submit(&files, &job->job, loop);
}

void sl_file_cancel(struct sl_file_job *job)
{
    sl_helper_cancel(&files, &job->job, job->kind == SL_FILE_WRITE);
}
