/*
 * Folders of the file system. Calls wait for the disk: not on the thread of an event loop.
 */
#ifndef SL_BASE_FOLDER_H
#define SL_BASE_FOLDER_H

#include <sys/types.h>

/* Makes the folder and those above it; fine when it is there. 0, or -1 with errno: EEXIST when it
 * is something else. Writes into `path` and puts it right again. */
int sl_folder_make(char *path, mode_t mode);

#endif
