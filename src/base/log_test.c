#include "base/log.h"
#include "base/check.h"
#include "base/log_out.h"

#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <unistd.h>

/* The lines of a test go through a pipe in the place of stderr. */
static int saved_stderr, pipe_ends[2];

static void begin_catching(void)
{
    fflush(stderr);
    sl_assert(pipe(pipe_ends) == 0);
    saved_stderr = dup(STDERR_FILENO);
    sl_assert(dup2(pipe_ends[1], STDERR_FILENO) >= 0);
    close(pipe_ends[1]);
    sl_log_out_open();
}

static struct sl_str end_catching(void)
{
    static char text[65536];
    size_t len = 0;
    ssize_t n;

    sl_assert(dup2(saved_stderr, STDERR_FILENO) >= 0);
    close(saved_stderr);
    sl_log_out_open();
    while ((n = read(pipe_ends[0], text + len, sizeof(text) - len)) > 0)
        len += (size_t)n;
    close(pipe_ends[0]);
    return sl_str(text, len);
}

/* A line behind its time stamp, which is {"ts":"2026-01-01T00:00:00.000Z". */
static struct sl_str without_time(struct sl_str line)
{
    enum { STAMP_LEN = 32 };

    sl_check(sl_str_starts(line, SL_STR("{\"ts\":\"2")) && line.len > STAMP_LEN);
    if (line.len <= STAMP_LEN)
        return line;
    sl_check(line.p[STAMP_LEN - 2] == 'Z' && line.p[STAMP_LEN - 1] == '"');
    return sl_str(line.p + STAMP_LEN, line.len - STAMP_LEN);
}

static void every_kind_of_field_is_json(void)
{
    begin_catching();
    sl_log_setup(SL_LOG_INFO, SL_LOG_JSON);
    sl_log_warn("m", sl_f_str("s", "x"), sl_f_int("i", -5), sl_f_double("d", 1.5),
                sl_f_double("nan", NAN), sl_f_double("inf", -INFINITY), sl_f_bool("b", true),
                sl_f_str("null", NULL));
    sl_check_str(without_time(end_catching()),
                 SL_STR(",\"level\":\"warn\",\"msg\":\"m\",\"s\":\"x\",\"i\":-5,\"d\":1.5,\"nan\":"
                        "null,\"inf\":null,\"b\":true,\"null\":\"\"}\n"));
}

/* What strangers send cannot end the line, forge another one, or make it invalid. */
static void values_are_escaped(void)
{
    begin_catching();
    sl_log_info("say \"hi\"", sl_f_str("v", "a\nb\r\t\\\x7f"), sl_f_str("utf8", "\xc3\xa4"),
                sl_f_str("bad", "\xff\xc0\x80\xed\xa0\x80\xf5"), sl_f_str("cut", "\xe2\x82"));
    sl_check_str(without_time(end_catching()),
                 SL_STR(",\"level\":\"info\",\"msg\":\"say \\\"hi\\\"\",\"v\":\"a\\nb\\u000d\\u0009"
                        "\\\\\\u007f\",\"utf8\":\"\xc3\xa4\",\"bad\":\"\\ufffd\\ufffd\\ufffd"
                        "\\ufffd\\ufffd\\ufffd\\ufffd\",\"cut\":\"\\ufffd\\ufffd\"}\n"));
}

static void long_values_are_cut(void)
{
    static char big[10000];
    struct sl_str line;

    memset(big, 'x', sizeof(big) - 1);
    begin_catching();
    sl_log_info("m", sl_f_str("a", big), sl_f_str("b", big), sl_f_str("c", big), sl_f_str("d", big),
                sl_f_str("e", big), sl_f_str("f", big));
    line = end_catching();
    sl_check(line.len < 25000 && sl_str_ends(line, SL_STR("x\"}\n")));
}

static void levels_below_the_least_are_off(void)
{
    enum sl_log_level level;

    begin_catching();
    sl_log_setup(SL_LOG_WARN, SL_LOG_JSON);
    sl_log_info("not this");
    sl_log_debug("nor this");
    sl_check(end_catching().len == 0);
    sl_check(sl_log_is_on(SL_LOG_ERROR) && !sl_log_is_on(SL_LOG_INFO));
    sl_check(sl_log_level_parse(SL_STR("debug"), &level) == 0 && level == SL_LOG_DEBUG);
    sl_check(sl_log_level_parse(SL_STR("verbose"), &level) == -1);
}

static void people_get_a_form_for_people(void)
{
    struct sl_str line;

    begin_catching();
    sl_log_setup(SL_LOG_INFO, SL_LOG_HUMAN);
    sl_log_error("it broke", sl_f_int("port", 80), sl_f_str("why", "x\ny"));
    line = end_catching();
    sl_check(sl_str_ends(line, SL_STR(" error it broke  port=80  why=\"x\\ny\"\n")));
    sl_log_setup(SL_LOG_INFO, SL_LOG_JSON);
}

static void *log_from_a_thread(void *name)
{
    sl_log_thread_name(name);
    sl_log_info("hello");
    return NULL;
}

static void threads_sign_their_lines(void)
{
    static char name[] = "worker 2";
    pthread_t thread;
    struct sl_str line;

    begin_catching();
    sl_assert(pthread_create(&thread, NULL, log_from_a_thread, name) == 0);
    pthread_join(thread, NULL);
    line = without_time(end_catching());
    sl_check_str(line, SL_STR(",\"level\":\"info\",\"msg\":\"hello\",\"thread\":\"worker 2\"}\n"));
}

/* Fills the pipe with lines of this length, which must not wait, and reads it empty. */
static size_t fill(size_t len)
{
    static char text[1 << 20];
    struct sl_str value = {text, len};
    unsigned n_lines = 0;
    size_t n_read = 0;
    ssize_t n;

    memset(text, 'x', len);
    for (; n_lines < 2000; n_lines++)
        sl_log_info("m", sl_f_strn("v", value));
    sl_check(fcntl(pipe_ends[0], F_SETFL, O_NONBLOCK) == 0);
    while ((n = read(pipe_ends[0], text, sizeof(text))) > 0)
        n_read += (size_t)n;
    sl_check(fcntl(pipe_ends[0], F_SETFL, 0) == 0);
    return n_read;
}

static void nobody_waits_for_a_reader_of_the_log(void)
{
    static const size_t lens[] = {100, 9000}; /* within PIPE_BUF, and in parts */
    struct sl_str text, first;

    for (size_t i = 0; i < SL_COUNT(lens); i++) {
        begin_catching();
        sl_check(fill(lens[i]) < 2000 * lens[i]);
        sl_log_info("again");
        text = end_catching();
        if (i > 0) { /* the end of the line that was cut */
            sl_check(text.p[0] == '\n');
            text = sl_str(text.p + 1, text.len - 1);
        }
        sl_check(sl_str_next(&text, '\n', &first));
        sl_check_str(without_time(first), SL_STR(",\"level\":\"info\",\"msg\":\"again\"}"));
        sl_check(memmem(text.p, text.len, "lines before this one are lost", 30) != NULL);
        sl_check(sl_log_out_lost() == 0);
    }
}

int main(void)
{
    every_kind_of_field_is_json();
    values_are_escaped();
    long_values_are_cut();
    levels_below_the_least_are_off();
    people_get_a_form_for_people();
    threads_sign_their_lines();
    nobody_waits_for_a_reader_of_the_log();
    return sl_check_done();
}
