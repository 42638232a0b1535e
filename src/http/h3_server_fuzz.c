/*
 * Any bytes on any streams, in any order, with resets and small windows between them: no rule of
 * exchanges or of quic.h is broken, and no credit is lost. The input is a list of steps; the first
 * byte says what the handler does. A step is a byte (what, and on which stream) and one that says
 * how much, then the bytes.
 */
#include "http/test_h3.h"

enum { PAUSES = 1, ANSWERS_EARLY = 2, STREAMS = 4, ABORTS = 8, SMALL_WINDOW = 16, TRAILERS = 32 };
enum step { SAY, SAY_FIN, ASK, BEGIN_POST, RESET, STOP, GROW, OTHER };

static struct sl_loop *loop;
static struct rig rig;
static struct rig *const r = &rig;
static unsigned flags;

static void answer(struct rig *rg, struct rig_req *req)
{
    static const char bytes[5000];
    struct sl_headers *trailers = sl_arena_alloc(&req->ex->arena, sizeof(*trailers));

    (void)rg;
    *trailers = (struct sl_headers){0};
    sl_headers_add(trailers, &req->ex->arena, SL_STR("X-Sum"), SL_STR("7"));
    if (flags & TRAILERS)
        req->ex->res_trailers = trailers;
    rig_respond(req, 200, flags & STREAMS ? SL_LENGTH_UNKNOWN : sizeof(bytes));
    if (flags & STREAMS)
        (void)rig_write(req, sl_str(bytes, 100), false);
    else
        (void)rig_write(req, sl_str(bytes, sizeof(bytes)), true);
}

static void abort_it(struct rig_req *req)
{
    sl_exchange_abort(req->ex);
    req->ex = NULL;
    req->n_abort++;
}

static void on_request(struct rig *rg, struct rig_req *req)
{
    if (req->ex->req.upgrade.len > 0) {
        rig_respond(req, 101, SL_LENGTH_UNKNOWN);
        (void)rig_write(req, SL_STR("raw"), false);
        sl_exchange_read(req->ex, true);
    } else if (flags & ABORTS && rg->n_requests % 3 == 0) {
        abort_it(req);
    } else if (flags & ANSWERS_EARLY || req->ex->request_ended) {
        answer(rg, req);
    } else if (!(flags & PAUSES)) {
        sl_exchange_read(req->ex, true);
    }
}

/* The handlers go on. */
static void keep_going(void)
{
    for (int i = 0; i < r->n_requests; i++) {
        struct rig_req *req = &r->reqs[i];

        if (req->ex == NULL)
            continue;
        if (!req->ex->has_responded)
            sl_exchange_read(req->ex, true);
        else if (req->n_written == 0 && flags & STREAMS)
            req->n_written = rig_write(req, SL_STR("end"), true) == SL_E_AGAIN ? 0 : 1;
    }
}

static void do_other(unsigned what)
{
    switch (what % 8) {
    case 0:
        r->quic.holds_acks = true;
        break;
    case 1:
        r->quic.holds_acks = false;
        if (!r->quic.is_closing)
            sl_quic_wake(&r->quic.conn);
        break;
    case 2:
        keep_going();
        break;
    case 3:
        rig_pass(r, 20000);
        break;
    case 4:
        if (r->conn != NULL)
            sl_http_conn_drain(r->conn);
        break;
    case 5:
        r->quic.is_early = !r->quic.is_early;
        break;
    default:
        rig_settle(r);
        break;
    }
}

static void do_step(enum step step, int64_t id, struct sl_str bytes, unsigned how_much)
{
    struct sl_buf b = {0};

    switch (step) {
    case SAY:
    case SAY_FIN:
        fake_say(&r->quic, id, bytes, step == SAY_FIN);
        break;
    case ASK:
        put_head(&b, RIG_GET("/"));
        fake_say(&r->quic, id, sl_buf_str(&b), true);
        break;
    case BEGIN_POST:
        put_head(&b,
                 how_much & 1 ? RIG_POST("/") : RIG_HEAD("CONNECT", "/") "|:protocol: something");
        fake_say(&r->quic, id, sl_buf_str(&b), false);
        break;
    case RESET:
        fake_reset(&r->quic, id, how_much);
        break;
    case STOP:
        fake_stop(&r->quic, id | (id & 2) >> 1, how_much); /* of uni streams ours are meant */
        break;
    case GROW:
        if (fake_find(&r->quic, id) != NULL)
            fake_grow(&r->quic, id, how_much * 16);
        break;
    case OTHER:
        do_other(how_much);
        break;
    }
    sl_buf_clear(&b);
}

/* When every request has ended, all that the client has said is credited. */
static void check_credit(void)
{
    rig_settle(r);
    if (r->quic.is_closing)
        return;
    sl_list_each(&r->quic.streams, it)
    {
        struct fake_stream *s = sl_container_of(it, struct fake_stream, link);

        if ((s->id & 2) == 0 && !s->is_gone)
            return;
    }
    sl_check(r->quic.n_consumed == r->quic.n_said);
}

static void run(const uint8_t *at, const uint8_t *end)
{
    while (end - at >= 2 && r->n_requests < RIG_REQS - 1) {
        unsigned stream = at[0] >> 3, how_much = at[1];
        enum step step = at[0] & 7;
        size_t len = step == SAY || step == SAY_FIN ? SL_MIN(how_much, (size_t)(end - at) - 2) : 0;
        int64_t id = stream < 16 ? stream * 4 : (stream - 16) * 4 + 2;

        do_step(step, id, sl_str((const char *)at + 2, len), how_much);
        at += 2 + len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len < 1)
        return 0;
    if (loop == NULL)
        sl_assert(sl_loop_new(&loop) == 0);
    flags = bytes[0];
    rig_begin_with(r, loop);
    r->on_request = on_request;
    r->on_body_end = answer;
    if (flags & SMALL_WINDOW)
        r->quic.window = 100;
    r->service.limits.max_resets = 20;
    rig_serve(r);
    run(bytes + 1, bytes + len);
    check_credit();
    rig_end(r);
    sl_assert(sl_check_failures == 0);
    return 0;
}
