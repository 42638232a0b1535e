#include "codec/tunnel_greeting.h"

#include "base/check.h"

static struct sl_greeting got;
static char kept[2][SL_GREETING_MAX]; /* what it pointed to */

/* Byte by byte from memory of exactly that size: the first answer that is not "more". */
static int parse(struct sl_str line)
{
    int rc = SL_E_PARTIAL;

    for (size_t n = 0; n <= line.len && rc == SL_E_PARTIAL; n++) {
        uint8_t *copy = sl_alloc(SL_MAX(n, (size_t)1));

        memcpy(copy, line.p, n);
        rc = sl_greeting_parse(copy, n, &got);
        if (rc > 0) {
            memcpy(kept[0], got.id.p, got.id.len);
            memcpy(kept[1], got.secret.p, got.secret.len);
            got.id.p = kept[0];
            got.secret.p = kept[1];
        }
        sl_free(copy);
    }
    return rc;
}

static void lines_of_edges_are_read(void)
{
    sl_check(parse(SL_STR("EDGE nyc-01 s3cret\nframes")) == 19);
    sl_check_str(got.id, SL_STR("nyc-01"));
    sl_check_str(got.secret, SL_STR("s3cret"));
    sl_check(parse(SL_STR("EDGE a with some spaces\r\n")) == 25);
    sl_check_str(got.secret, SL_STR("with some spaces"));
}

static void other_lines_are_refused(void)
{
    static const struct sl_str lines[] = {
        SL_STR("\n"),
        SL_STR("EDGE\n"),
        SL_STR("EDGE \n"),
        SL_STR("EDGE id\n"),
        SL_STR("EDGE id \n"),
        SL_STR("EDGE  secret\n"),
        SL_STR("edge id s\n"),
        SL_STR("GET / HTTP/1.1\r\n"),
        SL_STR("EDGE id s\x01\n"),
        SL_STR("EDGE i\0d s\n"),
        SL_STR("EDGE id \x7f\n"),
    };

    for (size_t i = 0; i < SL_COUNT(lines); i++)
        sl_check(parse(lines[i]) == SL_E_PROTOCOL);
}

static void a_line_without_end_is_bounded(void)
{
    static uint8_t line[SL_GREETING_MAX + 10];

    memset(line, 'x', sizeof(line));
    memcpy(line, "EDGE ", 5);
    sl_check(sl_greeting_parse(line, SL_GREETING_MAX - 1, &got) == SL_E_PARTIAL);
    sl_check(sl_greeting_parse(line, SL_GREETING_MAX, &got) == SL_E_LIMIT);
    line[SL_GREETING_MAX + 1] = '\n';
    sl_check(sl_greeting_parse(line, sizeof(line), &got) == SL_E_LIMIT);
}

static void what_is_written_is_read(void)
{
    struct sl_greeting g = {SL_STR("edge"), SL_STR("a b")};
    uint8_t out[SL_GREETING_MAX];
    size_t n = sl_greeting_write(out, sizeof(out), &g);

    sl_check_str(sl_str((char *)out, n), SL_STR("EDGE edge a b\n"));
    g.id = SL_STR("two words");
    sl_check(!sl_greeting_ok(&g));
    g = (struct sl_greeting){SL_STR("edge"), SL_STR("new\nline")};
    sl_check(!sl_greeting_ok(&g));
}

static int answer(struct sl_str bytes, struct sl_str *line)
{
    return sl_greeting_answer((const uint8_t *)bytes.p, bytes.len, line);
}

static void answers_of_hubs_are_read(void)
{
    struct sl_str line;

    sl_check(answer(SL_STR("{\"listenPorts\":[443]}\n\0\0"), &line) == 22);
    sl_check_str(line, SL_STR("{\"listenPorts\":[443]}"));
    sl_check(answer(SL_STR("OK\r\n"), &line) == 4);
    sl_check_str(line, SL_STR("OK"));
    sl_check(answer(SL_STR("ERROR not known\n"), &line) == SL_E_REFUSED);
    sl_check_str(line, SL_STR("not known"));
    sl_check(answer(SL_STR("{"), &line) == SL_E_PARTIAL);
    sl_check(answer(SL_STR(""), &line) == SL_E_PARTIAL);
}

int main(void)
{
    lines_of_edges_are_read();
    other_lines_are_refused();
    a_line_without_end_is_bounded();
    what_is_written_is_read();
    answers_of_hubs_are_read();
    return sl_check_done();
}
