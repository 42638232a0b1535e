#include "script/intake.h"

#include "base/buf.h"
#include "base/mem.h"
#include "script/bind.h"

enum {
    READ_AHEAD = 64 * 1024,
    PIECE = 64 * 1024,
    MAX_PIECE = 16 * 1024 * 1024,
    RUN = 256, /* pieces that a task may take without letting others run */
};

struct sl_intake {
    struct sl_buf buf;
    void (*flow)(void *user, bool on);
    void *user;
    struct sl_task *reader;   /* NULL: nobody waits */
    size_t max;               /* that the reader takes */
    struct sl_task_link soon; /* goes on with a reader that lets others run */
    unsigned run;             /* pieces that were taken without */
    int error;                /* 0: more may come */
    bool is_wanted;           /* a read has begun it */
    bool is_ended;
};

struct sl_intake *sl_intake_new(void (*flow)(void *user, bool on), void *user, bool is_ended)
{
    struct sl_intake *in = sl_zalloc(sizeof(*in));

    in->flow = flow;
    in->user = user;
    in->is_ended = is_ended;
    return in;
}

/* The one place that decides to let bytes come or not. */
void sl_intake_update(struct sl_intake *in)
{
    if (in->is_wanted && !in->is_ended && in->error == 0)
        in->flow(in->user, sl_buf_len(&in->buf) < READ_AHEAD);
}

static struct sl_task *take_reader(struct sl_intake *in)
{
    struct sl_task *task = in->reader;

    in->reader = NULL;
    in->run = 0;
    sl_loop_unsoon(&in->soon);
    return task;
}

void sl_intake_free(struct sl_intake *in)
{
    if (in == NULL)
        return;
    if (in->reader != NULL)
        sl_task_fail_later(take_reader(in), "aborted");
    sl_buf_clear(&in->buf);
    sl_free(in);
}

static int push_piece(lua_State *L, void *arg)
{
    const struct sl_str *piece = arg;

    if (piece->len > 0)
        lua_pushlstring(L, piece->p, piece->len);
    else
        lua_pushnil(L); /* the end */
    return 1;
}

/* A reader gets its piece without a detour, unless others are to run first. */
void sl_intake_arrived(struct sl_intake *in, const uint8_t *bytes, size_t len, bool fin)
{
    bool is_awaited = in->reader != NULL && sl_buf_len(&in->buf) == 0 && (len > 0 || fin);
    struct sl_str piece = sl_str((const char *)bytes, is_awaited ? SL_MIN(len, in->max) : 0);

    in->is_ended |= fin;
    if (len > piece.len)
        sl_buf_append(&in->buf, bytes + piece.len, len - piece.len);
    sl_intake_update(in);
    if (is_awaited)
        sl_task_resume(take_reader(in), push_piece, &piece);
}

static const char *text_of(int code)
{
    return code == SL_E_LIMIT ? "too large" : sl_error_text(code);
}

void sl_intake_fail(struct sl_intake *in, int code)
{
    if (in->error == 0)
        in->error = code;
    if (in->reader != NULL && sl_buf_len(&in->buf) == 0)
        sl_task_resume_error(take_reader(in), text_of(code));
}

static void cancel_read(void *op)
{
    take_reader(op);
}

static int push_ahead(lua_State *L, void *arg)
{
    struct sl_intake *in = arg;
    size_t len = SL_MIN(sl_buf_len(&in->buf), in->max);

    lua_pushlstring(L, (const char *)sl_buf_at(&in->buf), len);
    sl_buf_consume(&in->buf, len);
    if (sl_buf_len(&in->buf) == 0)
        sl_buf_clear(&in->buf);
    sl_intake_update(in);
    return 1;
}

static void go_on(void *user)
{
    struct sl_intake *in = user;

    sl_task_resume(take_reader(in), push_ahead, in);
}

int sl_intake_read(lua_State *L, struct sl_intake *in, int arg, const char *what)
{
    size_t max = (size_t)sl_arg_opt_int(L, arg, 1, MAX_PIECE, PIECE);
    struct sl_task *task = sl_task_must_wait(L, what);

    if (in->reader != NULL)
        return luaL_error(L, "%s: another task is reading", what);
    in->max = max;
    if (sl_buf_len(&in->buf) > 0 && ++in->run < RUN)
        return push_ahead(L, in);
    if (sl_buf_len(&in->buf) == 0 && in->error != 0)
        return sl_push_failure(L, text_of(in->error));
    if (sl_buf_len(&in->buf) == 0 && in->is_ended) {
        lua_pushnil(L);
        return 1;
    }
    in->is_wanted = true;
    in->reader = task;
    if (sl_buf_len(&in->buf) > 0)
        sl_loop_soon(sl_script_loop(sl_task_script(task)), &in->soon, go_on, in);
    sl_intake_update(in);
    return sl_task_wait(task, cancel_read, in);
}
