#include "base/log_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/folder.h"
#include "base/str.h"

enum { FILE_MODE = 0640, FOLDER_MODE = 0750, FILES = 8, ROOM = 4096, MOST_NAMES = 1000, TRIES = 3 };

static struct {
    pthread_mutex_t lock;
    _Atomic int fd;
    pid_t opener; /* the process whose descriptor `fd` is: another one shares its flock */
    char *folder; /* ends with "/"; empty: here */
    char *stem, *ending, *path;
    uint64_t max, part; /* bytes of all files, and of one */
} file = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

/* --- names --- */

static void take_path(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    const char *dot = strrchr(name, '.');

    if (dot == NULL || dot == name)
        dot = name + strlen(name);
    sl_free(file.path);
    sl_free(file.folder);
    sl_free(file.stem);
    sl_free(file.ending);
    file.path = sl_strdup(path);
    file.folder = sl_strndup(path, (size_t)(name - path));
    file.stem = sl_strndup(name, (size_t)(dot - name));
    file.ending = sl_strdup(dot);
}

/* The path for a file that was full at this time. */
static void old_path(char *out, size_t len, const struct timespec *when)
{
    struct tm tm;

    localtime_r(&when->tv_sec, &tm);
    snprintf(out, len, "%s%s-%04d-%02d-%02dT%02d-%02d-%02d.%03d%s", file.folder, file.stem,
             tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
             (int)(when->tv_nsec / 1000000), file.ending);
}

/* Is it one of ours that was renamed? */
static bool is_old(const char *name)
{
    static const char form[] = "-dddd-dd-ddTdd-dd-dd.ddd";
    size_t stem_len = strlen(file.stem);

    if (strncmp(name, file.stem, stem_len) != 0)
        return false;
    name += stem_len;
    for (const char *f = form; *f != '\0'; f++, name++) {
        if (*f == 'd' ? *name < '0' || *name > '9' : *name != *f)
            return false;
    }
    return strcmp(name, file.ending) == 0;
}

/* --- room --- */

/* Bytes of all old files; the name of the oldest into `oldest`, which is their order as well. */
static uint64_t count_old(char oldest[NAME_MAX + 1])
{
    DIR *dir = opendir(*file.folder != '\0' ? file.folder : ".");
    uint64_t total = 0;
    struct dirent *entry;

    *oldest = '\0';
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        struct stat st;

        if (!is_old(entry->d_name) ||
            fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        total += (uint64_t)st.st_size;
        if (*oldest == '\0' || strcmp(entry->d_name, oldest) < 0)
            snprintf(oldest, NAME_MAX + 1, "%s", entry->d_name);
    }
    if (dir != NULL)
        closedir(dir);
    return total;
}

/* Leaves room for the current file, and for as much again. */
static void make_room(void)
{
    char oldest[NAME_MAX + 1], path[PATH_MAX];

    while (count_old(oldest) > file.max - 2 * file.part && *oldest != '\0') {
        snprintf(path, sizeof(path), "%s%s", file.folder, oldest);
        if (unlink(path) < 0)
            return;
    }
}

/* --- opening --- */

/* An own descriptor for the file of this name; the one before it is closed. 0 or -1 with errno. */
static int reopen(void)
{
    int before = atomic_load(&file.fd);
    int fd = open(file.path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
                  FILE_MODE);

    if (fd < 0)
        return -1;
    file.opener = getpid();
    if (before < 0) {
        atomic_store(&file.fd, fd);
        return 0;
    }
    dup3(fd, before, O_CLOEXEC); /* the number stays: a signal handler may be using it */
    close(fd);
    return 0;
}

/* Does the name still mean the file that we write to? */
static bool is_current(void)
{
    struct stat named, ours;

    return stat(file.path, &named) == 0 && fstat(atomic_load(&file.fd), &ours) == 0 &&
           named.st_ino == ours.st_ino && named.st_dev == ours.st_dev;
}

static int rename_away(void)
{
    struct timespec now;
    char path[PATH_MAX];

    clock_gettime(CLOCK_REALTIME, &now);
    for (int i = 0; i < MOST_NAMES; i++) {
        old_path(path, sizeof(path), &now);
        if (renameat2(AT_FDCWD, file.path, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
            return 0;
        if (errno == EINVAL) /* a file system that cannot promise it */
            return access(path, F_OK) < 0 ? rename(file.path, path) : -1;
        if (errno != EEXIST)
            return -1;
        now.tv_nsec += 1000000; /* another one in the same millisecond */
        if (now.tv_nsec >= 1000000000) {
            now.tv_nsec -= 1000000000;
            now.tv_sec++;
        }
    }
    return -1;
}

/* The file is full: a new one, ours or that of whoever was faster. */
static void turn_over(void)
{
    if (file.opener != getpid() && reopen() < 0)
        return;
    if (flock(atomic_load(&file.fd), LOCK_EX) < 0)
        return;
    if (is_current() && rename_away() == 0)
        make_room();
    flock(atomic_load(&file.fd), LOCK_UN);
    if (!is_current())
        reopen();
}

static int fail(struct sl_err *err, const char *what)
{
    int cause = errno, fd = atomic_exchange(&file.fd, -1);

    if (fd >= 0)
        close(fd);
    return sl_err_set(err, sl_error_from_errno(cause), "cannot %s %s: %s", what, file.path,
                      strerrordesc_np(cause));
}

/* Room is tried without writing: a line is not due yet. Some file systems cannot. */
static int check_room(const struct stat *st)
{
    if (fallocate(atomic_load(&file.fd), FALLOC_FL_KEEP_SIZE, st->st_size, ROOM) == 0)
        return 0;
    return errno == EOPNOTSUPP || errno == ENOSYS || errno == EINTR ? 0 : -1;
}

int sl_log_file_open(const char *path, uint64_t max_bytes, struct sl_err *err)
{
    struct stat st = {0};
    int fd = atomic_exchange(&file.fd, -1);

    if (fd >= 0)
        close(fd);
    take_path(path);
    file.max = max_bytes;
    file.part = max_bytes / FILES;
    if (*file.folder != '\0' && sl_folder_make(file.folder, FOLDER_MODE) < 0) {
        errno = errno == EEXIST ? ENOTDIR : errno;
        return fail(err, "make the folder of the log");
    }
    if (reopen() < 0)
        return fail(err, "open the log");
    if (fstat(atomic_load(&file.fd), &st) == 0 && !S_ISREG(st.st_mode)) {
        errno = EINVAL;
        return fail(err, "use as the log, which must be a regular file,");
    }
    if (check_room(&st) < 0)
        return fail(err, "write the log");
    make_room();
    return 0;
}

bool sl_log_file_is_open(void)
{
    return atomic_load(&file.fd) >= 0;
}

/* --- writing --- */

/* A file that was removed is begun anew, too. */
static bool is_full(size_t len, uint64_t limit)
{
    struct stat st;

    return fstat(atomic_load(&file.fd), &st) == 0 &&
           (st.st_nlink == 0 || (uint64_t)st.st_size + len > limit);
}

ssize_t sl_log_file_write_now(const void *line, size_t len)
{
    return write(atomic_load(&file.fd), line, len);
}

ssize_t sl_log_file_write(const void *line, size_t len)
{
    ssize_t n = -1;
    int i = 0;

    pthread_mutex_lock(&file.lock);
    while (is_full(len, file.part) && i++ < TRIES)
        turn_over(); /* while this thread waited the new one may have become full, too */
    if (i <= TRIES || !is_full(len, 2 * file.part))
        n = sl_log_file_write_now(line, len);
    pthread_mutex_unlock(&file.lock);
    return n;
}
