#include "http/h1_fields.h"

static struct sl_h1_fields *of(llhttp_t *parser)
{
    return parser->data;
}

static int refuse(struct sl_h1_fields *f, int status, const char *why)
{
    if (f->refuse == 0) {
        f->refuse = status;
        f->why = why;
    }
    return HPE_USER;
}

void sl_h1_fields_begin(struct sl_h1_fields *f, struct sl_headers *into, struct sl_arena *arena)
{
    f->into = into;
    f->arena = arena;
    f->name = f->value = SL_STR_NONE;
    f->name_cap = f->value_cap = 0;
    f->n_bytes = f->n_fields = f->n_chunk_ext = 0;
    f->in_trailers = f->head_done = f->message_done = false;
    f->refuse = 0;
    f->why = NULL;
}

void sl_h1_fields_trailers(struct sl_h1_fields *f, llhttp_t *parser, struct sl_headers *into)
{
    /* Framing is decided, so a Content-Length among the trailers can change nothing; llhttp would
     * refuse it next to Transfer-Encoding as it must in a head. */
    llhttp_set_lenient_chunked_length(parser, 1);
    f->into = into;
    f->in_trailers = true;
    f->n_bytes = f->n_fields = 0;
}

/* Appends a span. The first span of a field is one copy; a field that arrives in pieces doubles its
   room, so that a peer who sends single bytes cannot make the arena grow by their square. */
static void append(struct sl_h1_fields *f, struct sl_str *s, size_t *cap, const char *at,
                   size_t len)
{
    if (len == 0)
        return;
    if (s->len + len > *cap) {
        size_t room = s->p == NULL ? len : SL_MAX(64, (s->len + len) * 2);
        char *bigger = sl_arena_alloc(f->arena, room);

        if (s->len > 0)
            memcpy(bigger, s->p, s->len);
        s->p = bigger;
        *cap = room;
    }
    memcpy((char *)s->p + s->len, at, len);
    s->len += len;
}

static int count(struct sl_h1_fields *f, size_t len)
{
    f->n_bytes += (uint32_t)len;
    return f->n_bytes > f->max_bytes ? refuse(f, 431, "the head is too large") : 0;
}

static int on_name(llhttp_t *parser, const char *at, size_t len)
{
    struct sl_h1_fields *f = of(parser);

    if (count(f, len) != 0)
        return HPE_USER;
    append(f, &f->name, &f->name_cap, at, len);
    return 0;
}

static int on_value(llhttp_t *parser, const char *at, size_t len)
{
    struct sl_h1_fields *f = of(parser);

    if (count(f, len) != 0)
        return HPE_USER;
    append(f, &f->value, &f->value_cap, at, len);
    return 0;
}

static int check_framing(struct sl_h1_fields *f, enum sl_header_id id)
{
    uint64_t length;

    if (id == SL_H_CONTENT_LENGTH && sl_str_to_u64(f->value, INT64_MAX, &length) < 0)
        return refuse(f, 400, "content-length is not a number");
    if (id != SL_H_TRANSFER_ENCODING || sl_str_ieq(f->value, SL_STR("chunked")))
        return 0;
    if (sl_str_has_token(f->value, SL_STR("chunked")))
        return refuse(f, 400, "chunked must be the only transfer coding");
    return refuse(f, 501, "unknown transfer coding");
}

static int on_field_done(llhttp_t *parser)
{
    struct sl_h1_fields *f = of(parser);
    enum sl_header_id id = sl_header_id(f->name);
    struct sl_str name = f->name;

    f->value = sl_str_trim(f->value);
    if (f->value.p == NULL)
        f->value = sl_str("", 0);
    if (!sl_header_name_ok(name))
        return refuse(f, 400, "a header name has a bad character");
    if (!sl_header_value_ok(f->value))
        return refuse(f, 400, "a header value has a control character");
    if (++f->n_fields > f->max_fields)
        return refuse(f, 431, "too many headers");
    if (!f->in_trailers && check_framing(f, id) != 0)
        return HPE_USER;
    if (!f->in_trailers || sl_header_may_trail(id))
        sl_headers_add_id(f->into, f->arena, id, name, f->value);
    f->name = f->value = SL_STR_NONE;
    f->name_cap = f->value_cap = 0;
    return 0;
}

static int on_chunk_ext(llhttp_t *parser, const char *at, size_t len)
{
    struct sl_h1_fields *f = of(parser);

    (void)at;
    f->n_chunk_ext += (uint32_t)len;
    return f->n_chunk_ext > f->max_chunk_ext ? refuse(f, 400, "chunk extensions are too long") : 0;
}

static int on_chunk(llhttp_t *parser)
{
    of(parser)->n_chunk_ext = 0;
    return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
    struct sl_h1_fields *f = of(parser);
    const uint8_t *bytes = (const uint8_t *)at;

    if (f->body_len == 0) {
        f->body = bytes;
    } else if (f->body + f->body_len != bytes) {
        if (f->body != f->gather)
            memcpy(f->gather, f->body, f->body_len);
        memcpy(f->gather + f->body_len, bytes, len);
        f->body = f->gather;
    }
    f->body_len += len;
    return 0;
}

static int on_message_done(llhttp_t *parser)
{
    of(parser)->message_done = true;
    return HPE_PAUSED;
}

void sl_h1_fields_settings(llhttp_settings_t *s)
{
    llhttp_settings_init(s);
    s->on_header_field = on_name;
    s->on_header_value = on_value;
    s->on_header_value_complete = on_field_done;
    s->on_chunk_extension_name = on_chunk_ext;
    s->on_chunk_extension_value = on_chunk_ext;
    s->on_chunk_header = on_chunk;
    s->on_body = on_body;
    s->on_message_complete = on_message_done;
}

ssize_t sl_h1_fields_execute(struct sl_h1_fields *f, llhttp_t *parser, const uint8_t *bytes,
                             size_t len)
{
    llhttp_errno_t rc;
    size_t used = len;

    f->body_len = 0;
    rc = llhttp_execute(parser, (const char *)bytes, len);
    if (rc == HPE_OK)
        return (ssize_t)used;
    used = (size_t)((const uint8_t *)llhttp_get_error_pos(parser) - bytes);
    if (rc == HPE_PAUSED_UPGRADE) {
        llhttp_resume_after_upgrade(parser);
        return (ssize_t)used;
    }
    if (rc == HPE_PAUSED) {
        llhttp_resume(parser);
        return (ssize_t)used;
    }
    if (f->refuse == 0)
        refuse(f, 400, llhttp_get_error_reason(parser));
    return f->refuse == 431 ? SL_E_LIMIT : SL_E_PROTOCOL;
}
