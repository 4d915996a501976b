/* The files of one directory, as the programs that drive a journal look at them. Subdirectories are
 * passed over. Each ends the program with a sentence when it cannot do its work. One thread. */
#ifndef TOOL_BENCH_STORE_FILES_H
#define TOOL_BENCH_STORE_FILES_H

#include <stdint.h>

/* Reads every file to its end; the bytes in all. */
uint64_t directory_read(const char *path);
/* What the files take on disk. */
uint64_t directory_disk_bytes(const char *path);
/* Removes the files and the directory. */
void directory_remove(const char *path);

#endif
