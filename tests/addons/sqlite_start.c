/* Where the SQLite store starts: one file has one lock whatever its names, files that are somebody
 * else's stay as they are, and the directory a program is in plays no part after the start. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sqlite_kit.h"

static sk_content content, second; /* large */

static void expect_refusal(const sk_place *place, int status, const char *says)
{
    lp_error error = {LP_OK, ""};
    lp_sqlite_options options = sk_options(LP_SYNC_INTERVAL);
    cr_assert_null(sk_open_world(place, &options, NULL, &second, &error), "%s", says);
    cr_assert_eq(error.status, status, "%s", error.message);
    cr_assert_not_null(strstr(error.message, says), "%s", error.message);
}

static void expect_text(const sk_place *place, const char *suffix, const char *text)
{
    size_t len;
    cr_assert(sk_has_file(place, suffix), "%s is gone", suffix);
    uint8_t *data = sk_read(place, suffix, &len);
    cr_assert_eq(len, strlen(text), "%s", suffix);
    cr_assert_arr_eq(data, text, len, "%s", suffix);
    free(data);
}

/* ---- files of others ------------------------------------------------------------------------- */

Test(sqlite_start, files_of_others_beside_a_file_of_others_stay_as_they_are)
{
    static const char *const suffixes[] = {"", ".new", ".tmp", ".reserve"};
    sk_place place = sk_place_new();
    for (size_t i = 0; i < 4; i++)
        sk_write(&place, suffixes[i], "mine", 4);
    for (int start = 0; start < 2; start++) {
        expect_refusal(&place, LP_EVERSION, "no SQLite database");
        cr_assert_not(sk_has_file(&place, ".lock"), "it would say that a store has been here");
        for (size_t i = 0; i < 4; i++)
            expect_text(&place, suffixes[i], "mine");
    }
    sk_place_remove(&place);
}

Test(sqlite_start, a_file_of_others_does_not_become_the_database)
{
    static const char *const suffixes[] = {".new", ".tmp"};
    for (int i = 0; i < 2; i++) {
        sk_place place = sk_place_new();
        sk_write(&place, suffixes[i], "mine", 4);
        expect_refusal(&place, LP_EVERSION, "move it away");
        expect_refusal(&place, LP_EVERSION, "move it away");
        expect_text(&place, suffixes[i], "mine");
        cr_assert_not(sk_has_file(&place, ""));
        cr_assert_not(sk_has_file(&place, ".lock"));
        sk_place_remove(&place);
    }
}

Test(sqlite_start, a_swap_that_was_cut_short_is_finished)
{
    sk_place place = sk_place_new();
    char from[400], to[400];
    lp_store *store = sk_open(&place, LP_SYNC_ALWAYS, &content);
    sk_append(store, 0, 10, NULL);
    sk_close(store);
    snprintf(from, sizeof(from), "%s", place.file);
    snprintf(to, sizeof(to), "%s.new", place.file);
    cr_assert_eq(rename(from, to), 0);
    sk_look(&place, LP_SYNC_ALWAYS, &content);
    cr_assert_eq(content.count, 10);
    cr_assert_eq(content.losses, 0);
    sk_place_remove(&place);
}

/* Another process sees whether this one still has its write lock. */
static bool is_locked(const sk_place *place)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0x40000001};
        lock.l_len = 1;
        int fd = open(place->file, O_RDWR | O_CLOEXEC);
        _exit(fd >= 0 && fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK ? 1 : 0);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

Test(sqlite_start, a_refusal_does_not_drop_the_locks_of_the_program)
{
    sk_place place = sk_place_new();
    sqlite3 *db;
    cr_assert_eq(sqlite3_open(place.file, &db), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(db, "CREATE TABLE t (a); BEGIN IMMEDIATE", NULL, NULL, NULL),
                 SQLITE_OK);
    cr_assert(is_locked(&place));
    expect_refusal(&place, LP_EVERSION, "another program's database");
    cr_assert(is_locked(&place), "its transaction is no longer its own");
    cr_assert_not(sk_has_file(&place, ".lock"));
    sqlite3_close(db);
    sk_place_remove(&place);
}

Test(sqlite_start, too_many_open_files_are_not_a_matter_of_rights)
{
    sk_place place = sk_place_new();
    struct rlimit old, tight;
    lp_store *store = sk_open(&place, LP_SYNC_ALWAYS, &content);
    cr_assert_eq(sk_append(store, 0, 5, NULL), LP_OK);
    sk_close(store);
    int next = dup(0);
    close(next);
    getrlimit(RLIMIT_NOFILE, &old);
    tight = old;
    tight.rlim_cur = (rlim_t)next + 1; /* the lock, and no more */
    setrlimit(RLIMIT_NOFILE, &tight);
    expect_refusal(&place, LP_EIO, "more open files");
    setrlimit(RLIMIT_NOFILE, &old);
    sk_look(&place, LP_SYNC_ALWAYS, &content);
    cr_assert_eq(content.count, 5);
    cr_assert_eq(content.losses, 0);
    sk_place_remove(&place);
}

/* ---- names ----------------------------------------------------------------------------------- */

static sk_place other_name(const sk_place *place, const char *name)
{
    sk_place other = *place;
    snprintf(other.file, sizeof(other.file), "%.250s/%s", place->directory, name);
    return other;
}

Test(sqlite_start, a_symbolic_link_shares_the_lock_of_its_file)
{
    sk_place place = sk_place_new(), link = other_name(&place, "link.db");
    cr_assert_eq(symlink("store.db", link.file), 0);
    lp_store *store = sk_open(&link, LP_SYNC_ALWAYS, &content); /* leads to no file yet */
    cr_assert_eq(sk_append(store, 0, 5, NULL), LP_OK);
    expect_refusal(&link, LP_EINUSE, "in use");
    expect_refusal(&place, LP_EINUSE, "in use");
    sk_close(store);
    cr_assert(sk_has_file(&place, ".lock"));
    cr_assert_not(sk_has_file(&link, ".lock"));
    struct stat stat_buffer;
    cr_assert_eq(lstat(link.file, &stat_buffer), 0);
    cr_assert(S_ISLNK(stat_buffer.st_mode), "the link is still one");
    store = sk_open(&place, LP_SYNC_ALWAYS, &content);
    cr_assert_eq(content.count, 5);
    expect_refusal(&link, LP_EINUSE, "in use");
    sk_close(store);
    sk_place_remove(&place);
}

Test(sqlite_start, a_file_with_a_second_name_is_refused)
{
    sk_place place = sk_place_new(), second_name = other_name(&place, "second.db");
    sk_look(&place, LP_SYNC_ALWAYS, &content);
    cr_assert_eq(link(place.file, second_name.file), 0);
    expect_refusal(&place, LP_ENOTFOUND, "hard link");
    expect_refusal(&second_name, LP_ENOTFOUND, "hard link");
    unlink(second_name.file);
    sk_look(&place, LP_SYNC_ALWAYS, &content);
    cr_assert_eq(content.losses, 0);
    sk_place_remove(&place);
}

Test(sqlite_start, a_program_may_change_its_directory)
{
    sk_place place = sk_place_new(), relative = place;
    size_t len;
    lp_error error = {LP_OK, ""};
    snprintf(relative.file, sizeof(relative.file), "store.db");
    cr_assert_eq(chdir(place.directory), 0);
    lp_store *store = sk_open(&relative, LP_SYNC_ALWAYS, &content);
    for (uint64_t n = 0; n < 3000; n += 100)
        sk_append(store, n, 100, NULL);
    sk_close(store);
    uint8_t *data = sk_read(&place, "", &len);
    memset(data + len / 2 / 4096 * 4096, 0xA5, 4096);
    store = sk_open(&relative, LP_SYNC_ALWAYS, &content);
    cr_assert_eq(chdir("/"), 0);
    cr_assert_gt(sk_figure(store, "disk_bytes"), 4096);
    sk_write(&place, "", data, len);
    /* A write of another program, so that the store reads the pages anew; then it has to make the
     * file anew. */
    cr_assert_eq(sk_sql(&place, "INSERT INTO damaged VALUES (1, 1, 1, 1, 1)"), 0);
    lp_batch *batch = sk_batch();
    for (uint64_t n = 0; n < 2000; n++)
        lp_batch_add_removal(batch, SK_SEQ(n), LP_REMOVED_RETRIEVED);
    cr_assert_eq(sk_commit(store, batch, &error), LP_OK, "%s", error.message);
    cr_assert_eq(sk_append(store, 5000, 5, &error), LP_OK, "%s", error.message);
    sk_close(store);
    sk_look(&place, LP_SYNC_ALWAYS, &content);
    cr_assert(sk_has(&content, 5004));
    cr_assert(sk_has(&content, 2999));
    cr_assert(sk_has_file(&place, ".damaged-1"));
    free(data);
    sk_place_remove(&place);
}
