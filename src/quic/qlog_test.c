#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "quic/test_world.h"

/* Counts the logs in a folder, looks into each, and removes it. */
static int collect(const char *dir)
{
    DIR *d = opendir(dir);
    int n = 0;

    sl_assert(d != NULL);
    for (struct dirent *entry; (entry = readdir(d)) != NULL;) {
        struct sl_str name = sl_str_c(entry->d_name);
        char path[600], text[4096];
        FILE *file;
        size_t len;

        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
        sl_check(sl_str_ends(name, SL_STR(".sqlog")) && name.len == 2 * 18 + 6);
        sl_assert((file = fopen(path, "r")) != NULL);
        len = fread(text, 1, sizeof(text) - 1, file);
        text[len] = '\0';
        (void)fclose(file);
        sl_check(len > 1000 && strstr(text, "qlog") != NULL);
        sl_check(unlink(path) == 0);
        n++;
    }
    (void)closedir(d);
    return n;
}

static void test_files(void)
{
    char dir[] = "/tmp/sluice-qlog-XXXXXX";
    struct test_world w;

    sl_assert(mkdtemp(dir) != NULL);
    test_world_init(&w, 1);
    w.server_settings.qlog_dir = dir;
    test_world_begin(&w);
    sl_check(test_world_shake(&w) && test_world_echo(&w, 1000, 1000));
    test_world_end(&w);
    sl_check(collect(dir) == 1);
    sl_check(rmdir(dir) == 0);
}

/* A folder that is not there costs the log, not the connection. */
static void test_no_folder(void)
{
    struct test_world w;

    test_world_init(&w, 1);
    w.server_settings.qlog_dir = "/nonexistent/folder";
    test_world_begin(&w);
    sl_check(test_world_shake(&w));
    test_world_end(&w);
}

int main(void)
{
    test_files();
    test_no_folder();
    return sl_check_done();
}
