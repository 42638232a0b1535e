#include "script/file_job.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

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
    struct stat st;

    for (char *p = job->path + 1; *p != '\0'; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        mkdir(job->path, job->mode); /* what is wrong with a parent shows at its child */
        *p = '/';
    }
    if (mkdir(job->path, job->mode) == 0)
        return;
    if (errno == EEXIST && stat(job->path, &st) == 0 && !S_ISDIR(st.st_mode))
        fail_with(job, SL_E_IN_USE, "exists and is no folder");
    else if (errno != EEXIST)
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

/* --- the helper thread: begins with the first job and stays --- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct sl_list queue;
    unsigned n_waiting;
    bool is_running;
} helper = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

/* On the loop's thread. The lock has nothing to protect here: the helper is through with the job.
 */
static void deliver(void *arg)
{
    struct sl_file_job *job = arg;

    if (!job->is_cancelled)
        job->done(job);
    sl_file_job_free(job);
}

static struct sl_file_job *next_job(void)
{
    while (sl_list_is_empty(&helper.queue))
        pthread_cond_wait(&helper.more, &helper.lock);
    helper.n_waiting--;
    return sl_container_of(sl_list_pop(&helper.queue), struct sl_file_job, link);
}

/* A job that was cancelled meanwhile has no loop to go back to: that may be freed by now. */
static void finish(struct sl_file_job *job)
{
    if (job->is_cancelled)
        sl_file_job_free(job);
    else
        sl_loop_post(job->loop, deliver, job);
}

static void *run_helper(void *arg SL_UNUSED)
{
    pthread_setname_np(pthread_self(), "files");
    pthread_mutex_lock(&helper.lock);
    for (;;) {
        struct sl_file_job *job = next_job();

        pthread_mutex_unlock(&helper.lock);
        sl_file_run(job);
        pthread_mutex_lock(&helper.lock);
        finish(job);
    }
    return NULL;
}

static bool start_helper(void)
{
    pthread_attr_t attr;
    pthread_t thread;
    int rc;

    if (helper.is_running)
        return true;
    sl_list_init(&helper.queue);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    rc = pthread_create(&thread, &attr, run_helper, NULL);
    pthread_attr_destroy(&attr);
    helper.is_running = rc == 0;
    return rc == 0;
}

int sl_file_submit(struct sl_file_job *job, struct sl_loop *loop,
                   void (*done)(struct sl_file_job *), void *user)
{
    int rc = SL_E_LIMIT;

    job->loop = loop;
    job->done = done;
    job->user = user;
    pthread_mutex_lock(&helper.lock);
    if (helper.n_waiting < SL_FILE_MAX_JOBS && start_helper()) {
        sl_list_append(&helper.queue, &job->link);
        helper.n_waiting++;
        pthread_cond_signal(&helper.more);
        rc = 0;
    }
    pthread_mutex_unlock(&helper.lock);
    return rc;
}

void sl_file_cancel(struct sl_file_job *job)
{
    pthread_mutex_lock(&helper.lock);
    if (job->kind != SL_FILE_WRITE && sl_link_is_on(&job->link)) {
        sl_link_remove(&job->link);
        helper.n_waiting--;
        pthread_mutex_unlock(&helper.lock);
        sl_file_job_free(job);
        return;
    }
    job->is_cancelled = true; /* a write that was asked for is carried out */
    pthread_mutex_unlock(&helper.lock);
}
