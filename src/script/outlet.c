#include "script/outlet.h"

#include <stdio.h>
#include "script/bind.h"
#include "script/internal.h"

enum {
    SLICE = 64 * 1024,
    RUN = 256 * 1024,      /* bytes in one run of a writer, */
    WRITE_COST = 4 * 1024, /* of which each write counts as so many more */
};

static const char *text_of(int code)
{
    return code == SL_E_CLOSED ? "closed" : sl_error_text(code);
}

/* Until there is no more, or it has to wait, or others have to run: 0, SL_E_AGAIN, or why it is
 * broken. */
static int push_on(struct sl_outlet *o)
{
    do {
        struct sl_str slice = sl_str(o->rest.p, SL_MIN(o->rest.len, SLICE));
        int rc = o->ops->write(o->user, slice);

        if (rc < 0 && rc != SL_E_AGAIN) {
            o->error = rc;
            return rc;
        }
        o->rest = sl_str(o->rest.p + slice.len, o->rest.len - slice.len);
        o->run += slice.len + WRITE_COST;
        o->is_blocked = rc == SL_E_AGAIN;
    } while (!o->is_blocked && o->rest.len > 0 && o->run < RUN);
    return o->is_blocked || o->run >= RUN ? SL_E_AGAIN : 0;
}

static struct sl_task *take_writer(struct sl_outlet *o)
{
    struct sl_task *task = o->writer;

    o->writer = NULL;
    o->is_torn |= o->rest.len > 0;
    o->rest = SL_STR_NONE;
    sl_loop_unsoon(&o->soon);
    return task;
}

static void go_on(void *user);

/* on_written() comes, or the next turn. */
static void wait(struct sl_outlet *o)
{
    o->run = 0;
    if (!o->is_blocked)
        sl_loop_soon(sl_script_loop(sl_task_script(o->writer)), &o->soon, go_on, o);
}

static void go_on(void *user)
{
    struct sl_outlet *o = user;
    int rc = o->rest.len > 0 ? push_on(o) : 0;

    if (rc == SL_E_AGAIN)
        wait(o);
    else if (rc < 0)
        sl_task_resume_error(take_writer(o), text_of(rc));
    else
        sl_task_resume_true(take_writer(o));
}

void sl_outlet_written(struct sl_outlet *o)
{
    o->is_blocked = false;
    if (o->writer != NULL)
        go_on(o);
}

void sl_outlet_close(struct sl_outlet *o)
{
    if (o->object != NULL)
        *o->object = NULL;
    o->object = NULL;
    if (o->writer == NULL)
        return;
    sl_task_fail_later(take_writer(o), "closed");
    o->is_torn = true; /* who knows what it had still to say */
}

bool sl_outlet_is_whole(const struct sl_outlet *o)
{
    return o->error == 0 && !o->is_torn && (o->left == 0 || o->left == SL_LENGTH_UNKNOWN);
}

static bool has_given_up(const struct sl_task *task)
{
    lua_State *L = sl_task_lua(task);

    return sl_task_results(task) > 0 && lua_isboolean(L, 1) && !lua_toboolean(L, 1);
}

bool sl_outlet_returned(struct sl_outlet *o, const struct sl_task *task, struct sl_script *s,
                        const char *what)
{
    char text[128] = "the body function returned while another task was writing";

    if (has_given_up(task)) {
        o->is_torn = true;
        return false;
    }
    if (sl_outlet_is_whole(o))
        return true;
    if (!o->is_torn)
        snprintf(text, sizeof(text), "the body is %llu bytes shorter than its content-length",
                 (unsigned long long)o->left);
    if (o->error == 0)
        sl_report(s, what, text, NULL);
    return false;
}

/* --- methods --- */

static void cancel_write(void *op)
{
    take_writer(op);
}

static struct sl_outlet *check_outlet(lua_State *L)
{
    return *(struct sl_outlet **)sl_object_check(L, 1, "out");
}

/* More than was announced is a mistake of the script, and none of it may leave. */
static void count(lua_State *L, struct sl_outlet *o, size_t len)
{
    if (o->left == SL_LENGTH_UNKNOWN)
        return;
    if (len > o->left)
        luaL_error(L, "out:write: %f bytes more than the content-length", (double)(len - o->left));
    o->left -= len;
}

static int out_write(lua_State *L)
{
    struct sl_outlet *o = check_outlet(L);
    struct sl_str bytes = sl_arg_str(L, 2);
    struct sl_task *task = sl_task_must_wait(L, "out:write");
    int rc;

    if (o == NULL || o->error != 0)
        return sl_push_failure(L, text_of(o != NULL ? o->error : SL_E_CLOSED));
    if (o->writer != NULL)
        return luaL_error(L, "out:write: another task is writing");
    count(L, o, bytes.len);
    o->rest = bytes;
    rc = o->is_blocked ? SL_E_AGAIN : push_on(o); /* a writer that was cancelled left it so */
    if (rc == SL_E_AGAIN) {
        o->writer = task;
        wait(o);
        return sl_task_wait(task, cancel_write, o);
    }
    o->rest = SL_STR_NONE;
    if (rc < 0)
        return sl_push_failure(L, text_of(rc));
    lua_pushboolean(L, 1);
    return 1;
}

static int out_read(lua_State *L)
{
    struct sl_outlet *o = check_outlet(L);

    if (o == NULL)
        return sl_push_failure(L, "closed");
    if (o->ops->read == NULL)
        return luaL_error(L, "out:read: here is nothing to read, only to write");
    return o->ops->read(o->user, L);
}

static int out_gc(lua_State *L)
{
    struct sl_outlet **object = lua_touserdata(L, 1);

    if (*object != NULL)
        (*object)->object = NULL;
    *object = NULL;
    return 0;
}

void sl_outlet_push(lua_State *L, struct sl_outlet *o)
{
    struct sl_outlet **object = sl_object_new(L, "out", sizeof(*object));

    *object = o;
    o->object = object;
}

void sl_bind_outlet(lua_State *L)
{
    static const struct luaL_Reg methods[] = {
        {"read", out_read}, {"write", out_write}, {NULL, NULL}};

    sl_bind_class(L, "out", methods, out_gc);
}
