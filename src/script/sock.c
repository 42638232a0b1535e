#include "script/sock.h"

#include "base/buf.h"
#include "net/tcp.h"
#include "script/library.h"

enum {
    READ_AHEAD = 64 * 1024,
    MAX_READ = 16 * 1024 * 1024,
    MAX_LINE = 1024 * 1024,
    DEFAULT_LINE = 8192,
    DEFAULT_TIMEOUT_MS = 60 * 1000,
};

enum want { WANT_ANY, WANT_LINE, WANT_EXACT };

/* The task that waits in one direction. */
struct wait {
    struct sl_task *task; /* NULL: nobody */
    struct sl_timer timer;
};

struct sl_sock {
    struct sl_loop *loop;
    struct sl_sock **object; /* Lua's pointer to it; NULL: collected */
    struct sl_stream *stream;
    struct sl_buf in;
    struct wait reading, writing;
    struct sl_task_link soon; /* tells those who wait that it ended */
    enum want want;
    size_t want_len, scanned; /* LINE: bytes without a line break at the front */
    uint64_t timeout_ms;      /* 0: none */
    int error;                /* what ended it; SL_E_CLOSED for our own close() */
    bool has_read, is_eof, is_shut, is_kept, is_freed;
};

/* --- life --- */

static void free_sock(void *ptr)
{
    struct sl_sock *s = ptr;

    sl_buf_clear(&s->in);
    sl_free(s);
}

static void free_if_over(struct sl_sock *s)
{
    if (s->object != NULL || s->is_kept || s->is_freed)
        return;
    s->is_freed = true;
    sl_loop_unsoon(&s->soon);
    sl_loop_defer(s->loop, s, free_sock);
}

static const char *text_of(int code)
{
    return code == SL_E_CLOSED ? "closed" : sl_error_text(code);
}

static void tell(void *user);

/* The end. Who waits hears of it at the end of the turn, so that this is legal wherever a task is
 * cancelled. */
static void end(struct sl_sock *s, int code, enum sl_close how)
{
    if (s->error == 0)
        s->error = code;
    sl_stream_free(&s->stream, how);
    sl_loop_soon(s->loop, &s->soon, tell, s);
}

void sl_sock_keep(struct sl_sock *s)
{
    s->is_kept = true;
}

void sl_sock_release(struct sl_sock *s)
{
    if (s->stream != NULL)
        end(s, SL_E_CLOSED, SL_CLOSE_LINGER);
    s->is_kept = false;
    free_if_over(s);
}

/* --- waiting --- */

static bool is_waited_for(const struct sl_sock *s)
{
    return s->reading.task != NULL || s->writing.task != NULL;
}

/* Lua let go of it: it goes when the last wait has ended. A waiting task does not hold its socket:
   while it is suspended the arguments of the method are off its stack. */
static void close_if_lost(struct sl_sock *s)
{
    if (s->object != NULL || is_waited_for(s))
        return;
    if (s->stream != NULL)
        end(s, SL_E_CLOSED, SL_CLOSE_LINGER);
    free_if_over(s);
}

/* The wait is over; `s` stays allocated until the end of the turn. */
static struct sl_task *take_task(struct sl_sock *s, struct wait *w)
{
    struct sl_task *task = w->task;

    w->task = NULL;
    sl_timer_clear(&w->timer);
    close_if_lost(s);
    return task;
}

static void cancel(struct sl_sock *s, struct wait *w)
{
    if (s->stream != NULL)
        end(s, SL_E_CLOSED, SL_CLOSE_ABORT);
    take_task(s, w);
}

static void cancel_read(void *op)
{
    struct sl_sock *s = op;

    cancel(s, &s->reading);
}

static void cancel_write(void *op)
{
    struct sl_sock *s = op;

    cancel(s, &s->writing);
}

static int wait_for(struct sl_sock *s, struct wait *w, struct sl_task *task,
                    void (*on_cancel)(void *))
{
    w->task = task;
    if (s->timeout_ms > 0)
        sl_timer_set(&w->timer, (double)s->timeout_ms);
    return sl_task_wait(task, on_cancel, s);
}

static void on_read_due(struct sl_timer *t)
{
    struct sl_sock *s = t->user;

    sl_task_resume_error(take_task(s, &s->reading), "timed out");
}

/* What is on its way cannot be called back: the socket is of no more use. */
static void on_write_due(struct sl_timer *t)
{
    end(t->user, SL_E_TIMEOUT, SL_CLOSE_ABORT);
}

/* --- reading --- */

/* The one place that decides to read or pause. */
static void update_reading(struct sl_sock *s)
{
    size_t room = READ_AHEAD;

    if (s->stream == NULL)
        return;
    if (s->want != WANT_ANY)
        room = SL_MAX(room, s->want_len + 2);
    sl_stream_read(s->stream, s->has_read && !s->is_eof && sl_buf_len(&s->in) < room);
}

/* What a read gives: `give` bytes from the front, of which `take` are consumed. */
struct piece {
    struct sl_sock *sock;
    size_t give, take;
};

static int find_line(struct sl_sock *s, struct piece *out)
{
    const char *at = (const char *)sl_buf_at(&s->in);
    size_t len = sl_buf_len(&s->in);
    const char *end_of_line =
        len > s->scanned ? memchr(at + s->scanned, '\n', len - s->scanned) : NULL;

    s->scanned = len;
    if (end_of_line == NULL)
        return len > s->want_len + 1 ? SL_E_LIMIT : SL_E_AGAIN;
    out->give = (size_t)(end_of_line - at);
    out->take = out->give + 1;
    if (out->give > 0 && at[out->give - 1] == '\r')
        out->give--;
    return out->give > s->want_len ? SL_E_LIMIT : 0;
}

static int find_any(const struct sl_sock *s, struct piece *out)
{
    size_t len = sl_buf_len(&s->in);
    size_t n = s->want == WANT_EXACT ? s->want_len : SL_MIN(len, s->want_len);

    out->give = out->take = n;
    return n > 0 && n <= len ? 0 : SL_E_AGAIN;
}

/* 0: there is a piece. SL_E_AGAIN: it may still come. Else why it will not. */
static int find_piece(struct sl_sock *s, struct piece *out)
{
    int rc;

    out->sock = s;
    rc = s->want == WANT_LINE ? find_line(s, out) : find_any(s, out);
    if (rc != SL_E_AGAIN)
        return rc;
    if (s->is_eof)
        return SL_E_CLOSED;
    return s->error != 0 ? s->error : SL_E_AGAIN;
}

static int push_piece(lua_State *L, void *arg)
{
    struct piece *p = arg;
    struct sl_sock *s = p->sock;

    lua_pushlstring(L, (const char *)sl_buf_at(&s->in), p->give);
    sl_buf_consume(&s->in, p->take);
    s->scanned = 0;
    s->want = WANT_ANY;
    if (sl_buf_len(&s->in) == 0)
        sl_buf_clear(&s->in);
    update_reading(s);
    return 1;
}

static const char *read_error(int code)
{
    return code == SL_E_LIMIT ? "too long" : text_of(code);
}

/* Something arrived, or will not: the reader goes on if this is what it waits for. */
static void serve_reader(struct sl_sock *s)
{
    struct piece piece;
    int rc;

    if (s->reading.task == NULL || (rc = find_piece(s, &piece)) == SL_E_AGAIN) {
        update_reading(s);
        return;
    }
    if (rc == 0)
        sl_task_resume(take_task(s, &s->reading), push_piece, &piece);
    else
        sl_task_resume_error(take_task(s, &s->reading), read_error(rc));
}

static void on_data(struct sl_stream *stream, const uint8_t *bytes, size_t len)
{
    struct sl_sock *s = stream->user;

    sl_buf_append(&s->in, bytes, len);
    serve_reader(s);
}

static void on_fin(struct sl_stream *stream)
{
    struct sl_sock *s = stream->user;

    s->is_eof = true;
    serve_reader(s);
}

static void on_written(struct sl_stream *stream)
{
    struct sl_sock *s = stream->user;

    if (s->writing.task != NULL)
        sl_task_resume_true(take_task(s, &s->writing));
}

static void on_error(struct sl_stream *stream, int code)
{
    end(stream->user, code, SL_CLOSE_ABORT);
}

/* Bytes that came before the end can still be read. */
static void tell(void *user)
{
    struct sl_sock *s = user;

    if (s->writing.task != NULL)
        sl_task_resume_error(take_task(s, &s->writing), text_of(s->error));
    serve_reader(
        s); /* freed memory waits for the end of the turn: `s` is there whatever the writer did */
}

static const struct sl_stream_handler handler = {
    .on_data = on_data, .on_fin = on_fin, .on_written = on_written, .on_error = on_error};

/* --- methods --- */

static struct sl_sock *check_sock(lua_State *L)
{
    return *(struct sl_sock **)sl_object_check(L, 1, "sock");
}

static int start_read(lua_State *L, const char *what, enum want want, size_t len)
{
    struct sl_sock *s = check_sock(L);
    struct sl_task *task = sl_task_must_wait(L, what);
    struct piece piece;
    int rc;

    if (s->reading.task != NULL)
        return luaL_error(L, "%s: another task is reading from this socket", what);
    s->want = want;
    s->want_len = len;
    s->scanned = 0;
    s->has_read = true;
    update_reading(s);
    rc = find_piece(s, &piece);
    if (rc == 0)
        return push_piece(L, &piece);
    if (rc != SL_E_AGAIN)
        return sl_push_failure(L, read_error(rc));
    return wait_for(s, &s->reading, task, cancel_read);
}

static int sock_read(lua_State *L)
{
    check_sock(L);
    return start_read(L, "sock:read", WANT_ANY,
                      (size_t)sl_arg_opt_int(L, 2, 1, MAX_READ, READ_AHEAD));
}

static int sock_read_line(lua_State *L)
{
    check_sock(L);
    return start_read(L, "sock:read_line", WANT_LINE,
                      (size_t)sl_arg_opt_int(L, 2, 1, MAX_LINE, DEFAULT_LINE));
}

static int sock_read_exact(lua_State *L)
{
    check_sock(L);
    return start_read(L, "sock:read_exact", WANT_EXACT, (size_t)sl_arg_int(L, 2, 1, MAX_READ));
}

static int sock_write(lua_State *L)
{
    struct sl_sock *s = check_sock(L);
    struct sl_str bytes = sl_arg_str(L, 2);
    struct sl_task *task = sl_task_must_wait(L, "sock:write");
    int rc;

    if (s->writing.task != NULL)
        return luaL_error(L, "sock:write: another task is writing to this socket");
    if (s->stream == NULL || s->is_shut)
        return sl_push_failure(L, text_of(s->error != 0 ? s->error : SL_E_CLOSED));
    rc = sl_stream_write1(s->stream, bytes.p, bytes.len, false);
    if (rc == SL_E_AGAIN)
        return wait_for(s, &s->writing, task, cancel_write);
    if (rc < 0)
        return sl_push_failure(L, text_of(rc));
    lua_pushboolean(L, true);
    return 1;
}

static int sock_shutdown(lua_State *L)
{
    struct sl_sock *s = check_sock(L);

    if (s->stream != NULL && !s->is_shut) {
        s->is_shut = true;
        sl_stream_write1(s->stream, NULL, 0, true);
    }
    return 0;
}

static int sock_close(lua_State *L)
{
    struct sl_sock *s = check_sock(L);

    if (s->stream != NULL)
        end(s, SL_E_CLOSED, SL_CLOSE_LINGER);
    sl_buf_clear(&s->in);
    return 0;
}

static int sock_settimeout(lua_State *L)
{
    struct sl_sock *s = check_sock(L);

    if (lua_isnoneornil(L, 2)) {
        s->timeout_ms = 0;
        return 0;
    }
    s->timeout_ms = (uint64_t)(sl_arg_seconds(L, 2) * 1e3);
    luaL_argcheck(L, s->timeout_ms > 0, 2, "at least 0.001 seconds expected, or nil for no limit");
    return 0;
}

/* The process that called connect() or listen(), as the kernel knew it then. */
static int push_process(lua_State *L, int fd)
{
    struct ucred who;
    socklen_t len = sizeof(who);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0)
        return sl_push_failure_code(L, SL_E_SYSTEM);
    lua_createtable(L, 0, 3);
    lua_pushnumber(L, who.uid);
    lua_setfield(L, -2, "uid");
    lua_pushnumber(L, who.gid);
    lua_setfield(L, -2, "gid");
    lua_pushnumber(L, who.pid);
    lua_setfield(L, -2, "pid");
    return 1;
}

static int push_address(lua_State *L, const struct sl_addr *remote)
{
    char ip[SL_ADDR_TEXT_LEN];

    lua_createtable(L, 0, 2);
    lua_pushstring(L, sl_addr_ip(remote, ip));
    lua_setfield(L, -2, "ip");
    lua_pushinteger(L, sl_addr_port(remote));
    lua_setfield(L, -2, "port");
    return 1;
}

static int sock_peer(lua_State *L)
{
    struct sl_sock *s = check_sock(L);
    const struct sl_stream *below = s->stream;
    struct sl_addr remote;
    int family = 0;
    socklen_t len = sizeof(family);

    if (below == NULL)
        return sl_push_failure(L, "closed");
    while (sl_stream_below(below) != NULL)
        below = sl_stream_below(below);
    if (getsockopt(sl_tcp_fd(below), SOL_SOCKET, SO_DOMAIN, &family, &len) == 0 &&
        family == AF_UNIX)
        return push_process(L, sl_tcp_fd(below));
    if (sl_tcp_addrs(below, NULL, &remote) < 0)
        return sl_push_failure(L, "closed");
    return push_address(L, &remote);
}

static int sock_gc(lua_State *L)
{
    struct sl_sock **object = lua_touserdata(L, 1), *s = *object;

    if (s == NULL)
        return 0;
    *object = NULL;
    s->object = NULL;
    close_if_lost(s);
    return 0;
}

struct sl_sock *sl_sock_push(lua_State *L, struct sl_stream **stream)
{
    struct sl_sock **object = sl_object_new(L, "sock", sizeof(*object));
    struct sl_sock *s = sl_zalloc(sizeof(*s));

    *object = s;
    s->object = object;
    s->loop = (*stream)->loop;
    s->stream = *stream;
    *stream = NULL;
    s->timeout_ms = DEFAULT_TIMEOUT_MS;
    sl_timer_init(&s->reading.timer, s->loop, on_read_due, s);
    sl_timer_init(&s->writing.timer, s->loop, on_write_due, s);
    sl_stream_set_handler(s->stream, &handler, s);
    return s;
}

void sl_bind_sock(lua_State *L)
{
    static const struct luaL_Reg methods[] = {
        {"read", sock_read},
        {"read_line", sock_read_line},
        {"read_exact", sock_read_exact},
        {"write", sock_write},
        {"shutdown", sock_shutdown},
        {"close", sock_close},
        {"settimeout", sock_settimeout},
        {"peer", sock_peer},
        {NULL, NULL},
    };

    sl_bind_class(L, "sock", methods, sock_gc);
}
