/* Takeovers between two ends in one process: what is said, who may say it, and who goes when. The
 * ends are offer.h and take.h, or one of them and a peer that says what it likes. */
#include "app/offer.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "app/take.h"
#include "base/check.h"
#include "net/test_net.h"

enum { PATIENCE = SL_OFFER_PATIENCE };

static struct sl_loop *loop;
static char path[64];
static struct sl_offer *offer;
static int n_wanted, n_taken;
static struct sl_fds given; /* what on_wanted() gives */
static bool gives_later;

static struct sl_take *take;
static int n_sockets, n_over, n_gone;
static struct sl_err why; /* of the last failure */

/* --- the owners --- */

static void on_wanted(void *user SL_UNUSED)
{
    n_wanted++;
    if (!gives_later)
        sl_offer_give(offer, &given);
}

static void on_taken(void *user SL_UNUSED)
{
    n_taken++;
}

static void offer_begin(void)
{
    static const struct sl_offer_handler handler = {on_wanted, on_taken};

    n_wanted = n_taken = 0;
    gives_later = false;
    sl_check(sl_offer_new(&offer, loop, path, &handler, NULL, NULL) == 0);
}

static void offer_end(void)
{
    sl_offer_free(offer);
    offer = NULL;
    sl_fds_clear(&given);
    sl_check(access(path, F_OK) < 0);
}

static void note(const struct sl_err *err)
{
    why = err != NULL ? *err : (struct sl_err){0};
}

static void on_sockets(void *user SL_UNUSED, const struct sl_err *err)
{
    n_sockets++;
    note(err);
}

static void on_over(void *user SL_UNUSED, const struct sl_err *err)
{
    n_over++;
    note(err);
}

static void on_gone(void *user SL_UNUSED)
{
    n_gone++;
}

static int take_from(uint64_t timeout)
{
    static const struct sl_take_handler handler = {on_sockets, on_over, on_gone};

    n_sockets = n_over = n_gone = 0;
    return sl_take_new(&take, loop, path, timeout, &handler, NULL, &why);
}

static void take_end(void)
{
    sl_take_free(take);
    take = NULL;
}

/* In this process everybody has the same number, so the newcomer is a peer that says its lines. */
static int connect_peer(void)
{
    int fd = -1;

    sl_check(sl_handover_connect(&fd, path, NULL) == 0);
    return fd;
}

static void say(int fd, enum sl_handover_kind kind, const char *body, size_t len)
{
    sl_check(sl_handover_send(fd, kind, sl_str(body, len)) == 0);
}

static void greet(int fd)
{
    const char version = SL_HANDOVER_VERSION;

    say(fd, SL_HANDOVER_HELLO, &version, 1);
}

static struct sl_handover heard;

/* 1: a message is in `heard`; 0: nothing has come; -1: the other side has closed. */
static int hear(int fd, struct sl_fds *fds)
{
    int rc = sl_handover_receive(fd, &heard, fds);

    return rc == 0 ? 1 : rc == SL_E_AGAIN ? 0 : -1;
}

static int hear_next(int fd, struct sl_fds *fds)
{
    int got = 0;

    run_until(loop, got != 0 || (got = hear(fd, fds)) != 0);
    return got;
}

static void expect(int fd, enum sl_handover_kind kind, struct sl_fds *fds)
{
    sl_check(hear_next(fd, fds) == 1 && heard.kind == (char)kind);
}

static void expect_refusal(int fd, const char *text)
{
    expect(fd, SL_HANDOVER_REFUSED, NULL);
    sl_check_str(sl_str(heard.body, heard.body_len), sl_str_c(text));
    sl_check(hear(fd, NULL) == -1);
    close(fd);
}

static void expect_end(int fd)
{
    sl_check(hear_next(fd, NULL) == -1);
    close(fd);
}

/* Descriptors of as many files, which can be told apart. */
static void give_files(size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int fd = memfd_create("given", MFD_CLOEXEC);

        sl_check(fd >= 0 && ftruncate(fd, (off_t)i + 1) == 0);
        sl_fds_add(&given, fd);
    }
}

static void check_files(const struct sl_fds *fds, size_t n)
{
    sl_check(fds->n == n);
    for (size_t i = 0; i < fds->n; i++) {
        struct stat st = {0};

        sl_check(fstat(fds->at[i], &st) == 0 && st.st_size == (off_t)i + 1);
        sl_check(fcntl(fds->at[i], F_GETFD) & FD_CLOEXEC);
    }
}

/* --- the side that is there --- */

static void all_sockets_go_over(size_t n)
{
    struct sl_fds fds = {0};
    int fd;

    offer_begin();
    give_files(n);
    fd = connect_peer();
    greet(fd);
    for (size_t left = n; left > 0; left -= SL_MIN(left, (size_t)SL_HANDOVER_FDS))
        expect(fd, SL_HANDOVER_SOCKETS, &fds);
    expect(fd, SL_HANDOVER_END, &fds);
    check_files(&fds, n);
    sl_check(n_wanted == 1 && n_taken == 0 && given.n == 0);
    say(fd, SL_HANDOVER_DONE, NULL, 0);
    run_until(loop, n_taken == 1);
    sl_check(access(path, F_OK) < 0); /* somebody else may offer here */
    sl_check(hear(fd, NULL) == 0);
    sl_offer_over(offer);
    expect(fd, SL_HANDOVER_OVER, NULL);
    sl_check(hear(fd, NULL) == 0); /* it has not ended */
    sl_fds_clear(&fds);
    offer_end();
    expect_end(fd);
}

static void the_end_of_a_process_can_be_told_last(void)
{
    int fd, kept;

    offer_begin();
    sl_check(sl_offer_keep(offer) == -1);
    fd = connect_peer();
    greet(fd);
    expect(fd, SL_HANDOVER_END, NULL);
    sl_check(sl_offer_keep(offer) == -1);
    say(fd, SL_HANDOVER_DONE, NULL, 0);
    run_until(loop, n_taken == 1);
    kept = sl_offer_keep(offer);
    offer_end();
    sl_check(kept >= 0 && hear(fd, NULL) == 0);
    close(kept);
    expect_end(fd);
}

static void who_goes_early_changes_nothing(void)
{
    int fd;

    offer_begin();
    close(connect_peer()); /* has looked whether there is an offer */
    for (int i = 1; i <= 2; i++) {
        fd = connect_peer();
        greet(fd);
        expect(fd, SL_HANDOVER_END, NULL);
        sl_check(n_wanted == i);
        close(fd);
        run_quiet(loop);
    }
    sl_check(n_taken == 0);
    offer_end();
}

static void the_sockets_may_come_later(void)
{
    int fd, next;

    offer_begin();
    gives_later = true;
    fd = connect_peer();
    greet(fd);
    run_until(loop, n_wanted == 1);
    close(fd);
    run_quiet(loop);
    give_files(3);
    sl_offer_give(offer, &given); /* nobody is there any more */
    sl_check(given.n == 0);
    next = connect_peer();
    greet(next);
    run_until(loop, n_wanted == 2);
    sl_offer_give(offer, NULL); /* they cannot be had */
    expect_refusal(next, "no descriptors are left");
    offer_end();
}

static void one_newcomer_at_a_time(void)
{
    int fd, other;

    offer_begin();
    fd = connect_peer();
    run_quiet(loop);
    other = connect_peer();
    expect_refusal(other, "another takeover is under way");
    greet(fd);
    expect(fd, SL_HANDOVER_END, NULL);
    close(fd);
    offer_end();
}

static void garbage(const char *bytes, size_t len, const char *text)
{
    int fd;

    offer_begin();
    fd = connect_peer();
    sl_check(send(fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len);
    expect_refusal(fd, text);
    sl_check(n_wanted == 0);
    offer_end();
}

static void out_of_turn(const char *bytes, size_t len)
{
    int fd;

    offer_begin();
    fd = connect_peer();
    greet(fd);
    expect(fd, SL_HANDOVER_END, NULL);
    sl_check(send(fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len);
    expect_refusal(fd, len > SL_HANDOVER_MAX ? "it does not speak the protocol of takeovers"
                                             : "it does not keep to the protocol of takeovers");
    sl_check(n_taken == 0);
    offer_end();
}

/* The kernel counts descriptors that nobody takes out: they are dropped, and cost nothing. */
static void descriptors_for_us_are_dropped(void)
{
    struct sl_fds files = {0};
    struct stat st;
    int fd, pipe_fds[2];
    char byte;

    sl_check(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) == 0);
    offer_begin();
    fd = connect_peer();
    sl_fds_add(&files, pipe_fds[1]);
    sl_check(sl_handover_send_fds(fd, files.at, 1) == 0);
    sl_fds_clear(&files);
    expect_refusal(fd, "it does not speak the protocol of takeovers");
    sl_check(read(pipe_fds[0], &byte, 1) == 0); /* the last descriptor of the other end is closed */
    sl_check(fstat(pipe_fds[0], &st) == 0);
    close(pipe_fds[0]);
    offer_end();
}

static void who_is_silent_is_dropped(void)
{
    int fd;

    offer_begin();
    fd = connect_peer();
    run_quiet(loop);
    sl_loop_skip(loop, PATIENCE + 200);
    expect_refusal(fd, "no greeting in time");
    fd = connect_peer();
    greet(fd);
    expect(fd, SL_HANDOVER_END, NULL);
    sl_loop_skip(loop, SL_OFFER_START - 1000); /* it takes its time to start */
    run_quiet(loop);
    sl_check(hear(fd, NULL) == 0);
    sl_loop_skip(loop, 1200);
    expect_end(fd);
    sl_check(n_taken == 0);
    offer_end();
}

/* Lets the other end of the connection, which is in this process, too, hold a few messages only. */
static void shrink_other_end(int fd)
{
    int least = 1;

    for (int other = 3; other < 4096; other++) {
        struct sockaddr_un un = {0};
        socklen_t len = sizeof(un);

        if (other != fd && getsockname(other, (struct sockaddr *)&un, &len) == 0 &&
            un.sun_family == AF_UNIX && strncmp(un.sun_path, path, strlen(path)) == 0)
            setsockopt(other, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
    }
}

static int begin_with_little_room(size_t n)
{
    int fd;

    offer_begin();
    give_files(n);
    fd = connect_peer();
    run_quiet(loop);
    shrink_other_end(fd);
    greet(fd);
    run_until(loop, n_wanted == 1);
    run_quiet(loop);
    sl_check(given.n == 0);
    return fd;
}

static void who_reads_slowly_gets_all(void)
{
    enum { MANY = 16 * SL_HANDOVER_FDS };
    struct sl_fds fds = {0};
    int fd = begin_with_little_room(MANY), n_rounds = 0;

    do {
        sl_loop_skip(loop, PATIENCE - 1000);
        run_quiet(loop);
        while (hear(fd, &fds) == 1) {
        }
        run_quiet(loop);
    } while (heard.kind == SL_HANDOVER_SOCKETS && ++n_rounds < MANY);
    sl_check(heard.kind == SL_HANDOVER_END && n_rounds > 0);
    check_files(&fds, MANY);
    sl_fds_clear(&fds);
    close(fd);
    offer_end();
}

static void who_does_not_read_is_dropped(void)
{
    enum { MANY = 16 * SL_HANDOVER_FDS };
    int fd = begin_with_little_room(MANY);

    sl_loop_skip(loop, PATIENCE + 200);
    run_quiet(loop);
    while (hear(fd, &given) == 1) /* what was under way */
        sl_check(heard.kind == SL_HANDOVER_SOCKETS);
    sl_check(given.n < MANY && hear(fd, NULL) == -1);
    close(fd);
    offer_end();
}

/* --- who may --- */

/* In a child that is another user: the exit code of `fn`. */
static int as_nobody(int (*fn)(void))
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0)
        _exit(setgid(65534) < 0 || setuid(65534) < 0 ? 99 : fn());
    while (waitpid(pid, &status, WNOHANG) == 0)
        sl_loop_turn(loop, false);
    return WEXITSTATUS(status);
}

static int be_refused(void)
{
    const char version = SL_HANDOVER_VERSION;
    int fd;

    if (sl_handover_connect(&fd, path, NULL) < 0)
        return 2;
    fcntl(fd, F_SETFL, 0);                                              /* waits */
    (void)sl_handover_send(fd, SL_HANDOVER_HELLO, sl_str(&version, 1)); /* may come too late */
    if (sl_handover_receive(fd, &heard, NULL) < 0)
        return 3;
    return sl_str_eq(sl_str(heard.body, heard.body_len), SL_STR("of another user")) ? 0 : 4;
}

static void others_may_not(void)
{
    struct stat st = {0};

    offer_begin();
    sl_check(stat(path, &st) == 0 && (st.st_mode & 07777) == 0600);
    if (geteuid() == 0) { /* else we cannot be somebody else */
        sl_check(as_nobody(be_refused) == 2);
        sl_check(chmod(path, 0666) == 0);
        sl_check(as_nobody(be_refused) == 0);
        sl_check(n_wanted == 0);
    }
    offer_end();
}

/* --- the path --- */

static int open_fails(const char *at)
{
    static const struct sl_offer_handler handler = {on_wanted, on_taken};
    struct sl_offer *o = NULL;

    return sl_offer_new(&o, loop, at, &handler, NULL, &why);
}

static void the_path_of_an_offer(void)
{
    char other[sizeof(path) + 8], longest[200];
    struct sl_offer *first;
    struct stat before = {0}, after = {0};

    offer_begin();
    first = offer;
    sl_check(stat(path, &before) == 0);
    offer_begin(); /* as a successor does */
    sl_check(stat(path, &after) == 0 && before.st_ino != after.st_ino);
    sl_offer_free(first); /* leaves the file, which is not its own */
    close(connect_peer());
    snprintf(other, sizeof(other), "%s.file", path);
    close(open(other, O_CREAT | O_CLOEXEC | O_WRONLY, 0600));
    sl_check(open_fails(other) == SL_E_IN_USE && access(other, F_OK) == 0);
    unlink(other);
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    sl_check(open_fails(longest) == SL_E_CONFIG && open_fails("") == SL_E_CONFIG);
    sl_check(open_fails("/nonexistent/socket") == SL_E_NOT_FOUND);
    offer_end();
}

/* --- the side that comes --- */

/* A listener that says what it is told to, in another process, so that it is not ourselves. */
static pid_t other_pid;
static int other_fd;

static void other_begin(void (*run)(int fd))
{
    int fd, ready[2];
    char byte;

    sl_check(pipe(ready) == 0);
    other_pid = fork();
    if (other_pid == 0) {
        if (sl_handover_listen(&fd, path, NULL) < 0 || write(ready[1], "x", 1) != 1)
            _exit(1);
        fcntl(fd, F_SETFL, 0); /* waits */
        other_fd = accept(fd, NULL, NULL);
        run(other_fd);
        _exit(0);
    }
    sl_check(read(ready[0], &byte, 1) == 1);
    close(ready[0]);
    close(ready[1]);
}

static void other_end(void)
{
    int status;

    sl_check(waitpid(other_pid, &status, 0) == other_pid && status == 0);
    unlink(path);
}

static void must_hear(int fd, char kind)
{
    if (sl_handover_receive(fd, &heard, NULL) < 0 || heard.kind != kind)
        _exit(2);
}

static void hand_over(int fd)
{
    must_hear(fd, SL_HANDOVER_HELLO);
    give_files(100);
    if (sl_handover_send_fds(fd, given.at, 64) < 0 ||
        sl_handover_send_fds(fd, given.at + 64, 36) < 0)
        _exit(3);
    say(fd, SL_HANDOVER_END, NULL, 0);
    must_hear(fd, SL_HANDOVER_DONE);
    say(fd, SL_HANDOVER_OVER, NULL, 0);
}

static void sockets_are_taken(void)
{
    other_begin(hand_over);
    sl_check(take_from(20000) == 0 && sl_take_pid(take) == other_pid);
    run_until(loop, n_sockets == 1);
    sl_check(why.code == 0);
    check_files(sl_take_sockets(take), 100);
    sl_check(sl_take_done(take, &why) == 0);
    run_until(loop, n_over == 1 && n_gone == 1);
    sl_check(why.code == 0 && n_sockets == 1);
    take_end();
    other_end();
}

static void wait_for_end(int fd)
{
    while (sl_handover_receive(fd, &heard, NULL) == 0) {
    }
}

static void nobody_answers(void)
{
    other_begin(wait_for_end);
    sl_check(take_from(500) == 0);
    run_quiet(loop);
    sl_loop_skip(loop, 700);
    run_until(loop, n_sockets == 1);
    sl_check(why.code == SL_E_TIMEOUT && n_gone == 0);
    take_end();
    other_end();
}

static void say_no(int fd)
{
    must_hear(fd, SL_HANDOVER_HELLO);
    say(fd, SL_HANDOVER_REFUSED, "not today", 9);
}

static void say_nonsense(int fd)
{
    must_hear(fd, SL_HANDOVER_HELLO);
    say(fd, SL_HANDOVER_OVER, "!", 1);
    wait_for_end(fd);
}

static void say_nothing(int fd)
{
    must_hear(fd, SL_HANDOVER_HELLO);
}

static void fails_with(void (*run)(int fd), int code, const char *text)
{
    other_begin(run);
    sl_check(take_from(20000) == 0);
    run_until(loop, n_sockets == 1);
    sl_check(why.code == code && strcmp(why.text, text) == 0);
    take_end();
    other_end();
}

static void hand_over_and_go(int fd)
{
    must_hear(fd, SL_HANDOVER_HELLO);
    say(fd, SL_HANDOVER_END, NULL, 0);
}

static void hand_over_and_say_nothing(int fd)
{
    hand_over_and_go(fd);
    wait_for_end(fd);
}

static void it_goes_before_it_is_told(void)
{
    other_begin(hand_over_and_go);
    sl_check(take_from(20000) == 0);
    run_until(loop, n_sockets == 1 && n_gone == 1);
    sl_check(why.code == 0 && n_over == 0);
    take_end();
    other_end();
}

static void it_does_not_say_that_it_ends(void)
{
    other_begin(hand_over_and_say_nothing);
    sl_check(take_from(20000) == 0);
    run_until(loop, n_sockets == 1);
    sl_check(sl_take_done(take, &why) == 0);
    sl_loop_skip(loop, SL_TAKE_DONE_TIMEOUT + 200);
    run_until(loop, n_over == 1);
    sl_check(why.code == SL_E_TIMEOUT && n_gone == 0);
    take_end();
    other_end();
}

static void nobody_is_there(void)
{
    sl_check(take_from(1000) == SL_E_NOT_FOUND && strcmp(why.text, "nobody is there") == 0);
    offer_begin(); /* ourselves */
    sl_check(take_from(1000) == SL_E_NOT_FOUND);
    run_quiet(loop);
    sl_check(n_wanted == 0);
    offer_end();
}

int main(void)
{
    snprintf(path, sizeof(path), "/tmp/sluice-offer-test-%ld", (long)getpid());
    sl_check(sl_loop_new(&loop) == 0);
    all_sockets_go_over(0);
    all_sockets_go_over(1);
    all_sockets_go_over(SL_HANDOVER_FDS);
    all_sockets_go_over(3 * SL_HANDOVER_FDS + 1);
    the_end_of_a_process_can_be_told_last();
    who_goes_early_changes_nothing();
    the_sockets_may_come_later();
    one_newcomer_at_a_time();
    garbage("GET / HTTP/1.1\r\n\r\n", 18, "it does not speak the protocol of takeovers");
    garbage("h", 1, "it does not speak the protocol of takeovers");
    garbage("h\x02", 2, "it speaks another version of the protocol");
    garbage("d", 1, "it does not speak the protocol of takeovers");
    garbage((char[1000]){'h', SL_HANDOVER_VERSION}, 1000,
            "it does not speak the protocol of takeovers");
    out_of_turn("h\x01", 2);
    out_of_turn("dd", 2);
    out_of_turn((char[1000]){'d'}, 1000);
    descriptors_for_us_are_dropped();
    who_is_silent_is_dropped();
    who_reads_slowly_gets_all();
    who_does_not_read_is_dropped();
    others_may_not();
    the_path_of_an_offer();
    sockets_are_taken();
    nobody_answers();
    fails_with(say_no, SL_E_REFUSED, "not today");
    fails_with(say_nonsense, SL_E_PROTOCOL, "it does not speak the protocol of takeovers");
    fails_with(say_nothing, SL_E_CLOSED, "the other one has gone");
    it_goes_before_it_is_told();
    it_does_not_say_that_it_ends();
    nobody_is_there();
    sl_loop_free(loop);
    return sl_check_done();
}
