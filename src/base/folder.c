#include "base/folder.h"

#include <errno.h>
#include <sys/stat.h>

int sl_folder_make(char *path, mode_t mode)
{
    struct stat st;

    for (char *p = path; *p != '\0'; p++) {
        if (*p != '/' || p == path)
            continue;
        *p = '\0';
        (void)mkdir(path, mode); /* what is wrong with a parent shows at its child */
        *p = '/';
    }
    if (mkdir(path, mode) == 0)
        return 0;
    if (errno != EEXIST)
        return -1;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return 0;
    errno = EEXIST;
    return -1;
}
