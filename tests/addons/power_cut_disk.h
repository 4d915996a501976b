/* A recorder beneath libc: keeps book of what a power cut could leave of one directory, whoever
 * writes there through libc, libraries included. power_cut_calls.c has the calls that it hears of,
 * which this program defines in the place of libc's.
 *
 * What counts as on disk is the least that POSIX promises: the bytes of a file after its fsync or
 * fdatasync, or after a write through O_DSYNC; names after the fsync of their directory. Everything
 * else may be there or not: names in their order or in any; bytes in the order of the writes, or by
 * sectors or pages in any, each as it was at some moment since its last sync; the size as it was at
 * some moment, where what was cut off is there whole or not at all. Files that were mapped writable
 * hold any mixture of that and of what is in them now.
 *
 * One recorder a process, because libc's calls have no context. Any thread may call libc; the
 * functions of this file belong to one thread. */
#ifndef POWER_CUT_DISK_H
#define POWER_CUT_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* From now on changes beneath `root`, an absolute path without symbolic links, are recorded. What
 * is there counts as on disk. */
void pc_disk_begin(const char *root);
/* Forgets everything. */
void pc_disk_end(void);
/* The process is killed, the machine runs on: what is in the files now is copied to `root`, which
 * is made, and the book goes on there. Whoever has files open in the old place writes unheard. */
void pc_disk_move(const char *root);

/* Whether the book, with nothing lost, says what is in the files: else some call went unheard.
 * Names a file that differs. Of files that were mapped writable it looks at the size alone. */
bool pc_disk_is_complete(char *name, size_t size);

/* `at` is called in the middle of every call that changes something: when the bytes or names are
 * changed and nothing of it is on disk for sure. `is_by_sync`: right before or after a sync. It may
 * take images, and nothing else. NULL: nobody. */
void pc_disk_on_change(void (*at)(void *ctx, bool is_by_sync), void *ctx);

/* A disk that says yes to a sync and does nothing. */
enum { PC_LIE_FILES = 1, PC_LIE_DIRECTORIES = 2 };
void pc_disk_lie(unsigned lies);

/* One of the states that a power cut now could leave, chosen by `seed`: 0: only what is on disk for
 * sure, 1: everything, else any. */
typedef struct pc_image pc_image;
pc_image *pc_disk_image(uint64_t seed);
/* Writes it into `directory`, which is made, and emptied before. */
void pc_image_write(const pc_image *image, const char *directory);
void pc_image_free(pc_image *image); /* NULL is fine */

/* Removes a directory with all in it; it may be missing. */
void pc_remove(const char *directory);

/* ---- the machine's clock and boot, which stores ask --------------------------------------------
 */

int64_t pc_clock_ms(void);
void pc_clock_pass(int64_t ms);
void pc_set_boot(uint64_t boot);

uint64_t pc_mix(uint64_t x);       /* scatters the bits of x */
uint64_t pc_next(uint64_t *state); /* a stream of random numbers */

/* ---- what libc's calls report, power_cut_calls.c alone -----------------------------------------
 * Under the recorder's lock. Names are absolute; those elsewhere are not looked at. */

void pc__lock(void);
void pc__unlock(void);
void pc__opened(int fd, const char *path, int flags);
void pc__closed(int fd);
bool pc__is_watched(int fd);
void pc__wrote(int fd, size_t offset, const void *data, size_t len);
void pc__sized(int fd, size_t size, bool may_shrink);
void pc__sync(int fd);
void pc__mapped(int fd);
void pc__made_directory(const char *path);
void pc__linked(const char *from, const char *to);
void pc__renamed(const char *from, const char *to);
void pc__unlinked(const char *path);
/* A call beneath the directory that the recorder has no model of ends the program. */
void pc__not_modelled(const char *call);

#endif
