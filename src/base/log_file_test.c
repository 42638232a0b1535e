#include "base/log_file.h"
#include "base/check.h"
#include "base/log_out.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIMIT = 256 * 1024, LINES = 1500, LINE_LEN = 200 };

static char folder[256], path[512];

static void new_folder(void)
{
    snprintf(folder, sizeof(folder), "/tmp/log_file_XXXXXX");
    sl_assert(mkdtemp(folder) != NULL);
    snprintf(path, sizeof(path), "%s/deep/er/core.log", folder);
}

static void remove_folder(void)
{
    char command[512];

    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    sl_check(system(command) == 0);
}

/* Looks at every file of the log: their bytes, and whether every line is whole. */
struct sum {
    uint64_t bytes;
    int n_files, n_lines, n_broken;
};

static void add_file(struct sum *sum, const char *name)
{
    char text[1024];
    struct stat st;
    FILE *f;

    snprintf(text, sizeof(text), "%s/deep/er/%s", folder, name);
    sl_check(stat(text, &st) == 0);
    sum->bytes += (uint64_t)st.st_size;
    sum->n_files++;
    f = fopen(text, "r");
    while (fgets(text, sizeof(text), f) != NULL) {
        sum->n_lines++;
        sum->n_broken += strlen(text) != LINE_LEN || text[0] != '<' || text[LINE_LEN - 2] != '>';
    }
    fclose(f);
}

static struct sum look(void)
{
    char name[512];
    struct sum sum = {0};
    struct dirent *entry;
    DIR *dir;

    snprintf(name, sizeof(name), "%s/deep/er", folder);
    dir = opendir(name);
    while ((entry = readdir(dir)) != NULL) {
        if (strncmp(entry->d_name, "core", 4) == 0)
            add_file(&sum, entry->d_name);
    }
    closedir(dir);
    return sum;
}

static void open_log(uint64_t limit)
{
    struct sl_err err;

    sl_check(sl_log_file_open(path, limit, &err) == 0);
}

static bool put_line(int number)
{
    char line[LINE_LEN + 1];

    snprintf(line, sizeof(line), "<%0*d>\n", LINE_LEN - 3, number);
    return sl_log_file_write(line, LINE_LEN) == LINE_LEN;
}

static void write_line(int number)
{
    sl_check(put_line(number));
}

/* As the body of a thread: how many lines were lost. */
static void *write_many(void *arg SL_UNUSED)
{
    size_t n_lost = 0;

    for (int i = 0; i < LINES; i++)
        n_lost += !put_line(i);
    return (void *)n_lost;
}

static void folders_are_made_and_lines_appended(void)
{
    struct sum sum;

    new_folder();
    open_log(LIMIT);
    write_line(1);
    open_log(LIMIT);
    write_line(2);
    sum = look();
    sl_check(sum.n_files == 1 && sum.n_lines == 2 && sum.n_broken == 0);
    remove_folder();
}

static void files_stay_within_the_limit(void)
{
    char command[1024];
    struct sum sum;

    new_folder();
    open_log(LIMIT);
    snprintf(command, sizeof(command), "echo kept >%s/deep/er/core-mine.log", folder);
    sl_check(system(command) == 0);
    for (int round = 0; round < 3; round++) {
        sl_check(write_many(NULL) == NULL);
        sum = look();
        sl_check(sum.bytes <= LIMIT && sum.bytes > LIMIT / 2);
        sl_check(sum.n_broken == 1); /* what is not ours stays as it is */
    }
    open_log(LIMIT / 4); /* a smaller limit holds from the start */
    sl_check(look().bytes <= LIMIT / 4 + LIMIT / 8);
    remove_folder();
}

/* Three processes with two threads each, of which the first opened the log for all. */
static void many_writers_lose_no_line_and_keep_the_limit(void)
{
    enum { PROCESSES = 3, BIG = 8 * PROCESSES * 2 * LINES * LINE_LEN };
    pid_t pids[PROCESSES];
    struct sum sum;

    for (int round = 0; round < 2; round++) {
        new_folder();
        open_log(round == 0 ? BIG / 4 : LIMIT); /* with room for all lines, and without */
        for (int i = 0; i < PROCESSES; i++) {
            pthread_t thread;
            void *lost, *too;

            if ((pids[i] = fork()) != 0)
                continue;
            sl_assert(pthread_create(&thread, NULL, write_many, NULL) == 0);
            lost = write_many(NULL);
            pthread_join(thread, &too);
            _exit(lost == NULL && too == NULL ? 0 : 1);
        }
        for (int i = 0; i < PROCESSES; i++) {
            int status;

            sl_check(waitpid(pids[i], &status, 0) == pids[i] && status == 0);
        }
        sum = look();
        sl_check(sum.n_broken == 0 && sum.n_files > 2);
        if (round == 0)
            sl_check(sum.n_lines == PROCESSES * 2 * LINES);
        else
            sl_check(sum.bytes <= LIMIT && sum.bytes > LIMIT / 2);
        remove_folder();
    }
}

static void a_file_that_was_removed_begins_anew(void)
{
    struct sum sum;

    new_folder();
    open_log(LIMIT);
    write_line(1);
    sl_check(unlink(path) == 0);
    write_line(2);
    sum = look();
    sl_check(sum.n_files == 1 && sum.n_lines == 1);
    remove_folder();
}

/* To stderr and to the file, in one piece. */
static void last_words_are_in_the_file(void)
{
    struct sum sum;

    new_folder();
    open_log(LIMIT);
    sl_log_out_last_words("a bug\n", 6);
    sum = look();
    sl_check(sum.bytes == 6 && sum.n_lines == 1);
    remove_folder();
}

static void lines_are_lost_when_no_file_can_be_made(void)
{
    char line[LINE_LEN] = "";
    struct stat st;

    new_folder();
    open_log(LIMIT);
    write_line(1);
    remove_folder(); /* the descriptor stays */
    for (int i = 0; i < LINES; i++)
        sl_check(sl_log_file_write(line, LINE_LEN) < 0);
    sl_check(stat(path, &st) < 0 && errno == ENOENT);
}

static void fails(const char *at, const char *why)
{
    struct sl_err err = {0};

    sl_check(sl_log_file_open(at, LIMIT, &err) < 0);
    sl_check(strstr(err.text, why) != NULL && strstr(err.text, at) != NULL);
    sl_check(!sl_log_file_is_open());
}

static void what_cannot_be_a_log_says_so(void)
{
    new_folder();
    fails("/proc/no/such.log", "No such file or directory");
    fails("/dev/full", "must be a regular file");
    fails(folder, "Is a directory");
    remove_folder();
}

int main(void)
{
    folders_are_made_and_lines_appended();
    files_stay_within_the_limit();
    many_writers_lose_no_line_and_keep_the_limit();
    a_file_that_was_removed_begins_anew();
    last_words_are_in_the_file();
    lines_are_lost_when_no_file_can_be_made();
    what_cannot_be_a_log_says_so();
    return sl_check_done();
}
