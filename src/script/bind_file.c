/* sluice.file: files, without ever keeping an event loop waiting (script/file_job.h). While a
   script loads there is nothing to keep waiting and no task, so there the work is done at once. */
#include "script/file_job.h"
#include "script/library.h"

enum {
    MAX_READ = 16 * 1024 * 1024,
    MOST_READ = 1024 * 1024 * 1024,
    FILE_MODE = 0600,
    FOLDER_MODE = 0700
};

/* What a job gives to Lua. */
static int push_result(lua_State *L, void *arg)
{
    struct sl_file_job *job = arg;

    if (job->kind == SL_FILE_EXISTS)
        lua_pushboolean(L, job->code == 0);
    else if (job->code != 0)
        return sl_push_failure(L, job->text);
    else if (job->kind == SL_FILE_READ)
        lua_pushlstring(L, sl_buf_len(&job->bytes) > 0 ? (const char *)sl_buf_at(&job->bytes) : "",
                        sl_buf_len(&job->bytes));
    else
        lua_pushboolean(L, true);
    return 1;
}

static void on_done(struct sl_file_job *job)
{
    sl_task_resume(job->user, push_result, job);
}

static void cancel(void *op)
{
    sl_file_cancel(op);
}

static int job_gc(lua_State *L)
{
    struct sl_file_job **guard = lua_touserdata(L, 1);

    sl_file_job_free(*guard);
    *guard = NULL;
    return 0;
}

/* The result may not fit into memory, so the collector must know of the job. */
static int run_now(lua_State *L, struct sl_file_job *job, struct sl_file_job **guard)
{
    int n;

    sl_file_run(job);
    n = push_result(L, job);
    sl_file_job_free(job);
    *guard = NULL;
    return n;
}

static int run(lua_State *L, const char *what, struct sl_file_job **guard)
{
    struct sl_file_job *job = *guard;
    struct sl_task *task;

    if (sl_context_now(L) == SL_CONTEXT_LOAD)
        return run_now(L, job, guard);
    task = sl_task_must_wait(L, what);
    if (sl_file_submit(job, sl_script_loop(sl_script_of(L)), on_done, task) < 0)
        return sl_push_failure(L, "too many files are being worked on");
    *guard = NULL;
    return sl_task_wait(task, cancel, job);
}

static struct sl_str check_path(lua_State *L)
{
    struct sl_str path = sl_arg_str(L, 1);

    luaL_argcheck(L, path.len > 0 && memchr(path.p, '\0', path.len) == NULL, 1,
                  "a path without NUL expected");
    return path;
}

/* A job for the path at 1, pushed with a guard that frees it when something throws. */
static struct sl_file_job **new_job(lua_State *L, enum sl_file_kind kind)
{
    struct sl_str path = check_path(L);
    struct sl_file_job **guard;

    guard = sl_object_new(L, "file", sizeof(*guard));
    *guard = sl_file_job_new(kind, path);
    return guard;
}

static int read_(lua_State *L)
{
    size_t max = (size_t)sl_arg_opt_int(L, 2, 1, MOST_READ, MAX_READ);
    struct sl_file_job **job = new_job(L, SL_FILE_READ);

    (*job)->max = max;
    return run(L, "sluice.file.read", job);
}

static int write_(lua_State *L)
{
    static const char *const names[] = {"mode", NULL};
    struct sl_file_job **job;
    struct sl_str bytes;
    mode_t mode = FILE_MODE;

    check_path(L);
    bytes = sl_arg_str(L, 2);
    sl_arg_options(L, 3, names);
    if (!lua_isnoneornil(L, 3))
        mode = (mode_t)sl_opt_int(L, 3, "mode", 0, 0777, FILE_MODE);
    job = new_job(L, SL_FILE_WRITE);
    (*job)->mode = mode;
    sl_buf_append_str(&(*job)->bytes, bytes);
    return run(L, "sluice.file.write", job);
}

static int exists(lua_State *L)
{
    return run(L, "sluice.file.exists", new_job(L, SL_FILE_EXISTS));
}

static int remove_(lua_State *L)
{
    return run(L, "sluice.file.remove", new_job(L, SL_FILE_REMOVE));
}

static int mkdir_(lua_State *L)
{
    struct sl_file_job **job = new_job(L, SL_FILE_MKDIR);

    (*job)->mode = FOLDER_MODE;
    return run(L, "sluice.file.mkdir", job);
}

void sl_bind_file(lua_State *L)
{
    static const struct luaL_Reg functions[] = {
        {"file.read", read_},     {"file.write", write_}, {"file.exists", exists},
        {"file.remove", remove_}, {"file.mkdir", mkdir_}, {NULL, NULL},
    };
    static const struct luaL_Reg methods[] = {{NULL, NULL}};

    sl_bind_functions(L, functions);
    sl_bind_class(L, "file", methods, job_gc);
}
