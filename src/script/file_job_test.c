#include "script/file_job.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/check.h"

static char folder[] = "/tmp/sluice-file-test-XXXXXX";
static char path_text[256];

static struct sl_str in_folder(const char *name)
{
    int n = snprintf(path_text, sizeof(path_text), "%s/%s", folder, name);

    return sl_str(path_text, (size_t)n);
}

/* Runs a job at once; the code. */
static int run(enum sl_file_kind kind, const char *name, const char *bytes, size_t max,
               struct sl_buf *out)
{
    struct sl_file_job *job = sl_file_job_new(kind, in_folder(name));
    int code;

    job->max = max;
    job->mode = kind == SL_FILE_MKDIR ? 0700 : 0640;
    if (bytes != NULL)
        sl_buf_append_str(&job->bytes, sl_str_c(bytes));
    sl_file_run(job);
    code = job->code;
    sl_check((code == 0) == (job->text == NULL));
    if (out != NULL)
        sl_buf_append_str(out, sl_buf_str(&job->bytes));
    sl_file_job_free(job);
    return code;
}

static void has(const char *name, const char *want)
{
    struct sl_buf got = {0};

    sl_check(run(SL_FILE_READ, name, NULL, 100, &got) == 0);
    sl_check_str(sl_buf_str(&got), sl_str_c(want));
    sl_buf_clear(&got);
}

static unsigned mode_of(const char *name)
{
    struct stat st;

    return stat(in_folder(name).p, &st) == 0 ? st.st_mode & 0777 : 0;
}

static void reading_and_writing(void)
{
    sl_check(run(SL_FILE_READ, "a", NULL, 100, NULL) == SL_E_NOT_FOUND);
    sl_check(run(SL_FILE_WRITE, "a", "one", 0, NULL) == 0);
    has("a", "one");
    sl_check(mode_of("a") == 0640);
    sl_check(run(SL_FILE_WRITE, "a", "another", 0, NULL) == 0);
    has("a", "another");
    sl_check(run(SL_FILE_WRITE, "empty", "", 0, NULL) == 0);
    has("empty", "");
    sl_check(run(SL_FILE_READ, "a", NULL, 7, NULL) == 0);
    sl_check(run(SL_FILE_READ, "a", NULL, 6, NULL) == SL_E_LIMIT);
    sl_check(run(SL_FILE_WRITE, "no/such/folder", "x", 0, NULL) == SL_E_NOT_FOUND);
    sl_check(run(SL_FILE_EXISTS, "a", NULL, 0, NULL) == 0);
    sl_check(run(SL_FILE_EXISTS, "b", NULL, 0, NULL) == SL_E_NOT_FOUND);
}

static void what_is_no_file(void)
{
    sl_check(run(SL_FILE_READ, "", NULL, 100, NULL) < 0);
    sl_check(mkfifo(in_folder("pipe").p, 0600) == 0);
    sl_check(run(SL_FILE_READ, "pipe", NULL, 100, NULL) ==
             SL_E_CONFIG); /* and does not wait for a writer */
    sl_check(run(SL_FILE_REMOVE, "pipe", NULL, 0, NULL) == 0);
}

static void folders(void)
{
    sl_check(run(SL_FILE_MKDIR, "d/e/f", NULL, 0, NULL) == 0);
    sl_check(run(SL_FILE_MKDIR, "d/e/f", NULL, 0, NULL) == 0);
    sl_check(mode_of("d/e/f") == 0700);
    sl_check(run(SL_FILE_MKDIR, "a", NULL, 0, NULL) == SL_E_IN_USE);
    sl_check(run(SL_FILE_MKDIR, "a/b", NULL, 0, NULL) < 0);
    sl_check(run(SL_FILE_WRITE, "d/e/f/g", "deep", 0, NULL) == 0);
    has("d/e/f/g", "deep");
    sl_check(run(SL_FILE_REMOVE, "d/e/f", NULL, 0, NULL) < 0);
    sl_check(run(SL_FILE_REMOVE, "d/e/f/g", NULL, 0, NULL) == 0);
    sl_check(run(SL_FILE_REMOVE, "d/e/f", NULL, 0, NULL) == 0);
    sl_check(run(SL_FILE_REMOVE, "d/e/f", NULL, 0, NULL) == SL_E_NOT_FOUND);
    sl_check(run(SL_FILE_REMOVE, "d/e", NULL, 0, NULL) == 0 &&
             run(SL_FILE_REMOVE, "d", NULL, 0, NULL) == 0);
}

/* A write that fails leaves neither a half file nor its temporary one behind: the folder can be
 * removed at the end. */
static void a_failed_write_leaves_nothing(void)
{
    sl_check(run(SL_FILE_MKDIR, "taken/inside", NULL, 0, NULL) == 0);
    sl_check(run(SL_FILE_WRITE, "taken", "x", 0, NULL) < 0);
    sl_check(run(SL_FILE_REMOVE, "taken/inside", NULL, 0, NULL) == 0);
    sl_check(run(SL_FILE_REMOVE, "taken", NULL, 0, NULL) == 0);
}

/* --- on the helper thread --- */

static struct sl_loop *loop;
static int n_done;

static void on_done(struct sl_file_job *job)
{
    sl_check(job->code == 0 && job->user == &n_done);
    sl_check_str(sl_buf_str(&job->bytes), SL_STR("another"));
    if (++n_done == 20)
        sl_loop_stop(loop);
}

static void on_unexpected(struct sl_file_job *job SL_UNUSED)
{
    sl_check(!"a cancelled job is not heard of");
}

static struct sl_file_job *submit(enum sl_file_kind kind, const char *name,
                                  void (*done)(struct sl_file_job *))
{
    struct sl_file_job *job = sl_file_job_new(kind, in_folder(name));

    job->max = 100;
    job->mode = 0600;
    sl_check(sl_file_submit(job, loop, done, &n_done) == 0);
    return job;
}

static void jobs_come_back_to_their_loop(void)
{
    sl_assert(sl_loop_new(&loop) == 0);
    for (int i = 0; i < 20; i++) {
        submit(SL_FILE_READ, "a", on_done);
        sl_file_cancel(submit(SL_FILE_READ, "a", on_unexpected));
        sl_file_cancel(submit(SL_FILE_WRITE, "cancelled", on_unexpected));
    }
    sl_loop_run(loop);
    sl_check(n_done == 20);
    sl_loop_free(loop);
}

/* The loop goes while jobs are at work: they were cancelled, and do not look for it. */
static void a_loop_may_go_before_its_jobs(void)
{
    sl_assert(sl_loop_new(&loop) == 0);
    for (int i = 0; i < 100; i++)
        sl_file_cancel(submit(SL_FILE_WRITE, "cancelled", on_unexpected));
    sl_loop_free(loop);
}

static void on_last(struct sl_file_job *job SL_UNUSED)
{
    sl_loop_stop(loop);
}

/* One thread works in order, so after this job all before it are through. */
static void wait_for_the_helper(void)
{
    sl_assert(sl_loop_new(&loop) == 0);
    submit(SL_FILE_EXISTS, "a", on_last);
    sl_loop_run(loop);
    sl_loop_free(loop);
}

int main(void)
{
    sl_assert(mkdtemp(folder) != NULL);
    reading_and_writing();
    what_is_no_file();
    folders();
    a_failed_write_leaves_nothing();
    jobs_come_back_to_their_loop();
    a_loop_may_go_before_its_jobs();
    wait_for_the_helper();
    sl_check(run(SL_FILE_REMOVE, "cancelled", NULL, 0, NULL) ==
             0); /* a write is carried out even so */
    sl_check(run(SL_FILE_REMOVE, "a", NULL, 0, NULL) == 0 &&
             run(SL_FILE_REMOVE, "empty", NULL, 0, NULL) == 0);
    sl_check(rmdir(folder) == 0);
    return sl_check_done();
}
