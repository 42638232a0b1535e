/*
 * Work on files that may take its time (a slow disk, fsync): done by a helper thread of the
 * process (script/helper.h, which says whose a job is), so that no event loop waits. At most
 * SL_FILE_MAX_JOBS wait.
 *
 *     struct sl_file_job *job = sl_file_job_new(SL_FILE_READ, path);
 *     job->max = 65536;
 *     rc = sl_file_submit(job, loop, on_read, task);
 */
#ifndef SL_SCRIPT_FILE_JOB_H
#define SL_SCRIPT_FILE_JOB_H

#include <sys/types.h>
#include "base/buf.h"
#include "script/helper.h"

enum { SL_FILE_MAX_JOBS = 1024 };

enum sl_file_kind {
    SL_FILE_READ,   /* a regular file, at most `max` bytes, into `bytes` */
    SL_FILE_WRITE,  /* `bytes`, atomically: a new file beside it, fsync, rename */
    SL_FILE_EXISTS, /* 0 or SL_E_NOT_FOUND */
    SL_FILE_REMOVE, /* a file or an empty folder */
    SL_FILE_MKDIR,  /* with its parents; not an error when it is there */
};

struct sl_file_job {
    enum sl_file_kind kind;
    char *path;
    size_t max;
    mode_t mode; /* WRITE: of the file; MKDIR: of the folders */
    struct sl_buf bytes;
    /* The result: 0, or a code with a lower-case phrase. */
    int code;
    const char *text;
    /* of this module */
    struct sl_job job;
    void (*done)(struct sl_file_job *job);
    void *user;
};

struct sl_file_job *sl_file_job_new(enum sl_file_kind kind, struct sl_str path);
void sl_file_job_free(struct sl_file_job *job);
/* Here and now. */
void sl_file_run(struct sl_file_job *job);
/* 0, or SL_E_LIMIT: too many wait; the job is then still the caller's. */
int sl_file_submit(struct sl_file_job *job, struct sl_loop *loop,
                   void (*done)(struct sl_file_job *), void *user);
/* A write that was asked for is carried out. */
void sl_file_cancel(struct sl_file_job *job);

#endif
